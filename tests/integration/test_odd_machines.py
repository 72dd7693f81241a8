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
    if kind == "latin-1, socks, kubernetes":  # three that don't meet, at once: each tour takes a minute
        latin_1 = {"PYTHONIOENCODING": "iso-8859-1", "LC_ALL": "C"}
        socks = {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.0/8"}
        kubernetes = {"SDFT_TRAINER_PORT": "tcp://10.0.0.7:6006", "SDFT_TRAINER_SERVICE_HOST": "10.0.0.7"}
        return PLAIN | latin_1 | socks | kubernetes
    if kind == "no locks":
        (folder / "patch").mkdir()
        (folder / "patch" / "sitecustomize.py").write_text(NO_LOCKS)
        return PLAIN | {"PYTHONPATH": str(folder / "patch")}
    if kind == "names in ASCII":
        return PLAIN | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return PLAIN


KINDS = ["empty environment", "latin-1, socks, kubernetes", "names in ASCII", "no locks"]
# What is put before a command, where this machine can.
WRAPPED = {
    "nameless user": ["unshare", "--user", "--map-user=12345"],
    # Also for root: the checkout is mounted over itself, read-only, for this process alone.
    "read-only checkout": [
        "unshare", "--user", "--map-root-user", "--mount", "sh", "-ec",
        'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; cd "$0"; ! touch "$0/new" 2>/dev/null; exec "$@"',
        str(ROOT),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, *WRAPPED])
def test_every_command_works_there(kind, tmp_path):
    place = tmp_path / "Übung mit Leerzeichen"
    place.mkdir()
    shutil.copytree(WORLD / "student", place / "Schüler")
    rows = json.loads((WORLD / "train_data.json").read_text())[:8]
    (place / "Zeilen.json").write_text(json.dumps(rows), encoding="utf-8")
    (place / "Fragen.json").write_text(json.dumps([{"prompt": f"Größe von {n}?"} for n in "ABCDEFGH"]))
    variables, run = environment(kind, tmp_path), place / "Lauf"
    before = WRAPPED.get(kind, [])
    if before and subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no namespaces for a user or a mount")

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
    model = place / "Modell"
    trainer("export", run, "--output_dir", model, "--dtype", "float32")
    assert (model / "model.safetensors").is_file()
    local = ("--local_files_only", "--max_completion_length", 16)
    asked = ("--eval_data_path", place / "Zeilen.json", "--max_eval_samples", 4)
    trainer("compare", place / "Schüler", model, *local, *asked)
    trainer("compare", place / "Schüler", model, *local, "--prompt", "Größe von Ä?")
    trainer("eval", *student, *asked)
    shown = ("--headroom", 2, "--output_file", place / "Spielraum.json")
    trainer("check", *shown, *student, "--max_prompt_length", 128, "--eval_data_path", place / "Zeilen.json")
    assert json.loads((place / "Spielraum.json").read_text(encoding="utf-8"))
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
