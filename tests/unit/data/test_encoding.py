"""Rows encoded together are what each is alone, in however many processes, and are found again."""

import json

import datasets.config
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data import encoding
from trainer.data.dataset import load_rows
from trainer.data.encoding import encode, longest
from trainer.data.prompts import PromptEncoder, ShownPrompts
from trainer.data.rows.row import BadRow, Row
from trainer.data.showing import Showing
from trainer.errors import UsageError
from trainer.run import shares


def encoder(tokenizer, **changes):
    given = {"max_prompt_length": 24, "context_room": 90, "max_completion_length": 8} | changes
    return PromptEncoder(tokenizer, showing=Showing(), **given)


WORDS = st.lists(st.sampled_from(["word", "ünï", "two 2", "?", "a"]), max_size=60).map(" ".join)
ROWS = st.builds(
    lambda prompt, golden: Row("1", [{"role": "user", "content": prompt or "q"}], golden or "a"), WORDS, WORDS
)


@settings(max_examples=60)
@given(rows=st.lists(ROWS, min_size=1, max_size=5), other=st.sampled_from(["shown", "target", "room", "nothing"]))
def test_rows_are_encoded_as_each_is_alone(tokenizer, rows, other):
    one = encoder(tokenizer)
    alone = [one.student_prompt(row) for row in rows]
    shown, fits = [], True
    for row in rows:
        try:
            shown.append(one.demonstration_prompt(row, row.golden_response))
        except UsageError:
            fits = False
    if other in ("shown", "room") and not fits:
        with pytest.raises(UsageError, match="tokens before any demonstration"):
            encode(rows, one, "rows", other=other)
        return
    kept, encoded = encode(rows, one, "rows", other=other)
    assert kept == rows
    assert encoded.prompts()[:]["prompt"] == [prompt.ids for prompt in alone]
    cut = encoded.table.data.to_pydict()
    assert cut["prompt_cut"] == [prompt.was_cut for prompt in alone]
    if other == "shown":
        assert cut["other_cut"] == [prompt.was_cut for prompt in shown]
        assert [ShownPrompts(one, rows).ids(n) for n in range(len(rows))] == [prompt.ids for prompt in shown]
    if other == "target":
        targets = [one.target(row.golden_response) for row in rows]
        assert cut["target"] == [target.ids for target in targets]
        made = encoded.supervised()[:]
        assert made["input_ids"] == [a.ids + b.ids for a, b in zip(alone, targets, strict=True)]
        assert made["labels"] == [[-100] * len(a.ids) + b.ids for a, b in zip(alone, targets, strict=True)]


@pytest.fixture
def many(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(shares, "SHARE", 5)
    monkeypatch.setattr(encoding, "SHARE", 5)
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"what is {n}?", "golden_response": [f"it is {n}"]} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_what_was_encoded_is_found_again_and_not_where_anything_differs(many, tokenizer, monkeypatch):
    first = encode(load_rows(str(many)), encoder(tokenizer), "rows", other="shown")[1].prompts()[:]
    asked = []
    monkeypatch.setattr(encoding, "in_shares", lambda *arguments: asked.append(arguments) or [])
    assert encode(load_rows(str(many)), encoder(tokenizer), "rows", other="shown")[1].prompts()[:] == first
    assert not asked
    encode(load_rows(str(many)), encoder(tokenizer, max_prompt_length=5), "rows", other="shown")
    assert asked  # it is encoded anew


def test_rows_that_are_read_again_are_those_that_were_read(many, capfd):
    first = [*load_rows(str(many))]
    capfd.readouterr()
    assert [*load_rows(str(many))] == first and "reading" not in capfd.readouterr().err
    many.write_text(many.read_text().replace("what is 3?", ""))
    with pytest.raises(UsageError, match="row 4: field 'prompt' is empty"):
        load_rows(str(many))


def test_refused_rows_are_named_or_left_out_everywhere(many, tokenizer):
    one = encoder(tokenizer)
    rows = load_rows(str(many))
    refuse = one.text
    one.text = lambda messages, tools=None: (  # type: ignore
        refuse(messages, tools)
        if "is 7?" not in messages[0]["content"]
        else (_ for _ in ()).throw(BadRow("no sevens."))
    )
    with pytest.raises(UsageError, match="rows, row 8: no sevens"):
        encode(rows[:], one, "rows")
    kept, encoded = encode(rows[:], one, "rows", skip_bad_rows=True)
    assert len(kept) == len(encoded) == 39 and [row.id for row in kept][7] == "9"
    assert encoded.prompts()[7]["prompt"] == one.student_prompt(kept[7]).ids


def test_the_longest_list_of_a_column_is_found_without_reading_rows(many, tokenizer):
    prompts = encode(load_rows(str(many)), encoder(tokenizer), "rows")[1].prompts()
    assert longest(prompts, "prompt") == max(map(len, prompts[:]["prompt"]))
