"""What of a machine would hurt a run is found before it."""

import errno
import fcntl
import os
import time

import pytest

from trainer.run import machine
from trainer.run.machine import Report, describe_clock, describe_memory, describe_place, describe_terminal


def raising(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_system_without_locks_and_flushing_is_worth_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", raising(errno.ENOSYS))
    monkeypatch.setattr(os, "fsync", raising(errno.ENOSYS))
    report = Report()
    describe_place(report, str(tmp_path / "runs"))
    assert "no locks" in report.notes[0] and "can't flush" in report.notes[1] and report.code() == 0


@pytest.mark.parametrize(("number", "mend"), [(errno.EROFS, "pass --output_dir FOLDER"), (errno.EACCES, "chown -R")])
def test_a_place_that_takes_no_files_is_told_with_its_own_mend(tmp_path, monkeypatch, number, mend):
    monkeypatch.setattr(machine.tempfile, "NamedTemporaryFile", raising(number))
    report = Report()
    describe_place(report, str(tmp_path / "runs"))
    [(text, what)] = report.problems
    assert text == f"{tmp_path} can't be written to: {os.strerror(number)}." and mend in what


ROOT_IS_YOU = "0 1000 1\n1 100000 65536\n"


@pytest.mark.parametrize(
    ("user", "table", "told"),
    [
        (1000, "         0          0 4294967295\n", "`sudo chown -R 1000 runs`"),
        (1000, "", "`sudo chown -R 1000 runs`"),
        (
            1000,
            "0 200000 65536\n",
            "chown -R 201000 runs` outside of this container, whose user 1000 is 201000 there",
        ),
        (1000, ROOT_IS_YOU, "whose user 1000 is 100999 there. In a rootless container you are its root: TRAINER_UID=0"),
        (0, ROOT_IS_YOU, "`sudo chown -R 1000 runs`"),
    ],
    ids=["none", "no table", "remapped", "rootless", "rootless root"],
)
def test_the_owner_that_a_folder_needs_is_told_as_the_machine_outside_knows_it(user, table, told, monkeypatch):
    monkeypatch.setattr(machine, "own_users", lambda: table)
    monkeypatch.setattr(machine.os, "getuid", lambda: user)
    assert told in machine.mend_of(OSError(errno.EACCES, "Permission denied"), "runs", "--output_dir")


@pytest.mark.parametrize(("year", "is_wrong"), [(1970, True), (2024, True), (2027, False), (2045, False), (2060, True)])
def test_a_year_that_can_not_be_is_a_problem(year, is_wrong, monkeypatch):
    now = time.mktime((year, 12, 1, 12, 0, 0, 0, 0, -1))
    monkeypatch.setattr(machine.time, "time", lambda: now)
    report = Report()
    describe_clock(report)
    assert (report.code() == 2) is is_wrong


@pytest.mark.parametrize(("gib", "notes"), [(8, 1), (64, 0)])
def test_memory_is_told_as_the_student_that_it_can_train(gib, notes, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "machine_memory", lambda: gib * 2**30)
    report = Report()
    describe_memory(report)
    billions = {8: "0.4", 64: "2.9"}[gib]
    assert f"{gib} GiB: without a GPU for all weights of {billions} billion parameters" in report.lines[0][1]
    assert len(report.notes) == notes and all("--use_peft" in note for note in report.notes)


def test_names_of_files_in_another_encoding_are_worth_a_note(monkeypatch):
    monkeypatch.setattr(machine.sys, "getfilesystemencoding", lambda: "iso8859-1")
    report = Report()
    describe_terminal(report)
    assert any("names of files are read as iso8859-1" in note for note in report.notes)
