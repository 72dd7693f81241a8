#!/usr/bin/env python3
"""Writes docs/reference/flags.md from trainer/settings/options.py; any Python will do:

python docs/flags.py
"""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "flags.md"
sys.path.insert(0, str(ROOT))

from trainer.__main__ import USAGE  # noqa: E402
from trainer.settings.options import SUBCOMMANDS, TEACHER_PROMPT_TEMPLATE  # noqa: E402

HEAD = """\
# Flags

<!-- Written by `python docs/flags.py` from trainer/settings/options.py. Change it there. -->

Each flag can be given in three ways:

- on the command line: `--foo_bar 1`;
- in a YAML file, `--config FILE`, as a line `foo_bar: 1`;
- in the environment, as `SDFT_FOO_BAR=1`.

The command line wins over the file. The file wins over the environment. `train --dry_run` loads everything and shows
each value with where it came from. A name that is unknown is an error, which names the nearest known one.

An empty default means "not set". `--foo-bar` is the same as `--foo_bar`. `sdft SUBCOMMAND --help` prints the flags.

`train` also takes any other flag of TRL's `SDFTConfig` (for `sft` and `seqkd` of its `SFTConfig`), such as
`--per_device_train_batch_size`. These stand on the command line or in the file, not in the environment.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """All of it as Markdown."""
    template = "\n".join(["", "## The published template", "", "The default of `--teacher_prompt_template`:", ""])
    published = f"```text\n{TEACHER_PROMPT_TEMPLATE}\n```\n"
    return "\n".join([HEAD, *map(section, SUBCOMMANDS), template, published]).replace("\n\n\n", "\n\n")


def section(subcommand: str) -> str:
    """A subcommand: what it is for, and the table of its flags."""
    line = next(line for line in USAGE.splitlines() if line.split()[:1] == [subcommand])
    purpose = line.split(maxsplit=1)[1]
    purpose = purpose[0].upper() + purpose[1:] + ("" if purpose.endswith("?") else ".")
    rows = [f"| `--{f.name}` | {default(f)} | {escaped(f.metadata['help'])} |" for f in options(subcommand)]
    return "\n".join([f"\n## `{subcommand}`", "", purpose, "", TABLE, *rows, ""])


TABLE = "| flag | default | meaning |\n|---|---|---|"


def options(subcommand: str) -> tuple[dataclasses.Field, ...]:
    """The settings of a subcommand in the order of its `--help`."""
    return dataclasses.fields(SUBCOMMANDS[subcommand])


def default(f: dataclasses.Field) -> str:
    """A setting's default as the table shows it."""
    if f.default == TEACHER_PROMPT_TEMPLATE:
        return "[published](#the-published-template)"
    return "" if f.default in (None, ()) else f"`{f.default}`"


def escaped(text: str) -> str:
    """A text for a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
