"""A tour of the commands on machines that are not as ours: no traceback, the same exit codes, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_teacher import FakeTeacher

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data" / "tiny_world"
PLAIN = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
NO_LOCKS = """
import errno, fcntl, os, stat
real = os.fsync

def flock(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

def fsync(descriptor):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real(descriptor)

fcntl.flock, os.fsync = flock, fsync
"""


def environment(kind: str, folder: Path) -> dict[str, str]:
    """The variables of a machine of that kind."""
    if kind == "empty environment":
        return {}
    if kind == "latin-1":
        return PLAIN | {"PYTHONIOENCODING": "iso-8859-1", "LC_ALL": "C"}
    if kind == "no locks":
        (folder / "patch").mkdir()
        (folder / "patch" / "sitecustomize.py").write_text(NO_LOCKS)
        return PLAIN | {"PYTHONPATH": str(folder / "patch")}
    if kind == "socks":
        return PLAIN | {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.0/8"}
    if kind == "kubernetes":
        return PLAIN | {"SDFT_TRAINER_PORT": "tcp://10.0.0.7:6006", "SDFT_TRAINER_SERVICE_HOST": "10.0.0.7"}
    return PLAIN


KINDS = ["plain", "empty environment", "latin-1", "no locks", "socks", "kubernetes", "nameless user"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_works_there(kind, tmp_path):
    place = tmp_path / "Übung mit Leerzeichen"
    place.mkdir()
    shutil.copytree(WORLD / "student", place / "Schüler")
    rows = json.loads((WORLD / "train_data.json").read_text())[:8]
    (place / "Zeilen.json").write_text(json.dumps(rows), encoding="utf-8")
    (place / "Fragen.json").write_text(json.dumps([{"prompt": f"Größe von {n}?"} for n in "ABCDEFGH"]))
    variables, run = environment(kind, tmp_path), place / "Lauf"
    before = ["unshare", "--user", "--map-user=12345"] if kind == "nameless user" else []
    if before and subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no user namespaces")

    def trainer(*words) -> subprocess.CompletedProcess:
        command = [*before, sys.executable, "-m", "trainer", *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert done.returncode == 0 and "Traceback" not in said, said
        return done

    student = ("--model_name_or_path", place / "Schüler", "--local_files_only", "--max_completion_length", 16)
    small = ("--max_prompt_length", 128, "--num_prompts_per_batch", 4, "--max_steps", 1)
    trainer("--help")
    trainer("train", *student, *small, "--train_data_path", place / "Zeilen.json", "--output_dir", run)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    trainer("report", run)
    assert (run / "report.html").stat().st_size > 100_000
    with FakeTeacher(lambda body: f"Sie ist {body['seed'] % 1000} Meter groß.") as teacher:
        trainer("check", teacher.url, "--max_prompt_length", 64, "--max_completion_length", 64)
        made = place / "Daten"
        given = ("--prompts", place / "Fragen.json", "--train_samples", 4, "--eval_samples", 2, "--out_dir", made)
        trainer("generate", "--base_url", teacher.url, *given)
        assert len(json.loads((made / "train_data.json").read_text())) == 4
        scores = place / "Noten.json"
        rows_given = ("--eval_data_path", place / "Zeilen.json", "--max_completion_length", 16, "--output_file", scores)
        trainer("eval", "--served", teacher.url, *rows_given)
        assert json.loads(scores.read_text())["scores"]["new_skill"]["rows"] == 8
