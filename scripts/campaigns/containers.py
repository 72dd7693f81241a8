"""A teacher that is compromised: what its words do to people's terminals and pages, and what its container can reach.

Its answers, names, versions and refusals are full of terminal escapes and HTML. Lost: a control character in what a
command prints, HTML that a page or a card would run, or none of its words anywhere, as then nothing was tried. The
containers are tried by the docker tests, on the real engine: there, what fails is lost.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from campaigns.case import Case, Outcome

ROOT = Path(__file__).resolve().parents[2]
WORLD = ROOT / "data" / "tiny_world"
DOCKER_TESTS = ("tests/docker/test_containment.py", "tests/docker/test_code_guard.py")
MARK = "HOSTILE"
HTML = f"<img src=x onerror={MARK}><script>{MARK}</script></textarea></pre><!--"
STEERING = "\x1b[2J\x1b]0;t\x07\x1b]8;;http://x\x1b\\\x9b2A\r\b\u202e"
WORDS = f"{MARK} {STEERING} {HTML} ```\n{HTML}\n# {MARK}\n| a | {HTML} |"
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RUN = re.compile(rf"<img src=x onerror={MARK}|<script>{MARK}")
LENGTHS = ["--max_prompt_length", "256", "--max_completion_length", "32"]
STUDENT = ["--model_name_or_path", WORLD / "student", "--local_files_only"]
TRAIN = ["train", "URL", *STUDENT, *LENGTHS, "--train_data_path", WORLD / "train_data.json", "--max_steps", "2"]
TRAIN += ["--num_prompts_per_batch", "4", "--eval_data_path", WORLD / "eval_data.json", "--max_eval_samples", "8"]
COMMANDS: dict[str, list[list[Any]]] = {
    "check": [["check", "URL"]],
    "generate": [
        ["generate", "--base_url", "URL", "--prompts", "PROMPTS", "--train_samples", "6", "--eval_samples", "2"]
    ],
    "eval": [["eval", "--served", "URL", "--output_file", "scores.json", "--eval_data_path", "ROWS"]],
    "compare": [["compare", "URL", "URL", "--prompt", "Say it.", "--served_model", "glm-4.7"]],
    "seqkd": [[*TRAIN, "--objective", "seqkd", "--output_dir", "run"], ["report", "run"]],
    "sdft": [
        [*TRAIN, "--demonstrations", "teacher", "--output_dir", "run"],
        ["report", "run"],
        ["export", "run", "--output_dir", "model"],
    ],
}


def cases(seed: int, quick: bool) -> Iterator[Case]:
    """Each command with a teacher that answers, and with one that refuses; the containers where there is an engine."""
    number = 0
    for name in COMMANDS:
        for refuses in (False, True):
            number += 1
            if not quick or not refuses:
                yield Case("a compromised teacher's words", number, partial(spoken_to, name, refuses))
    if not quick:
        for number, file in enumerate(DOCKER_TESTS, start=1):
            yield Case("containers on the engine", number, partial(engine, file))


def spoken_to(name: str, refuses: bool, folder: Path) -> Outcome:
    """What commands print and write of what the teacher says."""
    from campaigns.teachers.fake_teacher import FakeTeacher, Fault
    from transformers import AutoTokenizer

    refusal = Fault(400, {"error": {"message": WORDS}})
    teacher = FakeTeacher(
        (lambda body: refusal) if refuses else (lambda body: f"{WORDS} {body['seed']}"),
        tokenizer=AutoTokenizer.from_pretrained(WORLD / "teacher"),
        served=["glm-4.7", WORDS],
    )
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "Say {n}."}}\n' for n in range(16)))
    (folder / "rows.jsonl").write_text(
        "".join(f'{{"prompt": "Say {n}.", "golden_response": "{n}"}}\n' for n in range(4))
    )
    said = ""
    with Hostile(teacher) as url:
        known = {"URL": url, "PROMPTS": "prompts.jsonl", "ROWS": "rows.jsonl"}
        for words in COMMANDS[name]:
            said += output_of([str(known.get(word, word)) for word in words], folder)
    files = [path for path in folder.rglob("*") if path.suffix in (".html", ".md")]
    lost = [f"{name} prints the control character {found[0]!r}" for found in [FORBIDDEN.search(said)] if found]
    lost += [f"{name}: {file.relative_to(folder)} runs HTML of the teacher" for file in files if runs_html(file)]
    lost += [f"{name} ended with a traceback: {said[-500:]}"] if "Traceback" in said else []
    texts = [said, *(path.read_text(errors="replace") for path in folder.rglob("*") if is_text(path))]
    lost += [] if any(MARK in text for text in texts) else [f"{name} shows no word of the teacher: {said[-300:]}"]
    return Outcome(tuple(lost), {"pages and cards": len(files)})


class Hostile:
    """A context manager: a fake teacher whose version is hostile, too."""

    def __init__(self, teacher: Any):
        self.teacher = teacher

    def __enter__(self) -> str:
        answer = self.teacher.answer
        told = (200, {"version": f"0.32.0 {WORDS}"}, {})
        self.teacher.answer = lambda request: told if request.path == "/version" else answer(request)
        return self.teacher.__enter__().url

    def __exit__(self, *error: object) -> None:
        self.teacher.__exit__(*error)


def output_of(words: list[str], folder: Path) -> str:
    """All that a command prints."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    progress = re.compile(r"\r|\x1b\[A")  # of libraries' own bars
    return progress.sub("\n", done.stdout.decode(errors="replace"))


def runs_html(file: Path) -> bool:
    """Whether a browser would find elements of the teacher's in a page, or in a card as it is rendered."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        from markdown_it import MarkdownIt

        text = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return RUN.search(text) is not None


def is_text(path: Path) -> bool:
    return path.is_file() and path.suffix in (".html", ".md", ".json", ".jsonl", ".yaml")


def engine(file: str, folder: Path) -> Outcome:
    """The docker tests of a file, which build the images first."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return Outcome(skipped="no Docker engine answers; type scripts/install_engine")
    words = [sys.executable, "-m", "pytest", "-q", "-n", "0", file]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    passed = re.search(r"(\d+) passed", done.stdout)
    lost = () if done.returncode == 0 else (f"{file}: {done.stdout[-1500:]}",)
    return Outcome(lost, {"tests": int(passed[1]) if passed else 0})
