import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.run.atomic import remove_leftovers, write_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(value=VALUES)
def test_any_json_value_is_read_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: object):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_a_value_that_is_no_json_leaves_the_old_file_and_no_temporary_one(tmp_path: Path):
    write_json(tmp_path / "value.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", ["long" * 10_000, object()])
    assert json.loads((tmp_path / "value.json").read_text()) == [1]
    assert list(tmp_path.iterdir()) == [tmp_path / "value.json"]


def test_a_written_file_has_the_permissions_that_any_new_file_has(tmp_path: Path):
    write_json(tmp_path / "value.json", 1)
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("value.json", "plain")]
    assert modes[0] == modes[1]


def test_what_a_kill_left_half_made_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".summary.json.x1.tmp").write_text("{")
    (tmp_path / ".staging.tmp" / "checkpoint-1").mkdir(parents=True)
    for name in ("summary.json", ".lock", "notes.tmp"):
        (tmp_path / name).write_text("{}")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes.tmp", "summary.json"]
