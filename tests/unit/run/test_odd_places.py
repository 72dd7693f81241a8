"""File systems without locks or flushing, terminals that know few characters, files that were cut: no traceback."""

import errno
import fcntl
import io
import os
import sys

import pytest

from trainer.__main__ import main
from trainer.errors import UsageError
from trainer.run import atomic
from trainer.run.atomic import write_text
from trainer.run.directory import RunDirectory
from trainer.run.journal import Journal, open_locked


@pytest.fixture(autouse=True)
def nothing_warned_of():
    atomic.warn_once.cache_clear()


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_a_journal_is_kept_and_it_is_told_once(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    for _ in range(2):
        with Journal(tmp_path / "j.jsonl", {"a": 1}) as journal:
            journal.add("k", 1)
    said = capsys.readouterr().err
    assert said.count("has no locks") == 1 and os.strerror(number) in said and "Start one at a time" in said


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_process_holds_is_one_whatever_the_file_system_calls_it(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    assert open_locked(tmp_path / "lock") is None


def test_another_failure_of_the_lock_keeps_its_cause(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(UsageError, match="Input/output error"):
        Journal(tmp_path / "j.jsonl", {})


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_where_nothing_can_be_flushed_files_are_written_and_it_is_told_once(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(os, "fsync", failing(number))
    for text in ("one", "two"):
        write_text(tmp_path / "file", text)
        RunDirectory(tmp_path).append_metrics({"step": 1})
    assert (tmp_path / "file").read_text() == "two"
    assert capsys.readouterr().err.count("can't flush") == 1


def test_a_disk_that_fails_to_flush_is_no_odd_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "file", "one")


def test_modes_that_can_not_be_set_stop_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    write_text(tmp_path / "file", "one")
    assert (tmp_path / "file").read_text() == "one"


@pytest.mark.parametrize(("content", "said"), [
    ('{"status": "fin', r"summary\.json is damaged .* Move it away"), ("[1]", r"summary\.json is damaged: expected"),
    ("", r"summary\.json is damaged"),
])  # fmt: skip
def test_a_summary_that_was_cut_is_a_message_for_whoever_reads_it(tmp_path, content, said):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        RunDirectory(tmp_path).is_finished()


def test_a_file_of_a_list_is_read_as_one_and_another_kind_is_named(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_json("signature.json", [0.5, -1.0])
    assert run.read_json("signature.json", list) == [0.5, -1.0]
    with pytest.raises(UsageError, match="expected an object"):
        run.read_json("signature.json")


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"step": "1"}', "\x00\x00"])
def test_a_damaged_line_of_metrics_is_a_message_in_training_too(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    for read in (lambda run: run.read_metrics(), lambda run: run.forget_after(1)):
        with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2: .* Remove the line"):
            read(RunDirectory(tmp_path))


def test_a_line_torn_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    run = RunDirectory(tmp_path)
    assert [record["step"] for record in run.read_metrics()] == [1, 2]
    run.forget_after(1)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_what_a_terminal_can_not_show_is_replaced(monkeypatch, encoding):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding=encoding))
    assert main(["--help"]) == 0
    print("── 0.0 % → 98.4 % ▒")
    sys.stdout.flush()
    assert b"?? 0.0 % ? 98.4 % ?" in shown.getvalue()
