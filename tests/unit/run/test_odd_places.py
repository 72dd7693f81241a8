"""File systems without locks or flushing, terminals that know few characters, files that were cut: no traceback."""

import errno
import fcntl
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.errors import UsageError
from trainer.run import atomic
from trainer.run.atomic import new_folder, write_text
from trainer.run.directory import RunDirectory
from trainer.run.journal import Journal, open_locked

ROOT = Path(__file__).parents[3]


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
    monkeypatch.setattr(Path, "chmod", failing(errno.EPERM))
    write_text(tmp_path / "file", "one")
    with new_folder(tmp_path / "folder") as folder:
        (folder / "other").write_text("two")
    assert (tmp_path / "file").read_text() == "one" and (tmp_path / "folder" / "other").read_text() == "two"


def test_names_of_files_are_utf8_in_a_locale_that_is_not_and_the_terminal_stays_as_it_is(tmp_path):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "trainer", "report", tmp_path / "Läufe ✓"]
    done = subprocess.run(command, cwd=ROOT, env=plain | odd, capture_output=True)
    assert done.returncode == 2 and f"{tmp_path}/Läufe ?".encode("latin-1") in done.stderr


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


def python(code, **options):
    """A program of its own whose streams last; its exit code, and what it said on stderr."""
    lasting = f"import os, sys\nfrom trainer.run.streams import make_lasting\nmake_lasting()\n{code}"
    command = [sys.executable, *options.pop("flags", ()), "-c", lasting]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)
    return done.returncode, done.stderr


MANY_LINES = "for n in range(50_000): print('line', n)\nprint('done', file=sys.stderr)"


@pytest.mark.parametrize("flags", [(), ("-u",)])
def test_a_reader_who_goes_away_ends_no_command_and_is_told_of_once(flags):
    reading, writing = os.pipe()
    os.close(reading)
    code, said = python(MANY_LINES, stdout=writing, flags=flags)
    os.close(writing)
    assert (code, said) == (0, "warning: stdout takes nothing more (Broken pipe); the command goes on\ndone\n")


def test_a_full_disk_under_stdout_ends_no_command():
    with open("/dev/full", "w") as full:
        code, said = python(MANY_LINES, stdout=full)
    assert code == 0 and said.count("warning: stdout takes nothing more (No space left on device)") == 1
    assert said.endswith("done\n")


def test_streams_that_were_closed_before_the_start_take_everything():
    assert python("print('a'), sys.exit(7)", preexec_fn=lambda: os.close(1))[0] == 7


def test_what_is_read_to_its_end_is_whole(tmp_path):
    with open(tmp_path / "said", "w") as file:
        assert python(MANY_LINES, stdout=file) == (0, "done\n")
    assert (tmp_path / "said").read_text() == "".join(f"line {n}\n" for n in range(50_000))


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_what_a_terminal_can_not_show_has_a_stand_in(monkeypatch, encoding):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding=encoding))
    assert main(["--help"]) == 0
    print("── 0.0 % → 98.4 % ▒")
    sys.stdout.flush()
    assert b"-- 0.0 % -> 98.4 % =" in shown.getvalue() and b"?" not in shown.getvalue().splitlines()[-1]
