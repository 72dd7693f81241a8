"""Data files: four formats, one meaning, and plain words for a bad row."""

import json
import os

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import load_eval_rows, load_rows
from trainer.data.rows.own_format import parse_row
from trainer.data.rows.row import Row
from trainer.errors import UsageError

RECORDS = [
    {
        "prompt": "one?",
        "golden_response": ["Action: a", "Action_Input: {}"],
        "golden_answer": [{"Action": "a", "Action_Input": "{}"}],
    },
    {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "two?"}],
        "golden_response": ["2"],
        "id": "b",
    },
]


def write(tmp_path, name, records):
    path = tmp_path / name
    lines = [json.dumps(record) for record in records]
    path.write_text("\n".join(lines) if name.endswith("l") else f"[{', '.join(lines)}]")
    return str(path)


def test_json_jsonl_parquet_and_a_saved_dataset_give_the_same_rows(tmp_path):
    plain = [
        {"prompt": "one?", "golden_response": ["1", "2"], "id": "a"},
        {"prompt": "two?", "golden_response": ["3"], "id": "b"},
    ]
    table = datasets.Dataset.from_list(plain)
    table.to_parquet(tmp_path / "rows.parquet")
    table.save_to_disk(tmp_path / "saved")
    paths = [write(tmp_path, "rows.json", plain), write(tmp_path, "rows.jsonl", plain)]
    paths += [str(tmp_path / "rows.parquet"), str(tmp_path / "saved")]
    expected = [
        Row("a", [{"role": "user", "content": "one?"}], "1\n2"),
        Row("b", [{"role": "user", "content": "two?"}], "3"),
    ]
    for path in paths:
        assert [*load_rows(path)] == expected


def test_line_separators_within_a_text_do_not_cut_a_jsonl_row(tmp_path):
    text = "one\u2028two\x85three"
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"prompt": text, "golden_response": [text]}, ensure_ascii=False), encoding="utf-8"
    )
    assert load_rows(str(tmp_path / "rows.jsonl"))[0].prompt[0]["content"] == text


def test_messages_answers_ids_and_further_keys_are_carried_through(tmp_path):
    rows = load_rows(write(tmp_path, "rows.json", [*RECORDS, {"prompt": "x", "golden_response": "y", "skill": "s"}]))
    assert rows[0].golden_answer == [{"Action": "a", "Action_Input": "{}"}]
    assert (rows[0].id, rows[1].id) == ("1", "b")
    assert rows[1].prompt[0]["role"] == "system"
    assert rows[2].extra == {"skill": "s"}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"golden_response": ["x"]}, "'prompt' is missing"),
        ({"prompt": "x"}, "'golden_response' is missing"),
        ({"prompt": "  ", "golden_response": ["x"]}, "'prompt' is empty"),
        ({"prompt": 3, "golden_response": ["x"]}, "'prompt' is 3"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "golden_response": ["x"]}, "of role 'assistant'"),
        (
            {"prompt": [{"role": "robot", "content": "x"}], "golden_response": ["x"]},
            "message 1 of 'prompt' has the role \"robot\"",
        ),
        ({"prompt": "x", "golden_response": [1]}, "'golden_response' is [1]"),
        ({"prompt": "x", "golden_response": []}, "'golden_response' is empty"),
        ({"prompt": "x", "golden_response": ["y"], "golden_answer": ["z"]}, "'golden_answer' is"),
        ("text", "found a str"),
    ],
)
def test_a_bad_row_is_an_error_that_names_file_row_and_field(tmp_path, record, words):
    path = write(tmp_path, "rows.json", [RECORDS[0], record])
    with pytest.raises(UsageError) as error:
        load_rows(path)
    assert f"{path}, row 2" in str(error.value)
    assert words in str(error.value)
    assert "--skip_bad_rows" in str(error.value)


def test_skip_bad_rows_drops_them_and_says_how_many(tmp_path, capsys):
    path = write(tmp_path, "rows.json", [RECORDS[0], {"prompt": "x"}, RECORDS[1]])
    assert len(load_rows(path, skip_bad_rows=True)) == 2
    assert "dropped 1 bad of 3 rows (rows 2)" in capsys.readouterr().out


def test_a_row_without_golden_response_is_good_where_none_is_needed(tmp_path):
    assert load_rows(write(tmp_path, "rows.json", [{"prompt": "x"}]), needs_golden=False)[0].golden_response is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("empty.json", "[]"), ("torn.json", '[{"prompt"'), ("object.json", "{}"), ("lines.jsonl", "{}\nx")],
)
def test_an_empty_or_unreadable_file_is_an_error_that_names_it(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        load_rows(str(tmp_path / name))


def test_a_missing_file_is_an_error_that_names_it():
    with pytest.raises(UsageError, match=r"no data at nowhere\.json"):
        load_rows("nowhere.json")


def test_a_pipe_is_told_from_a_file(tmp_path):
    os.mkfifo(tmp_path / "rows.json")
    with pytest.raises(UsageError, match="is a pipe, expected a file, which can be read twice"):
        load_rows(str(tmp_path / "rows.json"))


TEXTS = st.text(min_size=1).filter(str.strip)


@given(
    st.fixed_dictionaries(
        {
            "id": TEXTS,
            "prompt": TEXTS,
            "golden_response": st.lists(st.text(), min_size=1).filter(lambda lines: "".join(lines).strip()),
        },
        optional={
            "golden_answer": st.lists(st.fixed_dictionaries({"Action": TEXTS, "Action_Input": TEXTS})),
            "skill": TEXTS,
        },
    )
)
def test_a_row_written_and_read_again_is_the_same_row(record):
    row = parse_row(record, 1)
    assert parse_row(row.to_json(), 1) == row


def test_rows_to_score_are_drawn_from_the_whole_file_in_its_order_and_more_of_them_include_fewer(tmp_path):
    file = write(tmp_path, "rows.json", [{"prompt": f"{n}", "golden_response": "y"} for n in range(100)])
    some, more, everything = (
        [int(row.prompt[0]["content"]) for row in load_eval_rows(file, at_most=n)] for n in (10, 40, 1000)
    )
    assert some == sorted(some) and set(some) < set(more) and everything == [*range(100)]
    assert len(some) == 10 and some[-1] > 50


def test_rows_to_score_with_the_same_id_are_refused(tmp_path):
    rows = [{"prompt": f"q{n}", "golden_response": "y", "id": "twin"} for n in range(2)]
    with pytest.raises(UsageError, match="2 rows with the id 'twin'"):
        load_eval_rows(write(tmp_path, "rows.json", rows))


def test_rows_without_ids_of_two_files_are_never_taken_for_the_same(tmp_path):
    files = [write(tmp_path, f"{n}.json", [{"prompt": f"q{n}", "golden_response": "y"}] * 2) for n in range(2)]
    ids = [row.id for file in files for row in load_eval_rows(file)]
    assert len(set(ids)) == 4
