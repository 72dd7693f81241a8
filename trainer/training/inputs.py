"""What a training run is made of before anything expensive happens: settings that are settled, data, arguments."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from trl import SFTConfig
from trl.experimental.sdft import SDFTConfig

from .. import COMMAND
from ..data.dataset import Reading, default_train_data, load_eval_files, load_rows
from ..data.encoding import Encoded, encode, readable
from ..data.groups import one_kind
from ..data.prompts import PromptEncoder
from ..data.rows.digests import data_digests, model_digests
from ..data.rows.row import Row
from ..errors import UsageError
from ..models.configuration import is_adapter
from ..models.student import context_window, encoder_for, load_tokenizer, require_teacher_model
from ..settings.options import DISTILLING, GENERAL_PROMPTS, REPLAY_SHARE, THINKING, TOOLUSE_EVAL_DATA, Train
from ..settings.resolve import Resolved
from .arguments import microbatch_limit, prompts_per_step, require_known, training_arguments
from .microbatches import MicrobatchLimit
from .needs import warn_of_needs
from .replay import Replay, read_replay, replay_digests, replays_a_run
from .sharding import is_asked_for

LOOKED_AT = 64  # rows, to tell how long answers are
ADAPTERS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")  # settings of no other training
SHORT = 5  # an answer of at most so many times the tokens that are left out of the loss


@dataclass(frozen=True)
class Inputs:
    """All that a run reads from this machine, checked before anything expensive.

    Attributes:
        encoded: The training rows as the student reads them, and their teacher where that is known.
        eval_rows: "new_skill" and "prior_skills", each where a file was given.
        files: SHA-256 of the data files and of the model's, by path.
        replay: The prompts to replay; None without any.
        limit: What the user says bounds a micro-batch of `sdft`; None: what fits the device.
    """

    train_rows: Sequence[Row]
    encoded: Encoded
    eval_rows: dict[str, list[Row]]
    encoder: PromptEncoder
    arguments: SDFTConfig | SFTConfig
    limit: MicrobatchLimit | None
    files: dict[str, str]
    replay: Replay | None = None


def settle(settings: Train) -> Train:
    """`settings` with everything decided that they leave open: the data files, and who demonstrates.

    Raises:
        UsageError: no data, or none to score at `--eval_steps`; objective and `--demonstrations` contradict each other;
            no teacher to ask; nothing that could be trained.
    """
    if settings.load_in_4bit and not settings.use_peft:
        raise UsageError(
            "--load_in_4bit holds the weights in 4 bits, which can't be trained; expected LoRA adapters beside them. "
            "Add --use_peft, or leave --load_in_4bit out."
        )
    asks = next((name for name in ADAPTERS if getattr(settings, name) != getattr(Train, name)), None)
    if asks and not settings.use_peft:
        raise UsageError(
            f"found --{asks} {getattr(settings, asks)} without --use_peft: all weights would be trained, and no "
            f"adapter. Add --use_peft, or leave --{asks} out."
        )
    if settings.teacher_model_name_or_path is not None and not (
        settings.objective == "sdft" and settings.teacher_kind == "base"
    ):
        raise UsageError(
            "--teacher_model_name_or_path names a teacher of --objective sdft that stays as it is; found --objective "
            f"{settings.objective} --teacher_kind {settings.teacher_kind}. Pass --objective sdft --teacher_kind base, "
            "or leave --teacher_model_name_or_path out."
        )
    own_data, usual = settings.train_data_path, Path(TOOLUSE_EVAL_DATA)
    eval_data = settings.eval_data_path or (str(usual) if own_data is None and usual.is_file() else None)
    if settings.eval_steps is not None and eval_data is None:
        raise UsageError("--eval_steps needs rows to score. Pass --eval_data_path FILE, or leave it out.")
    return dataclasses.replace(
        settings,
        train_data_path=own_data or default_train_data(),
        eval_data_path=eval_data,
        demonstrations=who_demonstrates(settings),
        **what_is_replayed(settings),
    )


def what_is_replayed(settings: Train) -> dict[str, Any]:
    """`--replay_data_path` and `--replay_share`, each given where the other is; none where nothing is replayed."""
    path, share = settings.replay_data_path, settings.replay_share
    if path is None and not share:
        return {"replay_share": None}
    if settings.objective not in DISTILLING:
        raise UsageError(
            f"--objective {settings.objective} has no rollouts, and what is replayed is answered by the student. "
            "Leave --replay_data_path and --replay_share out, or take --objective sdft or served."
        )
    if share == 0:
        return {"replay_data_path": None, "replay_share": None}
    if path is None and not Path(GENERAL_PROMPTS).is_file():
        raise UsageError(f"--replay_share replays {GENERAL_PROMPTS}, which is not here. Pass --replay_data_path FILE.")
    return {"replay_data_path": path or GENERAL_PROMPTS, "replay_share": share or REPLAY_SHARE}


def who_demonstrates(settings: Train) -> str:
    """`golden` or `teacher`, the writer of the demonstrations (for `seqkd` and `sft`: of the targets)."""
    fixed = {"seqkd": "teacher", "sft": "golden"}.get(settings.objective)
    chosen = settings.demonstrations
    if fixed is not None and chosen not in ("auto", fixed):
        raise UsageError(
            f"--objective {settings.objective} learns from {fixed} texts, and --demonstrations is {chosen}. "
            "Leave one of them out."
        )
    if chosen == "auto":
        writes = settings.vllm_server_base_url and settings.objective == "sdft"
        chosen = fixed or ("teacher" if writes else "golden")
    needs_url = chosen == "teacher" or settings.objective == "served"
    if needs_url and settings.vllm_server_base_url is None:
        what = "demonstrations by the teacher" if chosen == "teacher" else "scores of the served teacher"
        raise UsageError(
            f"--objective {settings.objective} with {what} needs its URL: `train http://localhost:8000 …`."
        )
    return chosen


def _require_whole_model(name: str) -> None:
    """Raise UsageError where a folder holds adapters alone; what to type depends on who wrote them."""
    if not is_adapter(name):
        return
    run, step = Path(name).parent, Path(name).name.removeprefix("checkpoint-")
    merge = "AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(OTHER)"
    if step.isdecimal() and (run / "config.yaml").is_file():
        merge = f"{COMMAND} export {shlex.quote(str(run))} --checkpoint {step} --output_dir MODEL"
    raise UsageError(f"{name!r} holds LoRA adapters, expected a whole model to train. Merge them first: `{merge}`.")


def read_inputs(resolved: Resolved) -> Inputs:
    """Data, tokenizer and training arguments, each checked."""
    settings: Train = resolved.settings
    require_known(resolved)
    _require_whole_model(settings.model_name_or_path)
    window = context_window(settings)
    # A served teacher also scores without a demonstration; for sdft a context takes the place of one.
    learns_golden = settings.demonstrations == "golden" and settings.objective not in DISTILLING
    train_rows = load_rows(settings.train_data_path or "", needs_golden=learns_golden, reading=Reading.of(settings))
    encoder = encoder_for(settings, load_tokenizer(settings), window)
    require_teacher_model(settings, encoder.tokenizer)
    train_rows, encoded = encode(
        train_rows,
        encoder,
        settings.train_data_path or "",
        other=what_else_is_read(settings),
        needs_shown=settings.objective == "sdft" and settings.demonstrations == "golden",
        skip_bad_rows=settings.skip_bad_rows,
    )
    warn_of_no_floor(resolved)
    warn_of_no_effect(settings)
    warn_of_slow_adapters(resolved)
    warn_of_thinking(settings)
    warn_of_leaking(settings, train_rows)
    warn_of_following(settings)
    warn_of_short_answers(settings, train_rows, encoder)
    arguments = training_arguments(resolved)
    warn_of_needs(settings, arguments.device, arguments.world_size if is_asked_for(arguments) else 1)
    require_a_step(len(train_rows), arguments)
    eval_rows, files = read_eval_rows(settings, encoder), digests_of(settings)
    replay = read_replay(settings, encoder, len(train_rows))
    return Inputs(train_rows, encoded, eval_rows, encoder, arguments, microbatch_limit(resolved), files, replay)


def what_else_is_read(settings: Train) -> str:
    """What is encoded of a row beside its prompt before anything is trained, see `trainer.data.encoding.encode`."""
    if settings.objective == "sdft":
        return "shown" if settings.demonstrations == "golden" else "room"
    return "target" if settings.objective == "sft" else "nothing"


def digests_of(settings: Train) -> dict[str, str]:
    """SHA-256 of all files that decide a run's outcome, by path."""
    data = (settings.train_data_path, settings.eval_data_path, settings.prior_data_path)
    found: dict[str, str] = {}
    for name in filter(None, (settings.model_name_or_path, settings.teacher_model_name_or_path)):
        found |= model_digests(name)
    for spec in filter(None, (*data, settings.tools, settings.context)):
        found |= data_digests(spec)
    return found | replay_digests(settings)


