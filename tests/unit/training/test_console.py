"""What people see while something takes long: on a terminal, in a log file, on a dashboard."""

import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from trainer.run.directory import RunDirectory
from trainer.training.callbacks import EventFiles, StepRecorder, StepView, console_line

ROOT = Path(__file__).resolve().parents[3]
LOGS = {
    "loss": 0.43215, "kl/forward": 0.5, "kl/reverse": 0.75, "agreement": 0.934, "completions/mean_length": 48.4,
    "learning_rate": 2e-5, "tokens_per_second": 218.4, "seconds": 3.44,
    "seconds/rollout": 2.0, "seconds/student": 1.21, "seconds/waiting": 0.23,
}  # fmt: skip


def screen(written: str) -> list[str]:
    """The lines that a wide and endless terminal shows in the end, down to its cursor."""
    lines, row, column = [""], 0, 0
    for step, up, erase, other, text in re.findall(
        r"(\r|\n)|\x1b\[(\d+)A|(\x1b\[2K)|(\x1b\[[\d;]*m)|([^\r\n\x1b]+)", written
    ):
        if step:
            row, column = row + (step == "\n"), 0 if step == "\r" else column
            lines += [""] * (row + 1 - len(lines))
        elif up:
            row -= int(up)
        elif erase:
            lines[row] = ""
        elif not other:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines[: row + 1]]


@cache
def on_terminal(program: str, stdout: int | None = None, **environment: str) -> str:
    """What a program writes on a terminal of 200 columns; `stdout` may be something else."""
    ours, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "RANK")}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT, stdin=theirs, stdout=stdout or theirs, stderr=theirs,
        env=known | {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50"} | environment,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 1 << 16):
            written += piece
    except OSError:  # Linux's way to say that nobody has the terminal open any more
        pass
    process.wait(60)
    os.close(ours)
    return written.decode()


TALKATIVE = """
    import logging, sys, time, warnings
    logging.basicConfig(format="%(message)s")          # holds stderr as it is now
    from trainer.run.progress import Progress
    with Progress(40, "rows of a stage") as progress:
        for number in range(4):
            progress.advance(10)
            print("on stdout, [bold] as it is, in", end=" ")
            print("two parts", number)
            print("on stderr", number, file=sys.stderr)
            logging.warning(f"logged {number}")
            time.sleep(0.1)
    print("afterwards")
"""


def test_on_a_terminal_all_that_is_printed_stands_above_one_bar():
    written = on_terminal(TALKATIVE)
    *above, bar, afterwards, empty = screen(written)
    assert above == [
        line
        for number in range(4)
        for line in (f"on stdout, [bold] as it is, in two parts {number}", f"on stderr {number}", f"logged {number}")
    ]
    assert re.fullmatch(r"━{30} rows of a stage: 40/40 rows, [\d.]+ rows/s, 00:00 left", bar)
    assert (afterwards, empty) == ("afterwards", "")


def test_the_cursor_is_never_hidden_so_that_a_killed_process_leaves_the_terminal_usable():
    assert "\x1b[?25l" not in on_terminal(TALKATIVE)


def test_no_color_is_honoured():
    colours = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|4[0-7]|9\d)[;m]")
    assert colours.search(on_terminal(TALKATIVE))
    assert not colours.search(on_terminal(TALKATIVE, NO_COLOR="1"))


def test_a_terminal_that_can_not_redraw_gets_plain_lines():
    written = on_terminal(TALKATIVE, TERM="dumb")
    assert "\x1b" not in written and "━" not in written
    assert "rows of a stage: 10/40 rows" in written


def test_of_data_parallel_processes_only_the_first_one_draws():
    assert "rows of a stage" not in on_terminal(TALKATIVE, RANK="1")


def test_where_stdout_is_a_file_it_gets_all_that_is_printed_there_and_nothing_else(tmp_path: Path):
    with (tmp_path / "out").open("w") as file:
        written = on_terminal(TALKATIVE, stdout=file.fileno())
    said = (tmp_path / "out").read_text().splitlines()
    assert said == [*(f"on stdout, [bold] as it is, in two parts {number}" for number in range(4)), "afterwards"]
    assert screen(written)[-2].endswith("00:00 left")


def test_a_stage_within_another_is_shown_below_it_and_is_kept_above_when_it_ends():
    lines = screen(
        on_terminal("""
            import time
            from trainer.run.progress import Progress
            with Progress(2, "outer") as outer:
                outer.advance()
                with Progress(2, "inner") as inner:
                    inner.advance(2)
                    time.sleep(0.7)
                print("between")
                outer.advance()
        """)
    )
    assert [re.sub(r"━+ |: .*", "", line) for line in lines] == ["inner", "between", "outer", ""]


def test_an_error_leaves_the_terminal_with_its_message_below_the_bar():
    lines = screen(
        on_terminal("""
            from trainer.run.progress import Progress
            with Progress(2, "rows of a stage") as progress:
                progress.advance()
                raise SystemExit("the reason")
        """)
    )
    assert "rows of a stage: 1/2 rows" in lines[-3]
    assert lines[-2:] == ["the reason", ""]


def test_a_plain_line_of_a_step_tells_what_one_asks_first():
    assert console_line(3, 40, LOGS, 127.0) == (
        "step 3/40  loss 0.4321  kl 0.5000|0.7500  agree 93%  length 48  lr 2.0e-05  218 tokens/s  "
        "3.4 s (rollout 2.0, waiting 0.2, student 1.2)  2.1 min to go"
    )


