"""What Python programs use, under the names that `trainer/__init__.py` gives out."""

from ..errors import Stopped, TeacherError, TrainerError, UsageError
from ..evaluation.headroom import HeadroomResult
from ..evaluation.scores import Answer, Scores
from ..settings.options import Check as CheckSettings
from ..settings.options import Compare as CompareSettings
from ..settings.options import Eval as EvalSettings
from ..settings.options import Export as ExportSettings
from ..settings.options import Generate as GenerateSettings
from ..settings.options import Report as ReportSettings
from ..settings.options import Train as TrainSettings
from .check import Finding, check, headroom
from .compare import CompareResult, compare
from .eval import EvalResult, evaluate
from .export import ExportResult, export
from .generate import GenerateResult, generate
from .report import report
from .train import TrainResult, train

__all__ = [
    "Answer",
    "CheckSettings",
    "CompareResult",
    "CompareSettings",
    "EvalResult",
    "EvalSettings",
    "ExportResult",
    "ExportSettings",
    "Finding",
    "GenerateResult",
    "GenerateSettings",
    "HeadroomResult",
    "ReportSettings",
    "Scores",
    "Stopped",
    "TeacherError",
    "TrainResult",
    "TrainSettings",
    "TrainerError",
    "UsageError",
    "check",
    "compare",
    "evaluate",
    "export",
    "generate",
    "headroom",
    "report",
    "train",
]