def warn_of_no_floor(resolved: Resolved) -> None:
    """Say when `--max_forgetting` was given and can't take effect."""
    settings: Train = resolved.settings
    missing = {"--eval_steps N": settings.eval_steps, "--prior_data_path FILE": settings.prior_data_path}
    absent = [flag for flag, value in missing.items() if value is None]
    if absent and resolved.origins.get("max_forgetting", "default") != "default":
        print(f"warning: --max_forgetting has no effect without {' and '.join(absent)}")


def warn_of_no_effect(settings: Train) -> None:
    """Name the settings that were changed and count for other objectives alone."""
    idle = [
        f"--{field.name}"
        for field in dataclasses.fields(settings)
        if settings.objective not in (field.metadata["objectives"] or (settings.objective,))
        and getattr(settings, field.name) != field.default
    ]
    if idle:
        has = "has" if len(idle) == 1 else "have"
        print(f"warning: {', '.join(idle)} {has} no effect with --objective {settings.objective}")


def warn_of_slow_adapters(resolved: Resolved) -> None:
    """Say when adapters get the published learning rate, which is one for all weights, because none was given."""
    rate, given = resolved.settings.learning_rate, resolved.origins.get("learning_rate", "default") != "default"
    if resolved.settings.use_peft and rate == Train.learning_rate and not given:
        print(
            f"warning: --learning_rate {rate:g} is the published one, for all weights. LoRA adapters usually get about "
            f"ten times as much: --learning_rate {10 * rate:g}"
        )


