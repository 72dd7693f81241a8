"""`python -m trainer SUBCOMMAND`: parse first, import the heavy parts after."""

import importlib
import os
import signal
import sys
import warnings

from trainer import __version__
from trainer.errors import TrainerError
from trainer.run.processes import is_main_process
from trainer.run.streams import in_utf8, make_lasting

USAGE = """\
usage: python -m trainer SUBCOMMAND [flags]

  train     preflight, then Self-Distillation Fine-Tuning; resumes by itself
  generate  write train and eval data with the served teacher
  eval      score a model on the new skill and on prior skills
  check     is the teacher reachable and fit? is there anything to learn?
  report    one self-contained HTML file from run directories
  export    a checkpoint as a model folder that any tool loads, with a model card
  compare   two models, or servers, answer the same rows or a prompt

`python -m trainer SUBCOMMAND --help` lists its flags."""

ENTRY_POINTS = {
    "train": "trainer.commands.train",
    "generate": "trainer.commands.generate",
    "eval": "trainer.commands.eval",
    "check": "trainer.commands.check",
    "report": "trainer.commands.report",
    "export": "trainer.commands.export",
    "compare": "trainer.commands.compare",
}


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
    if subcommand not in ENTRY_POINTS:
        print(f"error: unknown subcommand {subcommand!r}\n\n{USAGE}", file=sys.stderr)
        return 2

    from trainer.settings.resolve import resolve
    from trainer.settings.server_url import without_secrets

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if subcommand != "train" and not is_main_process():
        print(
            f"`{subcommand}` is done by the first process; this one (RANK={os.environ['RANK']}) ends.", file=sys.stderr
        )
        return 0
    try:
        resolved = resolve(subcommand, rest, os.environ)
        return importlib.import_module(ENTRY_POINTS[subcommand]).run(resolved)
    except TrainerError as error:
        print(f"error: {without_secrets(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
