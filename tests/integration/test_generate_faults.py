"""`generate` in a process of its own, killed, failed and starved: nothing is lost, nothing is paid for twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counting_teacher import CountingTeacher

from trainer.data.dataset import load_rows

ROOT = Path(__file__).resolve().parents[2]
FILES = ("train_data.json", "eval_data.json", "rejected.jsonl", "README.md")
TRAIN, EVAL, CONCURRENCY = 250, 50, 8


def command(url: str, out: Path, *flags: object) -> list[str]:
    given = {"base_url": url, "out_dir": out, "train_samples": TRAIN, "eval_samples": EVAL, "recipe": "qa"}
    given |= {"vllm_server_max_concurrency": CONCURRENCY}
    words = [str(word) for key, value in given.items() for word in (f"--{key}", value)]
    return [sys.executable, "-m", "trainer", "generate", *words, *map(str, flags)]


def run(line: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)


def finish(line: list[str]) -> str:
    done = run(line)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict[str, bytes]:
    """The files of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("unbroken") / "out"
    with CountingTeacher() as teacher:
        finish(command(teacher.url, folder))
        assert teacher.wasted == 0 and teacher.most_in_flight == CONCURRENCY
    assert [len(load_rows(str(folder / name))) for name in FILES[:2]] == [TRAIN, EVAL]
    return written(folder)


def journal_lines(folder: Path) -> int:
    journal = folder / "generate.journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill_after(line: list[str], folder: Path, answers: int) -> None:
    """SIGKILL when the journal has so many answers."""
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while journal_lines(folder) <= answers:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        process.kill()


def test_ten_kills_at_random_moments_cost_only_requests_in_flight_and_change_no_byte(unbroken, tmp_path: Path):
    chance = random.Random(11)
    moments = sorted(chance.sample(range(5, 2 * (TRAIN + EVAL)), 10))
    with CountingTeacher() as teacher:
        for kills, moment in enumerate(moments, start=1):
            kill_after(command(teacher.url, tmp_path), tmp_path, moment)
            time.sleep(0.1)  # what was in flight is answered to nobody
            assert teacher.wasted <= kills * CONCURRENCY
            assert not (tmp_path / "train_data.json").exists()
        finish(command(teacher.url, tmp_path))
        assert teacher.wasted <= len(moments) * CONCURRENCY
    assert written(tmp_path) == unbroken


def test_busy_answers_and_reset_connections_lose_no_row_and_change_no_byte(unbroken, tmp_path: Path):
    with CountingTeacher(failing=0.05) as teacher:
        finish(command(teacher.url, tmp_path))
        assert teacher.wasted == 0
    assert written(tmp_path) == unbroken
    assert json.loads((tmp_path / "generation_report.json").read_text())["this_run"]["retries"] > 0


def test_a_teacher_that_dies_for_good_ends_in_exit_code_3_and_the_same_command_goes_on(unbroken, tmp_path: Path):
    with CountingTeacher() as teacher:
        line = command(teacher.url, tmp_path, "--teacher_patience", 1)
        with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while journal_lines(tmp_path) < 100:
                time.sleep(0.002)
            teacher.alive = False
            _, said = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "waiting for the teacher" in said and "Traceback" not in said
        assert "generate.journal.jsonl keeps what the teacher wrote; the same command continues." in said
        kept = journal_lines(tmp_path)
        teacher.alive = True
        assert f"{kept - 1} answers from the journal" in finish(line)
        assert teacher.wasted <= CONCURRENCY
    assert written(tmp_path) == unbroken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_exit_code_4_and_the_same_command_goes_on(unbroken, tmp_path: Path, number: signal.Signals):
    with CountingTeacher() as teacher:
        line = command(teacher.url, tmp_path)
        with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while journal_lines(tmp_path) < 50:
                time.sleep(0.002)
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 4 and "Traceback" not in said
        finish(line)
    assert written(tmp_path) == unbroken


def test_a_last_line_that_a_kill_tore_is_asked_for_again(unbroken, tmp_path: Path):
    with CountingTeacher() as teacher:
        kill_after(command(teacher.url, tmp_path), tmp_path, 60)
        journal = tmp_path / "generate.journal.jsonl"
        journal.write_bytes(journal.read_bytes()[:-7])
        finish(command(teacher.url, tmp_path))
    assert written(tmp_path) == unbroken


@pytest.fixture
def disk(tmp_path: Path):
    """Mounts a disk of its own with the given options, and unmounts it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mounted(options: str) -> Path:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        return folder

    yield mounted
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_room(unbroken, disk):
    folder = disk("size=64k")
    with CountingTeacher() as teacher:
        line = command(teacher.url, folder)
        done = run(line)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr and "Expected a writable folder with room" in done.stderr
        assert not (folder / "train_data.json").exists()
        subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
        finish(line)
        assert teacher.wasted <= 2 * CONCURRENCY  # in flight, and those sent before the failed write was seen
    assert written(folder) == unbroken


def test_a_read_only_folder_is_a_usage_error_before_any_request(disk):
    with CountingTeacher() as teacher:
        done = run(command(teacher.url, disk("ro")))
        assert (
            done.returncode == 2
            and "Read-only file system. To mend it, pass --out_dir FOLDER" in done.stderr
            and teacher.asked.total() == 0
        )


def test_another_recipe_or_seed_begins_a_new_journal_and_says_so(tmp_path: Path):
    small = ("--train_samples", 8, "--eval_samples", 0)
    with CountingTeacher() as teacher:
        finish(command(teacher.url, tmp_path, *small))
        assert "made with another seed; set aside" in finish(command(teacher.url, tmp_path, *small, "--seed", 7))
        mine = tmp_path / "mine.yaml"
        mine.write_text("request: Write about {x}.\naxes: {x: [stones, trains, rain, tea]}\nnear_duplicates: null\n")
        said = finish(command(teacher.url, tmp_path, *small, "--recipe", mine))
        assert "made with another recipe, seed; set aside" in said


def test_more_rows_of_the_same_seed_leave_the_first_ones_as_they_are(unbroken, tmp_path: Path):
    with CountingTeacher() as teacher:
        finish(command(teacher.url, tmp_path))
        finish(command(teacher.url, tmp_path, "--train_samples", TRAIN + 40))
        assert teacher.wasted == 0
    assert (tmp_path / "eval_data.json").read_bytes() == unbroken["eval_data.json"]
    more = json.loads((tmp_path / "train_data.json").read_text())
    assert more[:TRAIN] == json.loads(unbroken["train_data.json"]) and len(more) == TRAIN + 40


def test_the_files_are_readable_by_all_who_may_read_files(unbroken, tmp_path: Path):
    with CountingTeacher() as teacher:
        finish(command(teacher.url, tmp_path, "--train_samples", 4, "--eval_samples", 0))
    mask = os.umask(0)
    os.umask(mask)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in FILES} == {0o666 & ~mask}
