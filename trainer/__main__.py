"""`python -m trainer SUBCOMMAND`: parse first, import the heavy parts after."""

import errno
import importlib
import os
import signal
import sys
import traceback
from typing import NoReturn

from . import COMMAND, __version__, prepare
from .errors import NO_ROOM, TrainerError, UsageError, abridged, of_file
from .run.processes import is_main_process, leave, require_numbers
from .run.streams import in_utf8, make_lasting, printable
from .settings.options import SUBCOMMANDS

USAGE = f"""\
usage: {COMMAND} SUBCOMMAND [flags]

  train     preflight, then Self-Distillation Fine-Tuning; resumes by itself
  generate  write train and eval data with the served teacher
  eval      score a model on the new skill and on prior skills
  check     is the teacher reachable and fit? is there anything to learn?
  report    one self-contained HTML file from run directories
  export    a checkpoint as a model folder that any tool loads, with a model card
  compare   two models, or servers, answer the same rows or a prompt

`{COMMAND} SUBCOMMAND --help` lists its flags."""

# Of files that could not be used: what the machine lacks, and not what the user typed.
MACHINES = {*NO_ROOM, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def shown(message: str) -> str:
    """A message as a terminal may have it: no secrets, nothing that steers the terminal, no endless values."""
    from .settings.server_url import without_secrets

    return abridged(printable(without_secrets(message)))


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code (0 done, 2 usage, 3 teacher, 4 stopped and saved)."""
    if argv is None:
        in_utf8()
    arguments = sys.argv[1:] if argv is None else argv
    make_lasting()
    if arguments and arguments[0] in ("-V", "--version", "version"):
        print(f"self-distillation {__version__}")
        return 0
    if len(arguments) > 1 and arguments[0] == "help":
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    subcommand, *rest = arguments
    if subcommand not in SUBCOMMANDS:
        print(f"error: unknown subcommand {subcommand!r}\n\n{USAGE}", file=sys.stderr)
        return 2

    from .settings.resolve import resolve

    try:
        os.getcwd()
    except FileNotFoundError:  # half of all libraries need it, each with another error
        print("error: the folder that you are in is gone. Type `cd` to one that is there.", file=sys.stderr)
        return UsageError.exit_code
    prepare()
    if subcommand != "train" and not is_main_process():
        print(
            f"`{subcommand}` is done by the first process; this one (RANK={os.environ['RANK']}) ends.", file=sys.stderr
        )
        return 0
    try:
        require_numbers()
        resolved = resolve(subcommand, rest, os.environ)
        return importlib.import_module(f".commands.{subcommand}", __package__).run(resolved)
    except TrainerError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        print(f"error: {shown(of_file(error))}", file=sys.stderr)
        return TrainerError.exit_code if error.errno in MACHINES else UsageError.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def command() -> NoReturn:
    """What is typed: `main`, and the end of the process with its exit code."""
    code = 1
    try:
        code = main()
    except Exception:
        traceback.print_exc()
    leave(code)


if __name__ == "__main__":
    command()
