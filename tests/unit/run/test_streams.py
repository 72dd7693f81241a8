"""What people see on a terminal is text, whoever wrote it."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.run.streams import printable

STEERING = ["\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b2A", "\r", "\b", "\x1b[8m", "\x1bc", "\u202e"]


@given(st.text() | st.lists(st.sampled_from(STEERING) | st.text(max_size=3)).map("".join))
def test_a_printable_text_keeps_its_length_its_lines_and_tabs_and_steers_nothing(text):
    shown = printable(text)
    assert len(shown) == len(text) and shown.count("\r") == shown.count("\r\n") == text.count("\r\n")
    shown = shown.replace("\r\n", "\n")
    assert [c for c in shown if c in "\t\n"] == [c for c in text if c in "\t\n"]
    assert not [c for c in shown if (ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 or c in "\u202e\u2066"]


PROGRAM = """
import sys
from trainer.run.streams import make_lasting
make_lasting()
print(sys.argv[1])
sys.stdout.write(sys.argv[1] + "\\n")
print(sys.argv[1], file=sys.stderr)
"""


@pytest.mark.parametrize("steering", STEERING)
def test_stdout_lets_no_text_steer_the_terminal(steering):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"before{steering}behind"], capture_output=True, encoding="utf-8", check=True
    )
    told = done.stdout.replace("\ufffd", "")
    assert done.stdout.startswith("before\ufffd") and done.stdout.count("behind") == 2
    assert told.replace("\n", "").isprintable()


def test_stdout_lets_colours_through():
    words = "\x1b[1;31mred\x1b[0m and \x1b[2mdim\x1b[0m"
    done = subprocess.run([sys.executable, "-c", PROGRAM, words], capture_output=True, text=True, check=True)
    assert done.stdout == f"{words}\n{words}\n"
