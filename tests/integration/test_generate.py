"""`generate` against a real vLLM: from prompts to the two files, killed and continued."""

import json
import subprocess
import sys
import time
from pathlib import Path

from trainer.data.actions.answers import golden_actions, parse_actions, same_inputs
from trainer.data.dataset import load_rows
from trainer.data.rows.row import Row

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "data/tiny_world/train_data.json"
FILES = ("train_data.json", "eval_data.json")
TRAIN, EVAL = 80, 20


def prompts(folder: Path) -> Path:
    """The first 200 prompts of the new skill, without their golden responses."""
    rows = [{**record, "golden_response": None} for record in json.loads(PROMPTS.read_text())[:200]]
    path = folder / "prompts.json"
    path.write_text(json.dumps(rows))
    return path


def command(url: str, folder: Path, concurrency: int = 16) -> list[str]:
    flags = {
        "base_url": url,
        "prompts": prompts(folder),
        "out_dir": folder / "out",
        "train_samples": TRAIN,
        "eval_samples": EVAL,
        "max_tokens": 128,
        "temperature": 0,
        "vllm_server_max_concurrency": concurrency,
    }
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "trainer", "generate", *words]


def finish(line: list[str]) -> str:
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kill_half_way(line: list[str], journal: Path, finished: int) -> None:
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not journal.exists() or journal.read_bytes().count(b"\n") <= finished:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        process.kill()


def test_the_teachers_answers_are_valid_right_rows_and_a_killed_run_ends_in_the_same_files(
    teacher_url: str, tmp_path: Path
):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    said = finish(command(teacher_url, unbroken))
    assert f"\n{TRAIN + EVAL} rows, " in said  # behind what the prompts were read as

    rows: list[list[Row]] = [load_rows(str(unbroken / "out" / name)) for name in FILES]
    assert [len(part) for part in rows] == [TRAIN, EVAL]
    assert len({row.prompt[0]["content"] for part in rows for row in part}) == TRAIN + EVAL
    for row in (*rows[0], *rows[1]):
        assert row.golden_response is not None and row.golden_answer is not None
        assert same_inputs(parse_actions(row.golden_response), golden_actions(row.golden_answer))
        assert row.extra["skill"] == "new_tool"

    line = command(teacher_url, broken, concurrency=3)
    journal = broken / "out" / "generate.journal.jsonl"
    for finished in (5, 30):
        kill_half_way(line, journal, finished)
        assert not (broken / "out" / FILES[0]).exists()
    assert " 0 answers from the journal" not in finish(line)
    for name in FILES:
        assert (broken / "out" / name).read_bytes() == (unbroken / "out" / name).read_bytes()