def shown(view: StepView, width: int = 100) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(view)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_terminal_shows_a_step_with_the_time_left_and_whether_the_teacher_keeps_up():
    view = StepView(0, 40, SimpleNamespace(retries=2))  # pyright: ignore[reportArgumentType]
    assert re.fullmatch(r"━* ?step 0/40, \? left", shown(view)[0].strip())
    view.step = 3
    view.update(LOGS, 127.9)
    bar, facts, seconds, teacher = shown(view)
    assert bar.endswith(" step 3/40, 02:07 left")
    assert facts == "loss 0.4321  kl 0.5000|0.7500  agree 93%  length 48  lr 2.0e-05  218 tokens/s"
    assert seconds == "3.4 s (rollout 2.0, waiting 0.2, student 1.2)"
    assert teacher == "teacher: waited for 0.2 s a step, 2 retries"
    view.update(LOGS | {"seconds/waiting": 0.01}, 0)
    assert shown(view)[-1] == "teacher: answers in time, 2 retries"


def test_without_a_served_teacher_none_is_mentioned():
    view = StepView(0, 40, None)
    view.update({name: value for name, value in LOGS.items() if "waiting" not in name}, 60)
    assert not any("teacher" in line for line in shown(view))


def test_a_resumed_run_counts_the_tokens_of_its_steps_from_where_it_stopped(tmp_path: Path):
    history = [{"loss": 0.6, "num_tokens": 70.0}, {"loss": 0.5, "num_tokens": 100.0}, {"eval/new_skill": 1.0}]
    state: Any = SimpleNamespace(global_step=2, max_steps=4, is_world_process_zero=True, log_history=history)
    with StepRecorder(RunDirectory(tmp_path), 8) as recorder:
        recorder.on_train_begin(None, state, None)
        recorder.on_step_begin(None, state, None)
        state.global_step = 3
        recorder.on_step_end(None, state, None)
        recorder.on_log(None, state, None, logs={"loss": 0.5, "learning_rate": 1e-3, "num_tokens": 125.0})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["tokens"] == 25


def test_the_state_of_a_long_run_holds_the_latest_records_alone_and_the_metrics_hold_all(tmp_path: Path):
    state: Any = SimpleNamespace(global_step=0, max_steps=300, is_world_process_zero=True, log_history=[])
    with StepRecorder(RunDirectory(tmp_path), 8) as recorder:
        recorder.on_train_begin(None, state, None)
        for step in range(1, 301):
            recorder.on_step_begin(None, state, None)
            state.global_step = step
            recorder.on_step_end(None, state, None)
            state.log_history.append({"step": state.global_step})
            recorder.on_log(None, state, None, logs={"loss": 0.5, "learning_rate": 1e-3, "num_tokens": 10})
    assert [record["step"] for record in state.log_history] == [*range(201, 301)]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 300


def test_off_a_terminal_a_step_is_one_plain_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    state: Any = SimpleNamespace(global_step=0, max_steps=2, is_world_process_zero=True, log_history=[])
    with StepRecorder(RunDirectory(tmp_path), 8) as recorder:
        recorder.on_train_begin(None, state, None)
        recorder.on_step_begin(None, state, None)
        state.global_step = 1
        recorder.on_step_end(None, state, None)
        recorder.on_log(None, state, None, logs={"loss": 0.5, "learning_rate": 1e-3, "num_tokens": 10})
    said = capsys.readouterr()
    assert re.fullmatch(r"step 1/2  loss 0\.5000  lr 1\.0e-03  \d+ tokens/s  0\.0 s  0\.0 min to go\n", said.out)
    assert said.err == ""


def test_the_time_left_is_reckoned_by_the_mean_of_the_latest_ten_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = 0.0
    monkeypatch.setattr("trainer.training.callbacks.time", SimpleNamespace(monotonic=lambda: now))
    state: Any = SimpleNamespace(global_step=0, max_steps=100, is_world_process_zero=True, log_history=[])
    with StepRecorder(RunDirectory(tmp_path), 8) as recorder:
        recorder.on_train_begin(None, state, None)
        for seconds in (600, *[60, 120] * 6):  # the first one compiled
            recorder.on_step_begin(None, state, None)
            now += seconds
            state.global_step += 1
            recorder.on_log(None, state, None, logs={"loss": 0.5, "learning_rate": 1e-3, "num_tokens": 10})
    lines = capsys.readouterr().out.splitlines()
    assert [lines[number].split()[-4] for number in (0, 1, 12)] == ["990.0", "539.0", "130.5"]


def test_curves_go_on_after_a_resume_and_steps_that_are_done_again_are_there_once(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments: Any = SimpleNamespace(to_json_string=lambda: "{}")
    for first, last, loss in ((1, 8, 1.0), (6, 9, 2.0)):  # killed at 8, gone on from the checkpoint of 5
        state: Any = SimpleNamespace(global_step=first - 1, is_world_process_zero=True, is_hyper_param_search=False)
        files = EventFiles(tmp_path / "curves")
        files.on_train_begin(arguments, state, None)
        for state.global_step in range(first, last + 1):
            files.on_log(arguments, state, None, logs={"loss": loss})
        if last == 9:
            files.on_train_end(arguments, state, None)
    curves = EventAccumulator(str(tmp_path / "curves")).Reload()
    found = [(event.step, event.value) for event in curves.Scalars("train/loss")]
    assert found == [(step, 1.0 if step <= 5 else 2.0) for step in range(1, 10)]
