"""The suite of tasks that the SDFT paper measures forgetting with, run by lm-evaluation-harness.

Tasks, prompts, few-shot examples and metrics are the harness's own, at its defaults: no chat template is used.
"""

import importlib.metadata
import importlib.util
import os
from typing import Any

from ..errors import UsageError
from ..settings.options import Eval

ALLOWED = "HF_ALLOW_CODE_EVAL"  # the variable in which the library behind humaneval wants to be told so

Scores = dict[str, dict[str, float]]  # by task: metrics and their standard errors, as the harness names them


def load(settings: Eval) -> dict[str, Any]:
    """The harness's tasks and groups of tasks by their names, with their data.

    Raises:
        UsageError: the harness is not here, a task is unknown or its data can't be had, or running code isn't allowed.
    """
    names = [name.strip() for name in settings.suite_tasks.split(",") if name.strip()]
    _require(settings, names)
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    os.environ[ALLOWED] = "1" if settings.allow_code else "0"
    manager, found = TaskManager(), {}
    for name in names:
        try:
            loaded: Any = manager.load(name)
        except (OSError, LookupError, ValueError, ImportError) as error:
            raise UsageError(
                f"lm-eval can't load its task {name!r} ({error}). Expected one of `lm-eval ls tasks` or a YAML file, "
                "and its data on the hub or in the hub's cache. Run it once where the hub can be reached, or choose "
                "other tasks with --suite_tasks."
            ) from error
        runs_code = any(getattr(task, "UNSAFE_CODE", False) for task in loaded["tasks"].values())
        _require_leave(settings, name, names, runs_code=runs_code)
        outermost = [*loaded["groups"].items()][:1]
        found |= dict(outermost) or loaded["tasks"]
    return found


def _require(settings: Eval, names: list[str]) -> None:
    if settings.served:
        raise UsageError(
            "--suite needs the model's weights, so not --served. Pass --model_name_or_path FOLDER|HUB_NAME."
        )
    if importlib.util.find_spec("lm_eval") is None:
        raise UsageError('--suite lm-eval needs a package that is not here. Type `pip install "lm-eval[hf,ifeval]"`.')
    for name in names:
        _require_leave(settings, name, names, runs_code=name.startswith("humaneval"))


def _require_leave(settings: Eval, name: str, names: list[str], *, runs_code: bool) -> None:
    if runs_code and not settings.allow_code:
        others = ",".join(other for other in names if other != name)
        raise UsageError(
            f"{name} runs code that the model writes, without a sandbox. Pass --allow_code where it can do no harm, as "
            f"in a container, or choose other tasks: --suite_tasks {others or 'hellaswag,ifeval'}"
        )


def scores(settings: Eval, tasks: dict[str, Any]) -> Scores:
    """What the harness measures of the model with the tasks that `load` gives."""
    import torch
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    from ..models.loading import load_student
    from ..models.student import load_tokenizer

    student: Any = load_student(settings, dtype=getattr(torch, settings.dtype))
    student.to("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer: Any = load_tokenizer(settings)
    found: Any = simple_evaluate(
        model=HFLM(pretrained=student, tokenizer=tokenizer, batch_size=settings.per_device_eval_batch_size),
        tasks=[*tasks.values()],
        limit=settings.suite_limit,
        log_samples=False,
        confirm_run_unsafe_code=settings.allow_code,
    )
    return {task: _numbers(found["results"][task]) for task in tasks}


def _numbers(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result.items() if isinstance(value, int | float)}


def table(scores: Scores) -> str:
    """A line a task: each metric with its standard error."""
    lines = [f"lm-eval {importlib.metadata.version('lm-eval')}"]
    for task, metrics in scores.items():
        names = [name for name in metrics if "," in name and "_stderr," not in name]
        lines.append(f"{task:16}" + "  ".join(_cell(metrics, name) for name in names))
    return "\n".join(lines)


def _cell(metrics: dict[str, float], name: str) -> str:
    metric, _, filtered = name.partition(",")
    error = metrics.get(f"{metric}_stderr,{filtered}")
    return f"{metric} {metrics[name]:.1%}" + (f" ± {error:.1%}" if error is not None else "")
