"""The score cache: exact, shared, bounded, and apart for teachers that differ."""

from pathlib import Path

import numpy as np
import pytest

from trainer.errors import UsageError
from trainer.teachers.served.cache import ScoreCache
from trainer.teachers.tokens.token_scores import TokenScores

SIGNATURE = np.array([-0.5, -1.0, -2.0], dtype=np.float32)


def some_scores(seed: int, tokens: int = 5, top_k: int = 3) -> TokenScores:
    draw = np.random.default_rng(seed)
    logps_NK = draw.normal(size=(tokens, top_k)).astype(np.float32)
    logps_NK[0, -1] = -np.inf
    ids_NK = draw.integers(-1, 151_936, (tokens, top_k))
    return TokenScores(ids_NK, logps_NK, draw.normal(size=tokens).astype(np.float32), {7: "é", 9: " a"})


def cache(folder: Path, name: str = "glm-4.7", signature=SIGNATURE, **settings) -> ScoreCache:
    return ScoreCache(folder, name, signature, tolerance=0.2, **settings)


def same(one: TokenScores, other: TokenScores | None) -> bool:
    assert other is not None
    arrays = ("token_ids_NK", "logps_NK", "sampled_logps_N")
    return one.decoded == other.decoded and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in arrays
    )


def test_what_was_kept_is_given_back_bit_for_bit_also_to_another_run(tmp_path):
    first, scores = cache(tmp_path / "new" / "folder"), some_scores(1)
    key = first.key([1, 2], [3, 4], 3, True)
    assert first.get(key) is None
    first.put(key, scores)
    assert same(scores, first.get(key))
    first.close()
    again = cache(tmp_path / "new" / "folder")
    assert same(scores, again.get(again.key([1, 2], [3, 4], 3, True)))


def test_every_part_of_a_question_counts(tmp_path):
    known = cache(tmp_path)
    questions = [([1, 2], [3], 3, True), ([1], [2, 3], 3, True), ([1, 2], [3], 4, True), ([1, 2], [3], 3, False)]
    assert len({known.key(*question) for question in questions}) == len(questions)


def test_teachers_that_differ_in_name_or_weights_are_kept_apart_and_rounding_is_no_difference(tmp_path):
    asked = ([1], [2], 3, False)
    key = cache(tmp_path).key(*asked)
    assert cache(tmp_path, signature=SIGNATURE + 0.01).key(*asked) == key
    assert cache(tmp_path, signature=SIGNATURE + 0.5).key(*asked) != key
    assert cache(tmp_path, signature=SIGNATURE[:2]).key(*asked) != key
    assert cache(tmp_path, name="other").key(*asked) != key
    assert cache(tmp_path).key(*asked) == key


def test_beyond_its_size_what_was_not_used_for_longest_goes_first(tmp_path):
    probe = cache(tmp_path / "probe")
    probe.put(b"0", some_scores(0))
    size = probe._size()
    bounded = cache(tmp_path / "bounded", max_bytes=10 * size)
    for number in range(10):
        bounded.put(bytes([number]), some_scores(number))
    assert bounded.get(b"\0") is not None
    bounded.put(b"new", some_scores(11))
    assert bounded._size() <= 9 * size
    assert bounded.get(b"new") is not None and bounded.get(b"\0") is not None
    assert bounded.get(b"\1") is None and bounded.get(b"\2") is None


def test_two_runs_may_use_one_file_at_once(tmp_path):
    one, two = cache(tmp_path), cache(tmp_path)
    one.put(b"a", some_scores(1))
    two.put(b"b", some_scores(2))
    assert same(some_scores(1), two.get(b"a")) and same(some_scores(2), one.get(b"b"))


def test_a_file_that_is_no_cache_and_a_folder_that_can_not_be_made_are_usage_errors(tmp_path):
    (tmp_path / "scores.sqlite").write_bytes(b"this is no database, and long enough to show it" * 100)
    with pytest.raises(UsageError, match=r"scores\.sqlite.*--teacher_cache off"):
        cache(tmp_path)
    with pytest.raises(UsageError, match="--teacher_cache FOLDER"):
        cache(tmp_path / "scores.sqlite" / "below a file")


def test_a_disk_that_fails_costs_the_cache_and_not_the_run(tmp_path, capsys):
    failing = cache(tmp_path)
    failing.put(b"a", some_scores(1))
    failing._database.execute("pragma max_page_count=1")
    for number in range(20):
        failing.put(bytes([number]), some_scores(number, tokens=500))
    failing.close()
    assert failing.get(b"a") is None
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "going on without it" in said[0] and "full" in said[0]
