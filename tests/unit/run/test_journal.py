import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import UsageError
from trainer.run.journal import Journal, fingerprint

DECIDES = {"model": "glm-4.7", "seed": 42}


def test_records_are_there_again_when_a_journal_is_opened_again(tmp_path: Path):
    with Journal(tmp_path / "j.jsonl", DECIDES) as journal:
        journal.add("0", {"text": "α\n"})
        journal.add("1", None)
    with Journal(tmp_path / "j.jsonl", dict(reversed(DECIDES.items()))) as journal:
        assert journal.records == {"0": {"text": "α\n"}, "1": None}


def test_each_record_is_in_the_file_as_soon_as_it_is_added(tmp_path: Path):
    with Journal(tmp_path / "j.jsonl", DECIDES) as journal:
        journal.add("0", "finished")
        assert json.loads((tmp_path / "j.jsonl").read_text().splitlines()[1]) == {"key": "0", "record": "finished"}


def test_the_disk_gets_a_burst_of_records_at_once_and_all_of_them(tmp_path: Path, monkeypatch):
    sizes = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (sizes.append(os.fstat(file).st_size), fsync(file)))
    path = tmp_path / "j.jsonl"
    with Journal(path, DECIDES) as journal:
        before = len(sizes)
        for number in range(200):
            journal.add(str(number), "finished")
    assert 1 <= len(sizes) - before <= 20
    assert sizes[-1] == path.stat().st_size


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=0, max_value=400))
def test_whatever_a_kill_leaves_is_read_up_to_its_last_whole_line_and_can_be_continued(
    tmp_path_factory: pytest.TempPathFactory, cut: int
):
    path = tmp_path_factory.mktemp("torn") / "j.jsonl"
    with Journal(path, DECIDES) as journal:
        for number in range(5):
            journal.add(str(number), {"text": "words " * number})
    whole = path.read_bytes()
    os.truncate(path, min(cut, len(whole)))
    finished = max(0, whole[:cut].count(b"\n") - 1)
    with Journal(path, DECIDES) as journal:
        assert list(journal.records) == [str(number) for number in range(finished)]
        journal.add("new", 1)
    with Journal(path, DECIDES) as journal:
        assert len(journal.records) == finished + 1
    assert list(path.parent.iterdir()) == [path]


def test_a_journal_of_other_settings_is_set_aside_under_a_new_number_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for seed in (1, 2, 3):
        with Journal(tmp_path / "j.jsonl", {**DECIDES, "seed": seed}) as journal:
            assert journal.records == {}
            journal.add("0", seed)
    said = capsys.readouterr().out.splitlines()
    assert [line.split("; ")[1] for line in said] == [
        "set aside as j.1.jsonl, starting anew.",
        "set aside as j.2.jsonl, starting anew.",
    ]
    assert all("another seed" in line for line in said)
    for seed, name in ((1, "j.1.jsonl"), (2, "j.2.jsonl"), (3, "j.jsonl")):
        with Journal(tmp_path / name, {**DECIDES, "seed": seed}) as journal:
            assert journal.records == {"0": seed}


def test_two_processes_cannot_hold_one_journal(tmp_path: Path):
    expected = pytest.raises(UsageError, match="another process is writing")
    with Journal(tmp_path / "j.jsonl", DECIDES), expected:
        Journal(tmp_path / "j.jsonl", DECIDES)


def test_a_damaged_line_in_the_middle_is_an_error_that_names_the_file(tmp_path: Path):
    with Journal(tmp_path / "j.jsonl", DECIDES) as journal:
        journal.add("0", 0)
    with open(tmp_path / "j.jsonl", "a") as file:
        file.write("no json\n")
    with pytest.raises(UsageError, match=r"j\.jsonl is damaged"):
        Journal(tmp_path / "j.jsonl", DECIDES)


def test_a_folder_that_does_not_exist_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file or directory"):
        Journal(tmp_path / "missing" / "j.jsonl", DECIDES)


def test_the_fingerprint_changes_with_a_value_and_not_with_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"a": 1, "b": 3})


def test_a_journal_that_was_set_aside_comes_back_with_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "a.jsonl"
    for seed in (1, 2):
        with Journal(path, {"seed": seed}) as journal:
            journal.add("key", seed)
    with Journal(path, {"seed": 1}) as journal:
        assert journal.records == {"key": 1}
        journal.add("more", 1)
    assert "set aside as a.2.jsonl, going on with a.1.jsonl, made with these." in capsys.readouterr().out
    with Journal(path, {"seed": 2}) as journal:
        assert journal.records == {"key": 2}


def test_a_line_that_is_no_object_is_an_error_that_names_the_file(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text("[1]\n")
    with pytest.raises(UsageError, match=r"a\.jsonl is damaged"):
        Journal(path, {})


def test_a_disk_that_takes_no_more_is_told_at_the_next_record_or_at_the_end(tmp_path: Path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "a.jsonl", {})
    monkeypatch.setattr(os, "fsync", full)
    journal.add("key", 1)
    with pytest.raises(UsageError, match="No space left on device"):
        journal.close()
