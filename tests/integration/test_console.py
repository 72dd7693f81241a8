"""`train` on a terminal: what its user sees."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from running import ENVIRONMENT, SERVED, WORLD


def test_a_terminal_shows_the_training_and_is_left_in_order_after_ctrl_c(rows: Path, tmp_path: Path):
    arguments = ["--objective", "sdft", *SERVED[2:], "--train_data_path", rows, "--num_train_epochs", "100"]
    arguments += ["--eval_data_path", WORLD / "eval_data.json", "--max_eval_samples", "8", "--eval_steps", "2"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "train", *map(str, arguments), "--output_dir", str(tmp_path / "run")],
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: os.login_tty(theirs),
        env=os.environ | ENVIRONMENT | {"TERM": "xterm-256color", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    written, stopped = b"", False
    try:
        while piece := os.read(ours, 1 << 16):
            written += piece
            if not stopped and b"step 4/600  new skill" in written:
                stopped = bool(os.write(ours, b"\x03"))
    except OSError:  # Linux's way to say that nobody has the terminal open any more
        pass
    assert process.wait(60) == 4, written.decode()
    said = written.decode()
    assert "kl " in said and "tokens/s" in said and "eval new_skill: 8/8 rows" in said
    assert "step 2/600  new skill" in said and "stopping at the next safe point" in said
    assert "step 1/600  loss" not in said and "\x1b[?25l" not in said
    assert "the same command" in said.rstrip().splitlines()[-1]