def warn_of_thinking(settings: Train) -> None:
    """Say when a student that thinks aloud is to learn from itself."""
    if settings.enable_thinking and settings.objective == "sdft":
        print(f"warning: {THINKING}")


def warn_of_leaking(settings: Train, rows: Sequence[Row]) -> None:
    """Say when all prompts are of one kind and none of another kind is replayed, where rollouts could be."""
    if settings.objective not in DISTILLING or settings.replay_data_path is not None:
        return
    if (kind := one_kind(rows)) is not None:
        print(
            f"warning: all prompts are of one kind ({kind}), and none of another kind is replayed, so what they "
            f"teach may leak into the answers to all others. --replay_share {REPLAY_SHARE:g} holds the student there."
        )


def warn_of_following(settings: Train) -> None:
    """Say when one skill is learnt behind another by a teacher that follows the student."""
    if settings.objective == "sdft" and settings.teacher_kind == "ema" and replays_a_run(settings):
        print(
            "warning: --replay_data_path names a run, and --teacher_kind ema follows the student, which follows "
            "demonstrations less with every skill. In the tiny world --teacher_kind base kept skills that ema lost."
        )


def warn_of_short_answers(settings: Train, rows: Sequence[Row], encoder: PromptEncoder) -> None:
    """Say when a good part of each answer is left out of the loss."""
    skipped = settings.num_loss_tokens_to_skip
    if settings.objective not in DISTILLING or not skipped:
        return
    texts = filter(None, map(encoder.golden_text, islice(rows, LOOKED_AT)))
    lengths = [len(encoder.target(text).ids) for text in texts]
    if lengths and skipped * SHORT >= median(lengths):
        few = f"{median(lengths):.0f} tokens or fewer"
        print(
            f"warning: half of the golden responses have {few}, and the first {skipped} of an answer are left out of "
            "the loss, as published for long ones. If they matter, as the name of a command does, pass "
            "--num_loss_tokens_to_skip 0, and hold other answers by --replay_share 0.25."
        )


def require_a_step(rows: int, arguments: SDFTConfig | SFTConfig) -> None:
    """Raise UsageError unless there are rows for one optimizer step."""
    needed = prompts_per_step(arguments)
    if rows < needed:
        raise UsageError(
            f"there are {rows} rows to train on, fewer than the {needed} of one step. "
            f"Pass --num_prompts_per_batch {max(rows, 1)} or less, or more data."
        )


def read_eval_rows(settings: Train, encoder: PromptEncoder) -> dict[str, list[Row]]:
    """The rows to score before and after, by what they measure; the context is of the new skill alone."""
    rows = load_eval_files(
        settings.eval_data_path,
        settings.prior_data_path,
        at_most=settings.max_eval_samples,
        reading=Reading.of(settings),
    )
    paths = {"new_skill": settings.eval_data_path, "prior_skills": settings.prior_data_path}
    return {
        title: readable(some, encoder, paths[title] or "", skip_bad_rows=settings.skip_bad_rows)
        for title, some in rows.items()
    }
