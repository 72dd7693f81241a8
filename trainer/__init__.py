"""Self-Distillation: SDFT (arXiv 2601.19897) on a small student, with a served vLLM teacher.

What the commands do can be called: `from trainer import TrainSettings, train`. Installed as a wheel the package is
called `self_distillation`.
"""

import importlib
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands.public import *  # noqa: F403

__version__ = "0.1.0"
COMMAND = f"python -m {__name__}"  # as messages name it
PUBLIC = (
    *("train", "evaluate", "generate", "check", "headroom", "export", "compare", "report"),
    *("TrainSettings", "EvalSettings", "GenerateSettings", "CheckSettings"),
    *("ExportSettings", "CompareSettings", "ReportSettings"),
    *("TrainResult", "EvalResult", "GenerateResult", "HeadroomResult", "Finding", "ExportResult", "CompareResult"),
    *("Answer", "Scores", "TrainerError", "UsageError", "TeacherError", "Stopped"),
)


def prepare() -> None:
    """No telemetry, and no warnings of what we chose ourselves; before the libraries that look at it are imported."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # peft imports it: a speed-up is missing


def __getattr__(name: str) -> Any:
    """What Python programs use is imported when they ask for it: most of it needs torch, and `--help` must not."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    prepare()
    return getattr(importlib.import_module(".commands.public", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
