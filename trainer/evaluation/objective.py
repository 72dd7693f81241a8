"""What `train --objective auto` comes to: it measures the headroom of some rows and follows."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

from trainer.data.encoding import readable
from trainer.errors import UsageError
from trainer.evaluation.headroom import as_record, decided, measure, route_of, told_of
from trainer.evaluation.scorer import load_scorer
from trainer.evaluation.verdicts import Decision
from trainer.run.atomic import write_text
from trainer.run.directory import RunDirectory
from trainer.settings.options import Train
from trainer.settings.resolve import Resolved, read_config_file
from trainer.teachers.preflight import require_teacher
from trainer.training.arguments import training_arguments
from trainer.training.inputs import Inputs, read_inputs, settle

AUTO_ROWS = 64
RECORD = "headroom.json"


def choose_objective(resolved: Resolved) -> tuple[Resolved, dict[str, Any] | None]:
    """`resolved` with what `--objective auto` comes to, and the record of what was measured for it.

    A run that was begun keeps its objective: it is taken from the run directory, and nothing is measured again.

    Raises:
        UsageError: nothing that was measured has a signal (says why); no rows to measure on; several processes; or
            what `train` would refuse anyway, which is found before the measurement.
        TeacherError: the served teacher is gone.
        Stopped: SIGINT or SIGTERM.
    """
    if resolved.settings.objective != "auto":
        return resolved, None
    begun = Path(resolved.settings.output_dir) / "config.yaml"
    if begun.is_file():
        objective = read_config_file(str(begun)).get("objective")
        return _with_objective(resolved, objective, f"that of {begun}"), None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"--objective auto measures in one process. Measure first, `python -m trainer check --headroom {AUTO_ROWS}"
            " …`, and name the objective."
        )
    load_scorer(resolved.settings.scorer)
    settings = settle(dataclasses.replace(resolved.settings, objective="sdft"))
    if settings.eval_data_path is None:
        raise UsageError("--objective auto measures on evaluation rows. Pass --eval_data_path FILE, or an objective.")
    with contextlib.redirect_stdout(None):  # the run says it all again
        inputs = read_inputs(dataclasses.replace(resolved, settings=settings))
    if not settings.dry_run:
        RunDirectory(Path(settings.output_dir)).require_writable()
    if settings.vllm_server_base_url:
        require_free_choice(resolved)
        require_teacher(settings)
    decision, record = _measured(settings, inputs)
    if decision.objective is None:
        found_none = "can't choose" if decision.is_open else "found none that can work"
        raise UsageError(f"--objective auto {found_none}: {decision.reason}")
    return _with_objective(resolved, decision.objective, "chosen by auto, as told above"), record


def _measured(settings: Train, inputs: Inputs) -> tuple[Decision, dict[str, Any]]:
    """What the headroom of some evaluation rows says, printed, and its record."""
    print("── headroom", flush=True)
    encoder, data = inputs.encoder, settings.eval_data_path or ""
    rows, skip = inputs.eval_rows["new_skill"], settings.skip_bad_rows
    pool = readable(rows, encoder, data, shown=True, skip_bad_rows=skip)
    found = measure(settings, encoder, pool, AUTO_ROWS, inputs.arguments.per_device_eval_batch_size)
    forced = settings.tokenizer_route == "byte"
    route = route_of(settings, encoder, settings.byte_route, force_bytes=forced)
    all_golden = all(row.has_demonstration or row.privileged_context is not None for row in inputs.train_rows)
    decision = decided(found, route, alpha=settings.alpha, teacher_is_shown=all_golden)
    print(f"{told_of(found, decision, model=settings.model_name_or_path, data=data)}\n", flush=True)
    return decision, as_record(settings, data, found, decision)


def require_free_choice(resolved: Resolved) -> None:
    """Raise UsageError for a flag that one of the objectives to choose from does not go with."""
    for objective in ("sdft", "served", "seqkd"):
        tried = _with_objective(resolved, objective, "tried")
        try:
            with contextlib.redirect_stdout(None):
                training_arguments(dataclasses.replace(tried, settings=settle(tried.settings)))
        except UsageError as error:
            raise UsageError(
                f"--objective auto may come to {objective}, which these flags don't go with: {error} "
                "Leave the flag out, or name an objective."
            ) from error


def _with_objective(resolved: Resolved, objective: Any, why: str) -> Resolved:
    settings = dataclasses.replace(resolved.settings, objective=objective)
    return dataclasses.replace(resolved, settings=settings, origins=resolved.origins | {"objective": why})


def record_choice(directory: RunDirectory, record: dict[str, Any] | None) -> None:
    """Keep what `--objective auto` measured, and say in `config.yaml` that the objective was chosen."""
    if record is not None:
        directory.write_json(RECORD, record)
    if directory.read_json(RECORD) is not None:
        config = directory.path / "config.yaml"
        note = f"# objective: chosen by --objective auto; {RECORD} has what was measured\n"
        write_text(config, note + config.read_text(encoding="utf-8").removeprefix(note))
