"""The README's table of flags is the code's."""

import dataclasses
import re
from pathlib import Path

import pytest

from trainer.settings.options import SUBCOMMANDS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def flags_in_readme(subcommand):
    section = README.partition(f"\n### `{subcommand}`\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `--(\w+)` \| (.*?) \| (.*) \|$", section, re.MULTILINE)


def shown(f):
    if f.name == "teacher_prompt_template":
        return "published template"
    return "" if f.default in (None, ()) else f"`{f.default}`"


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_the_readme_lists_every_flag_with_its_default_and_help(subcommand):
    expected = [
        (f.name, shown(f), f.metadata["help"].replace("|", "\\|")) for f in dataclasses.fields(SUBCOMMANDS[subcommand])
    ]
    assert flags_in_readme(subcommand) == expected
