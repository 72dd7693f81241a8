"""The `export` subcommand: a checkpoint of a run as a model folder, verified, with a model card."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError

from .. import COMMAND
from ..data.dataset import drawn
from ..data.prompts import PromptEncoder
from ..data.rows.row import Row
from ..errors import TrainerError, UsageError
from ..evaluation.same_answers import first_difference, greedy_answers
from ..models.configuration import first_line, is_adapter, require_base
from ..models.export import load_merged, round_weights, think_as_trained, write_adapter, write_model
from ..models.loading import load_student
from ..models.student import context_window, encoder_for, load_tokenizer
from ..reporting.headline import title_text
from ..reporting.model_card import model_card
from ..reporting.runs import DATA_SETTINGS, Run, as_written, read_run, require_run_directory
from ..run.atomic import new_folder, write_text
from ..run.checkpoint import in_words
from ..run.chosen import Chosen, choose
from ..settings.options import Export, Train
from ..settings.resolve import Resolved, made_by_program, resolve

ASKED = 8  # rows that the written model has to answer as the checkpoint does
QUESTIONS = (  # where the rows of the run are not here any more
    "Say hello.",
    "What is the capital of France?",
    "Name three colours.",
    "How many legs has a spider?",
    "Write one sentence about rain.",
    "What is 7 plus 5?",
    "Translate 'good morning' into German.",
    "Why is the sky blue?",
)


def run(resolved: Resolved) -> int:
    """Entry of `export`."""
    export(resolved.settings)
    return 0


@dataclass(frozen=True)
class ExportResult:
    """A model folder.

    Attributes:
        model: The folder; None of a dry run.
        checkpoint: What it was made from.
        reason: Why that one, in a few words.
        verified: What was compared with the checkpoint's answers, in a sentence.
    """

    model: Path | None
    checkpoint: Path
    reason: str
    verified: str


def export(settings: Export) -> ExportResult:
    """Do what the command `export` does.

    The model is written aside, its answers are compared with the checkpoint's, the folder appears, and is uploaded if
    that is asked.

    Raises:
        UsageError: no such run, checkpoint or base model; a folder that isn't empty or can't be written; no upload.
        TrainerError: the written model answers otherwise than the checkpoint; nothing is kept of it.
    """
    settings = made_by_program(Export, settings).settings
    found, target = _run_of(settings), _target_of(settings)
    chosen = choose(found.path, settings.checkpoint, scores_midway=bool(found.config.get("eval_steps")))
    if settings.adapter and not is_adapter(str(chosen.path)):
        raise UsageError(f"{chosen.path} holds a whole model and no LoRA adapter. Leave --adapter out.")
    require_base(chosen.path)
    if settings.push_to_hub is not None:
        _require_upload(settings.push_to_hub, dry_run=settings.dry_run)
    print(f"{chosen.path.name}: {chosen.why}", flush=True)
    try:
        with new_folder(target, keep=not settings.dry_run) as staged:
            verified = _write(settings, found, chosen, staged)
            with as_written([found.path]):
                card = model_card(found, chosen, settings, verified)
            write_text(staged / "README.md", card)
            files = [*_listed(staged)]
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"can't write {target}: {first_line(error)} Pass --output_dir FOLDER, in a writable place with room."
        ) from error
    print(f"verified: {verified}", *files, sep="\n")
    if settings.dry_run:
        print(f"dry run: nothing is kept{'' if settings.push_to_hub is None else ', and nothing uploaded'}")
        return ExportResult(None, chosen.path, chosen.why, verified)
    print(f"model: {target}")
    if settings.push_to_hub is not None:
        _upload(target, settings.push_to_hub)
    return ExportResult(target, chosen.path, chosen.why, verified)


def _run_of(settings: Export) -> Run:
    """The run directory that is named, read."""
    if settings.run is None:
        raise UsageError(f"no run is named. Type `{COMMAND} export RUN --output_dir MODEL`.")
    folder = Path(settings.run)
    if folder.name.startswith("checkpoint-") and (folder.parent / "config.yaml").is_file():
        step = folder.name.partition("-")[2]
        raise UsageError(
            f"{folder} is a checkpoint, expected its run. Type `{COMMAND} export {folder.parent} --checkpoint {step}`."
        )
    require_run_directory(folder, "export")
    return read_run(folder, folder.resolve().name)


def _target_of(settings: Export) -> Path:
    """The folder that is to appear, which is not there yet or empty."""
    if settings.output_dir is None:
        raise UsageError("no folder for the model is named. Pass --output_dir FOLDER, a new one.")
    target = Path(settings.output_dir)
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"the folder {target} is not empty. Pass --output_dir FOLDER, a new one.")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file. Pass --output_dir FOLDER, a new one.")
    return target


def _write(settings: Export, found: Run, chosen: Chosen, folder: Path) -> str:
    """Write weights and tokenizer, load them again, and say in a sentence what was compared.

    Raises:
        TrainerError: the written model answers otherwise.
    """
    checkpoint, dtype = _settings_of(settings, found, chosen.path), getattr(torch, settings.dtype)
    written = dataclasses.replace(checkpoint, model_name_or_path=str(folder))
    encoder = _encoder(checkpoint)
    prompts, what = _prompts(found, encoder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    thinks_otherwise = think_as_trained(encoder.tokenizer, enable_thinking=checkpoint.enable_thinking)
    model: Any = load_student(checkpoint)
    as_trained = greedy_answers(model.to(device), encoder, prompts)
    if not settings.adapter:
        model = load_merged(checkpoint)
    round_weights(model, dtype, adapters_alone=settings.adapter)
    if settings.adapter:
        write_adapter(chosen.path, encoder.tokenizer, folder, dtype)
    else:
        write_model(model, encoder.tokenizer, folder)
    expected = as_trained
    if dtype != torch.float32:
        round_weights(model, torch.float32)
        expected = greedy_answers(model.to(device), encoder, prompts)
    del model
    again: Any = load_student(written)
    answers = greedy_answers(again.to(device), encoder, prompts)
    place = first_difference(again, prompts, expected, answers, ties=not settings.adapter)
    if place is not None:
        raise TrainerError(_otherwise(*place, what, expected, answers, encoder))
    verified = _verified(settings, chosen, what, expected, as_trained)
    return f"{verified} {_of_thinking(checkpoint)}" if thinks_otherwise else verified


def _of_thinking(settings: Train) -> str:
    state, other = ("on", "off") if settings.enable_thinking else ("off", "on")
    return (
        f"Its chat template has thinking {state}, as it was trained; a request turns it {other} by "
        f'chat_template_kwargs: {{"enable_thinking": {str(not settings.enable_thinking).lower()}}}.'
    )


def _otherwise(
    number: int, token: int, what: str, expected: list[list[int]], answers: list[list[int]], encoder: PromptEncoder
) -> str:
    tokenizer: Any = encoder.tokenizer
    wanted, said = (tokenizer.decode(some[number])[:200] for some in (expected, answers))
    return (
        f"the written model answers otherwise than the checkpoint: of {what} number {number + 1} from token "
        f"{token + 1} on, {said!r} instead of {wanted!r}. Nothing was kept. Please report this as a bug."
    )


def _verified(
    settings: Export, chosen: Chosen, what: str, expected: list[list[int]], as_trained: list[list[int]]
) -> str:
    """What was compared, in a sentence."""
    name, tokens = chosen.path.name, sum(map(len, expected))
    if settings.dtype == "float32":
        return f"loaded again, the model answers {what} as {name} does, token by token ({tokens} tokens)."
    same = sum(one == other for one, other in zip(expected, as_trained, strict=True))
    return (
        f"loaded again, the model answers {what} as {name} rounded to {settings.dtype} does, token by token ({tokens} "
        f"tokens, computed in float32); {same} of the {len(expected)} answers are those of {name} before rounding."
    )


def _settings_of(settings: Export, found: Run, model: Path) -> Train:
    """The settings of the run, about another model folder; its tokenizer has the run's chat template."""
    trained: Train = resolve("train", ["--config", str(found.path / "config.yaml")], {}).settings
    if trained.load_in_4bit and not is_adapter(str(model)):
        raise UsageError(
            f"{found.path / 'config.yaml'} says load_in_4bit, and {model} is a whole model, which is never trained in "
            "4 bits. Was the file edited? Expected load_in_4bit: false."
        )
    offline = trained.local_files_only or settings.local_files_only
    return dataclasses.replace(trained, model_name_or_path=str(model), chat_template=None, local_files_only=offline)


