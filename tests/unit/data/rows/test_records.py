"""Whatever rows are kept in, they come out as they went in; what holds no rows ends in one line."""

import bz2
import gzip
import json
import lzma
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import load_rows
from trainer.data.rows import json_values as json_values_module
from trainer.data.rows.digests import data_digests
from trainer.data.rows.json_values import NotJson, json_values, loads
from trainer.data.rows.records import read_records
from trainer.errors import UsageError

ROWS = [
    {"prompt": "é?", "golden_response": ["1"], "n": 0.1234567890123456789, "when": "2024-05-01", "x": {"a": 1}},
    {"prompt": [{"role": "user", "content": "two\u2028?"}], "n": 10**30, "x": {"b": None}, "text": '{"q": 1}'},
    {"prompt": "null", "golden_response": [], "n": 1e-12, "x": [[], [{"c": "\u00a0"}]]},
]
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=1)
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ZSTD = pyarrow.Codec("zstd")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def read(path) -> list:
    return [*read_records(str(path))]


@pytest.mark.parametrize(
    "content",
    [
        ARRAY.encode(), LINES.encode(), LINES.replace("\n", "\r\n\r\n").encode(), LINES.rstrip().encode(),
        b"\xef\xbb\xbf" + ARRAY.encode(), ARRAY.encode("utf-16"), LINES.encode("utf-16"),
        b"\xfe\xff" + LINES.encode("utf-16-be"), "\n".join(json.dumps(row, indent=4) for row in ROWS).encode(),
        gzip.compress(LINES.encode(), mtime=0), bz2.compress(ARRAY.encode()), lzma.compress(LINES.encode()),
        ZSTD.compress(LINES.encode(), asbytes=True), gzip.compress(ARRAY.encode("utf-16"), mtime=0),
        json.dumps({"version": 1, "data": ROWS}).encode(), json.dumps({"rows": ROWS, "none": []}).encode(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows", "rows.txt", "ro ws-ü.json.gz"])
def test_a_text_is_read_by_what_it_holds_and_every_value_is_the_one_that_was_written(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == ROWS


@pytest.mark.parametrize("orient", ["records", "index", "columns", "split"])
def test_what_pandas_writes_is_read_in_each_of_its_orientations(tmp_path, orient):
    import pandas

    rows = [{"prompt": "a", "golden_response": ["1"]}, {"prompt": "b", "golden_response": ["2"]}]
    pandas.DataFrame(rows).to_json(tmp_path / "rows.json", orient=orient)
    assert read(tmp_path / "rows.json") == rows


@pytest.mark.parametrize("indent", [None, 2])
def test_one_row_alone_is_a_row_also_where_it_is_a_conversation(tmp_path, indent):
    for row in (ROWS[1], {"messages": [{"role": "user", "content": "q"}], "tools": [{"name": "t"}]}):
        (tmp_path / "row.json").write_text(json.dumps(row, indent=indent))
        assert read(tmp_path / "row.json") == [row]


def test_rows_under_several_keys_are_asked_for_by_name(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps({"train": ROWS[:1], "test": ROWS[1:]}))
    with pytest.raises(UsageError, match=r"rows under 'train', 'test'.*#train"):
        read(tmp_path / "rows.json")
    assert read(f"{tmp_path}/rows.json#test") == ROWS[1:]


def test_cells_of_a_table_are_texts_whatever_they_look_like(tmp_path):
    (tmp_path / "rows.csv").write_text('id,prompt,answer\n007,"a, ""b""\nc",None\n1e5,NA,\n')
    assert read(tmp_path / "rows.csv") == [
        {"id": "007", "prompt": 'a, "b"\nc', "answer": "None"},
        {"id": "1e5", "prompt": "NA", "answer": ""},
    ]
    (tmp_path / "rows.tsv.gz").write_bytes(gzip.compress(b"prompt\tanswer\na,b\tc;d\n", mtime=0))
    assert read(tmp_path / "rows.tsv.gz") == [{"prompt": "a,b", "answer": "c;d"}]


PLAIN = [{"prompt": f"q{n}", "golden_response": [f"{n}"]} for n in range(6)]


def test_columnar_files_saved_datasets_and_folders_give_the_same_rows(tmp_path):
    table = datasets.Dataset.from_list(PLAIN)
    table.to_parquet(tmp_path / "rows.parquet")
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(tmp_path / "split")
    (tmp_path / "snapshot" / "data").mkdir(parents=True)
    (tmp_path / "snapshot" / "README.md").write_text("A dataset.")
    for number, part in enumerate((table.select(range(4)), table.select([4, 5]))):
        part.to_parquet(tmp_path / "snapshot" / "data" / f"train-0000{number}-of-00002.parquet")
    schema = table.data.table.schema
    with pyarrow.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pyarrow.ipc.new_file(file, schema) as writer:
        writer.write_table(table.data.table)
    (saved,) = (tmp_path / "saved").glob("*.arrow")
    (tmp_path / "no_suffix").write_bytes((tmp_path / "rows.parquet").read_bytes())
    names = ["rows.parquet", "saved", "split#train", "snapshot", "rows.arrow", "no_suffix", saved.relative_to(tmp_path)]
    for name in [*names, "snapshot/data/*.parquet"]:
        assert read(tmp_path / name) == PLAIN, name
    assert read(f"{tmp_path}/rows.parquet,{tmp_path}/split#test") == [*PLAIN, PLAIN[0]]
    with pytest.raises(UsageError, match=r"holds the splits train, test; expected the name of one. Pass .*#train"):
        read(tmp_path / "split")


def test_objects_of_different_keys_in_a_table_have_the_keys_that_they_were_given(tmp_path):
    inputs = [{"city": "Oslo"}, {"days": 2}]
    rows = [{"prompt": "q", "golden_answer": [{"Action": "a", "Action_Input": given}]} for given in inputs]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == rows


def test_what_json_lacks_comes_out_of_a_table_as_it_is(tmp_path):
    table = pyarrow.table({"prompt": ["q"], "price": [Decimal("1.50")], "raw": [b"\xff"]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == [{"prompt": "q", "price": Decimal("1.50"), "raw": b"\xff"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no rows"),
        (b"[]", "has no rows"),
        (b"\n \n", "has no rows"),
        (b'[{"prompt": "q"}', "ends within an array"),
        (b'[{"prompt": "q', "line 1 is not JSON: the file ends within a value"),
        (b'{"prompt": "q"}\n{"prompt": q}\n', "line 2 is not JSON"),
        (b'{"prompt": q}\n{"prompt": "q"}\n', "line 1 is not JSON"),
        (b"<!DOCTYPE html><html>Not found</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"prompt: a\n", "neither JSON nor a table"),
        (gzip.compress(LINES.encode(), mtime=0)[:60], "is damaged, or not whole"),
        (ZSTD.compress(LINES.encode() * 99, asbytes=True)[:60], "can't read"),
        (b"PAR1\0\0\0\0", "is damaged, or not whole"),
        (b"PK\x03\x04\0\0", "ZIP archive"),
        (LINES.encode("utf-16")[2:] + b"\xff", "can't read|no UTF-8"),
        ("[\"é\"]".encode("latin-1"), "iconv -f latin1"),
        (b"[" * 100_000, "nested too deep"),
    ],
)  # fmt: skip
def test_what_holds_no_rows_ends_in_one_line_that_says_what_was_found(tmp_path, content, words):
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere.json", "no data at nowhere.json"),
        ("no*where", r"no file fits no\*where"),
        ("org/name", "hf download org/name --repo-type dataset"),
        ("org/name:config#split", "hf download org/name"),
        ("{folder}", "holds no data files"),
    ],
)
def test_where_nothing_is_one_line_says_what_would_be_read(tmp_path, spec, words, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=words):
        read(spec.format(folder=tmp_path / "empty"))


def test_a_dataset_of_the_hub_is_read_from_its_cache(tmp_path, monkeypatch):
    import huggingface_hub

    datasets.Dataset.from_list(PLAIN).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(tmp_path))
    assert read("org/name") == PLAIN and read("org/name#train") == PLAIN
    assert asked == ["org/name", "org/name"]


def test_a_changed_file_is_read_anew_and_its_digest_differs(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a"}\n')
    first = read_records(str(path))
    path.write_text('{"prompt": "b"}\n')
    second = read_records(str(path))
    assert ([*first], [*second]) == ([{"prompt": "a"}], [{"prompt": "b"}])
    assert first.digests.keys() == second.digests.keys() == {str(path)} and first.digests != second.digests


@pytest.mark.parametrize("names", ["{file},", ",{file}", "{file}, ,{file}", ",", ""])
def test_an_empty_name_among_several_files_is_refused_and_the_others_are_not_read_alone(tmp_path, monkeypatch, names):
    (tmp_path / "a.jsonl").write_text('{"prompt": "Hi", "golden_response": "Ho"}\n')
    monkeypatch.chdir(tmp_path)  # an empty path would be this folder
    with pytest.raises(UsageError, match="in which a name is empty"):
        load_rows(names.format(file="a.jsonl"), needs_golden=True)


def test_a_file_whose_own_name_ends_in_a_comma_is_read(tmp_path):
    file = tmp_path / "a.jsonl,"
    file.write_text('[{"prompt": "Hi", "golden_response": "Ho"}]')
    assert len(load_rows(str(file), needs_golden=True)) == 1


def test_a_cache_that_takes_no_files_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path("/sys/none"))
    (tmp_path / "rows.jsonl").write_text(LINES)
    assert read(tmp_path / "rows.jsonl") == ROWS


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=3), min_size=1, max_size=5),
    as_array=st.booleans(),
    indent=st.sampled_from([None, 0, 3]),
    window=st.integers(1, 40),
)
def test_json_read_through_a_window_of_any_size_is_the_same(tmp_path_factory, rows, as_array, indent, window):
    texts = [json.dumps(row, indent=indent, ensure_ascii=bool(indent)) for row in rows]
    path = tmp_path_factory.mktemp("window") / "rows"
    path.write_text(
        f"[{' ,'.join(texts)}]" if as_array else " \n".join(texts), encoding="utf-8", errors="surrogatepass"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values_module, "WINDOW", window)
        with path.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
            found = [*json_values(file)]
    assert [json.loads(value.text) for value in found] == rows
    assert all(value.is_item is as_array for value in found)


@given(st.text(alphabet='[]{},:"\\ \n1au', max_size=30))
def test_no_text_makes_the_reader_fail_otherwise_than_in_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("text") / "rows"
    path.write_text(text)
    with path.open(newline="") as file:
        try:
            for value in json_values(file):
                loads(value.text)
        except NotJson as error:
            assert str(error).startswith("line ")


@pytest.mark.parametrize(
    "broken", ['{"prompt": "r", "golden_response": ["b"', '{"prompt": "r, "n": 1}', '{"prompt": "r']
)
def test_a_broken_line_between_whole_ones_is_a_bad_row_that_can_be_skipped(tmp_path, broken, capsys):
    path = tmp_path / "rows.jsonl"
    line = '{"prompt": "q", "golden_response": "a"}'
    path.write_text(f"{line}\n{broken}\r\n{line}\n")
    with pytest.raises(UsageError, match=r"row 2: it is not JSON: .* at character \d+ of '{\"prompt\": \"r"):
        load_rows(str(path))
    rows = load_rows(str(path), skip_bad_rows=True)
    assert [row.id for row in rows] == ["1", "3"] and "dropped 1 bad of 3 rows (rows 2)" in capsys.readouterr().out


def test_one_row_that_holds_lists_of_objects_is_a_row(tmp_path):
    path = tmp_path / "rows.json"
    function = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
    path.write_text(
        json.dumps({"id": "irrelevance_0", "question": [[{"role": "user", "content": "q"}]], "function": [function]})
    )
    (row,) = load_rows(str(path), needs_golden=False)
    assert row.golden_answer == [] and row.tools is not None and row.tools[0]["function"]["name"] == "f"


def test_possible_answers_beside_a_file_of_questions_are_joined_by_id_and_belong_to_its_data(tmp_path, capsys):
    path, answers = tmp_path / "BFCL_v3_simple.json", tmp_path / "possible_answer" / "BFCL_v3_simple.json"
    asked = {"question": [[{"role": "user", "content": "q"}]], "function": [{"name": "f"}]}
    path.write_text("".join(json.dumps({"id": f"simple_{n}"} | asked) + "\n" for n in (1, 0)))
    answers.parent.mkdir()

    def write(*values: int) -> None:
        answers.write_text(
            "".join(json.dumps({"id": f"simple_{n}", "ground_truth": [{"f": {"x": [n]}}]}) + "\n" for n in values)
        )

    write(0, 1)
    found = [row.golden_answer for row in load_rows(str(path), needs_golden=False)]
    assert found == [[{"Action": "f", "Action_Input": {"x": n}, "accepts": {"x": [n]}}] for n in (1, 0)]
    assert f"ground_truth of each id from {answers}" in capsys.readouterr().out
    before = data_digests(str(path))
    write(0)
    assert data_digests(str(path)) != before and set(before) == {str(path), str(answers)}
    with pytest.raises(UsageError, match="row 1: field 'ground_truth' is missing, which other rows of the file have"):
        load_rows(str(path), needs_golden=False)


@pytest.mark.parametrize("indent", [None, 4])
def test_tabs_and_line_breaks_may_stand_in_strings_as_they_are(tmp_path, indent):
    text = json.dumps([{"prompt": "a\tb", "answer": "c\n\nd"}, {"prompt": "e", "answer": "f"}], indent=indent)
    (tmp_path / "rows.json").write_text(text.replace("\\t", "\t").replace("\\n", "\n"))
    assert read(tmp_path / "rows.json") == json.loads(text)


def test_a_line_that_is_cut_takes_no_other_line_with_it(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b\n{"prompt": "c"}\n{"prompt": "d"}\n')
    found = read(tmp_path / "rows.jsonl")
    assert len(found) == 4 and [found[n] for n in (0, 2, 3)] == [{"prompt": text} for text in "acd"]
