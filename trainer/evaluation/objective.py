"""What `train --objective auto` and `--show_context auto` come to: the headroom of some rows is measured."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..run.atomic import write_text
from ..run.directory import RunDirectory
from ..run.processes import from_main_process
from ..settings.options import Train
from ..settings.resolve import Resolved, read_config_file
from ..teachers.preflight import require_teacher
from ..training.arguments import training_arguments
from ..training.inputs import Inputs, read_inputs, settle
from .headroom import as_record, decided, measure, route_of, told_of
from .scorer import load_scorer
from .verdicts import Decision
from .ways import ways_to_show

AUTO_ROWS = 64
CHOSEN = ("objective", "show_context")  # settings that may be `auto` till headroom was measured
CHOSEN_BY_AUTO = "chosen by auto, as told above"
RECORD = "headroom.json"


def choose_objective(resolved: Resolved) -> tuple[Resolved, dict[str, Any] | None]:
    """`resolved` with what `--objective auto` and `--show_context auto` come to, and the record of what was measured.

    A run that was begun keeps both: they are taken from the run directory, and nothing is measured again.

    Raises:
        UsageError: nothing that was measured has a signal (says why); no rows to measure on; or
            what `train` would refuse anyway, which is found before the measurement.
        TeacherError: the served teacher is gone.
        Stopped: SIGINT or SIGTERM.
    """
    chosen = [name for name in CHOSEN if getattr(resolved.settings, name) == "auto"]
    if resolved.settings.objective == "sft":  # nobody is shown anything; `read_inputs` says so
        chosen = []
    if not chosen:
        return resolved, None
    require_own_view(resolved.settings, chosen)
    flags, open_objective = " and ".join(f"--{name} auto" for name in chosen), "objective" in chosen
    begun = Path(resolved.settings.output_dir) / "config.yaml"
    if begun.is_file():
        former = read_config_file(str(begun))
        return _with_choice(resolved, {name: former.get(name) for name in CHOSEN}, f"that of {begun}"), None
    load_scorer(resolved.settings.scorer)
    settings = settle(dataclasses.replace(resolved.settings, objective="sdft") if open_objective else resolved.settings)
    if settings.eval_data_path is None:
        raise UsageError(f"{flags} measures on evaluation rows. Pass --eval_data_path FILE, or name what to take.")
    with contextlib.redirect_stdout(None):  # the run says it all again
        inputs = read_inputs(dataclasses.replace(resolved, settings=settings))
    if not settings.dry_run:
        RunDirectory(Path(settings.output_dir)).require_writable()
    if settings.vllm_server_base_url and open_objective:
        require_free_choice(resolved)
        require_teacher(settings)
    if not open_objective:  # the way is chosen by the student's own answers: a served teacher need not be paid for its
        settings = dataclasses.replace(settings, vllm_server_base_url=None)
    decision, record = from_main_process(lambda: _measured(settings, inputs))
    record["chosen"] = chosen
    if not open_objective:
        return _with_choice(resolved, {"show_context": record["show_context"]}, CHOSEN_BY_AUTO), record
    if decision.objective is None:
        found_none = "can't choose" if decision.is_open else "found none that can work"
        raise UsageError(f"--objective auto {found_none}: {decision.reason}")
    choice = {"objective": decision.objective, "show_context": record["show_context"]}
    return _with_choice(resolved, choice, CHOSEN_BY_AUTO), record


def require_own_view(settings: Train, chosen: list[str]) -> None:
    """Refuse to choose by the student's view of a demonstration where another model will be the one to view it."""
    if settings.teacher_model_name_or_path is not None:
        raise UsageError(
            f"--{chosen[0]} auto measures what the student makes of a demonstration, and --teacher_model_name_or_path "
            "is another reader. Name what to take, as --objective sdft --show_context turns."
        )


def _measured(settings: Train, inputs: Inputs) -> tuple[Decision, dict[str, Any]]:
    """What the headroom of some evaluation rows says, printed, and its record."""
    print("── headroom", flush=True)
    data = settings.eval_data_path or ""
    pool, ways = ways_to_show(settings, inputs.encoder, inputs.eval_rows["new_skill"], data)
    found = measure(settings, ways, pool, AUTO_ROWS, inputs.arguments.per_device_eval_batch_size)
    forced = settings.tokenizer_route == "byte"
    route = route_of(settings, inputs.encoder, settings.byte_route, force_bytes=forced)
    all_golden = all(row.has_demonstration or row.privileged_context is not None for row in inputs.train_rows)
    decision = decided(found.answers, route, alpha=settings.alpha, teacher_is_shown=all_golden)
    print(f"{told_of(found, decision, model=settings.model_name_or_path, data=data)}\n", flush=True)
    return decision, as_record(settings, data, found, decision)


def require_free_choice(resolved: Resolved) -> None:
    """Raise UsageError for a flag that one of the objectives to choose from does not go with."""
    for objective in ("sdft", "served", "seqkd"):
        tried = _with_choice(resolved, {"objective": objective}, "tried")
        try:
            with contextlib.redirect_stdout(None):
                training_arguments(dataclasses.replace(tried, settings=settle(tried.settings)))
        except UsageError as error:
            raise UsageError(
                f"--objective auto may come to {objective}, which these flags don't go with: {error} "
                "Leave the flag out, or name an objective."
            ) from error


def _with_choice(resolved: Resolved, choice: dict[str, Any], why: str) -> Resolved:
    """The settings with those that are open decided."""
    made = {name: value for name, value in choice.items() if getattr(resolved.settings, name) == "auto"}
    settings = dataclasses.replace(resolved.settings, **made)
    return dataclasses.replace(resolved, settings=settings, origins=resolved.origins | dict.fromkeys(made, why))


def record_choice(directory: RunDirectory, record: dict[str, Any] | None) -> None:
    """Keep what was measured, and say in `config.yaml` what was chosen by it."""
    if record is not None:
        directory.write_json(RECORD, record)
    kept = directory.read_json(RECORD)
    if kept is not None:
        config = directory.path / "config.yaml"
        names = kept.get("chosen", ["objective"])
        note = "".join(f"# {name}: chosen by --{name} auto; {RECORD} has what was measured\n" for name in names)
        write_text(config, note + config.read_text(encoding="utf-8").removeprefix(note))