def _encoder(settings: Train) -> PromptEncoder:
    window = context_window(settings)
    return encoder_for(settings, load_tokenizer(settings), window)


def _prompts(found: Run, encoder: PromptEncoder) -> tuple[list[list[int]], str]:
    """A few prompts as token ids, and what they are: rows that the run scored, else questions of ours."""
    for title in DATA_SETTINGS:
        try:
            rows = drawn([*found.rows(title).values()], None)
        except UsageError:
            continue  # the data are not here; what was asked instead is told
        if prompts := [*_readable(rows, encoder)][:ASKED]:
            return prompts, f"{len(prompts)} rows of {title_text(title).lower()}"
    rows = [Row(str(number), [{"role": "user", "content": text}]) for number, text in enumerate(QUESTIONS)]
    return [*_readable(rows, encoder)], f"{ASKED} questions of ours (the rows that the run scored are not here)"


def _readable(rows: list[Row], encoder: PromptEncoder) -> Iterator[list[int]]:
    for row in rows:
        try:
            yield encoder.student_prompt(row).ids
        except UsageError:
            continue


def _listed(folder: Path) -> Iterator[str]:
    files = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    width = max(len(str(path.relative_to(folder))) for path in files)
    for path, size in files.items():
        yield f"  {path.relative_to(folder)!s:<{width}}  {in_words(size)}"


def _require_upload(name: str, *, dry_run: bool) -> None:
    """Raise UsageError, before anything expensive, where nothing can be uploaded under that name."""
    try:
        validate_repo_id(name)
        if not dry_run:
            HfApi().whoami()
    except HFValidationError as error:
        raise UsageError(f"--push_to_hub is {name!r}, expected ORG/NAME: {first_line(error)}") from error
    except Exception as error:  # no network, no key, one that is not valid: whatever the hub's library makes of it
        raise UsageError(
            f"can't upload to the model hub: {first_line(error)} Type `hf auth login`, or set HF_TOKEN."
        ) from error


def _upload(folder: Path, name: str) -> None:
    """Create the repository where it isn't there, and upload the folder."""
    api = HfApi()
    try:
        place = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=place.repo_id, folder_path=folder, commit_message="A model by self-distillation")
    except Exception as error:
        raise UsageError(
            f"{folder} is whole, and could not be uploaded: {first_line(error)} Try `hf upload {name} {folder}`."
        ) from error
    print(f"uploaded: {place}")
