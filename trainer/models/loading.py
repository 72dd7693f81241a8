"""Where a student's weights are loaded: what transformers reports is examined, what it raises is translated."""

import json
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file, logging
from transformers.utils.logging import disable_progress_bar

from ..errors import UsageError
from ..settings.options import Student
from .configuration import base_of, first_line, is_adapter, language_part, read_configuration
from .four_bits import keep_trainable, loading_options, require_bitsandbytes

disable_progress_bar()

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NOWHERE = "no-adapters-here"  # a folder that no model has
NAMED = 4  # keys that a message names
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
# Where a model of several kinds of input keeps its language part -> where that has it alone.
LANGUAGE_PREFIXES = {
    r"^model\.language_model\.": "model.",
    r"^model\.text_model\.": "model.",
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head": "lm_head",
}


def require_loadable(settings: Student) -> PreTrainedConfig:
    """The student's configuration, after its weights were compared with it by name and shape; none is read.

    Raises:
        UsageError: see `read_configuration` and `load_student`.
    """
    if settings.load_in_4bit:
        require_bitsandbytes()
    config = read_configuration(settings)
    model, unexpected = _load(
        settings, config, base_of(settings.model_name_or_path), dtype=torch.float32, device_map="meta"
    )
    if unexpected:
        print(_told_unused(model, unexpected))
    return config


def load_student(
    settings: Student, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """The student's weights, in float32 unless asked for others: training in bfloat16 is autocast over them.

    With `--load_in_4bit` those of the linear layers are held in four bits, and the model is on its device.

    Of the model's generation_config.json it has the end, padding and begin tokens, and nothing else: what is sampled
    is the model's own law.

    Args:
        device: Where a model in four bits will be used; None: a GPU where there is one.
        dtype: Of the weights.

    Raises:
        UsageError: weights are missing, damaged, not finite or of other shapes than config.json says; the model's class
            can't compute with what it says; bitsandbytes is missing.
    """
    name, base = settings.model_name_or_path, base_of(settings.model_name_or_path)
    options = loading_options(device) if settings.load_in_4bit else {}
    student = _load(settings, read_configuration(settings), base, dtype=dtype, **options)[0]
    keep_trainable(student)
    _tell_own_head(student, base)
    if is_adapter(name):
        if base == name:
            print(f"the LoRA adapters in {name!r} are applied to the whole model beside them")
        student = cast(PreTrainedModel, put_adapters(student, Path(name)).get_base_model())
    _require_finite(student, name)
    _require_logits(student, name)
    return student


def put_adapters(base: PreTrainedModel, folder: Path) -> PeftModel:
    """The model with LoRA adapters on its layers; peft reads all kinds, DoRA's, too.

    Raises:
        UsageError: they are cut, absent, or of another model.
    """
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UsageError(f"there is no {ADAPTER_WEIGHTS} in {folder}, expected adapters' weights as peft saves them.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of other uses
            warnings.filterwarnings("error", "Found missing adapter keys")
            return PeftModel.from_pretrained(base, folder)
    except Exception as error:  # whatever peft and safetensors make of the files, they are the user's
        cause = f"they lack {error}." if isinstance(error, KeyError) else first_line(error)
        raise UsageError(
            f"can't put the LoRA adapters in {str(folder)!r} on their model: {cause} Expected both "
            f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} as peft saves them, and the model that they were trained on."
        ) from error


def _load(
    settings: Student, config: PreTrainedConfig, name: str, **options: Any
) -> tuple[PreTrainedModel, Collection[str]]:
    """The model, and the names of the weights that it has no place for."""
    adapters: dict[str, Any] = {"local_files_only": settings.local_files_only}  # else it looks for some on the hub
    if is_adapter(name):
        adapters["subfolder"] = NOWHERE  # those beside the model are put on it by peft
    try:
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                config=language_part(config),
                use_safetensors=True,
                local_files_only=settings.local_files_only,
                adapter_kwargs=adapters,
                trust_remote_code=False,
                key_mapping=LANGUAGE_PREFIXES if language_part(config) is not config else None,
                generation_config=special_tokens(settings),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below, all of them
                **options,
            )
    except UsageError:
        raise
    except Exception as error:  # whatever transformers and safetensors make of the files, they are the user's
        raise UsageError(f"can't load the weights of {name!r}: {_cause(error, config)}") from error
    model, report = loaded
    _name_backbone(model)
    _require_savable(model.config, name)
    _require_all(report, getattr(model, "all_tied_weights_keys", None) or {}, name)
    return model, report["unexpected_keys"]


def _require_all(report: dict[str, Any], tied: Collection[str], name: str) -> None:
    """Refuse weights that are missing or have other shapes than config.json says; those of `tied` are other ones."""
    if wrong := sorted(report["mismatched_keys"]):
        shapes = [f"{key} {list(found)}, expected {list(expected)}" for key, found, expected in wrong]
        raise UsageError(
            f"the weights of {name!r} don't have the shapes that config.json says: found {_listed(shapes)}. "
            "Pass a folder whose files belong together."
        )
    missing, unexpected = sorted(report["missing_keys"].difference(tied)), sorted(report["unexpected_keys"])
    if missing:
        raise UsageError(
            f"the checkpoint {name!r} lacks {len(missing)} weights of its model, which would start at random: "
            f"{_listed(missing)}. {_mend(missing, unexpected)}"
        )


def _require_finite(model: PreTrainedModel, name: str) -> None:
    """Refuse weights that hold NaN or infinity: whatever is computed of them is none either."""
    weights = ((key, weight) for key, weight in model.named_parameters() if weight.is_floating_point())
    if wrong := sorted(key for key, weight in weights if not weight.isfinite().all()):
        raise UsageError(
            f"{len(wrong)} weights of {name!r} hold NaN or infinity: {_listed(wrong)}. A run that diverged leaves such "
            "ones, and a conversion to float16. Pass an earlier checkpoint, or the model as it was published."
        )


def _require_savable(config: PreTrainedConfig, name: str) -> None:
    """Refuse a configuration that transformers reads and does not write: the first checkpoint would fail."""
    try:
        getattr(config, "validate", bool)()  # not every configuration can
        config.to_json_string()
    except Exception as error:
        raise UsageError(
            f"the config.json of {name!r} could not be saved with a checkpoint: {first_line(error)} Mend the file."
        ) from error


@torch.no_grad()
def _require_logits(model: PreTrainedModel, name: str) -> None:
    """Refuse a model that can't read three tokens, whatever its class lacks for that in config.json."""
    try:
        model(input_ids=torch.tensor([[0, 1, 2]], device=model.device))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise UsageError(
            f"the model {name!r} can't be run: {type(model).__name__} ended with {type(error).__name__}: "
            f"{first_line(error)} Its config.json has a value that this class can't work with, or lacks one."
        ) from error


def _tell_own_head(model: PreTrainedModel, name: str) -> None:
    """Let what is saved say that the head has weights of its own, where the file had and config.json denies it."""
    config, head = model.config, model.get_output_embeddings()
    if config.tie_word_embeddings and head is not None and head.weight is not model.get_input_embeddings().weight:
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
        print(
            f"the head of {name!r} has weights of its own, though tie_word_embeddings is true in its config.json. They "
            "are used, and what is saved says false. A server may take the embeddings in their place."
        )


def _mend(missing: list[str], unexpected: list[str]) -> str:
    """What to do about missing weights."""
    for key in missing:
        tail = key.partition(".")[2]
        twin = next((other for other in unexpected if tail and other.endswith(tail)), None)
        if twin is not None:
            return (
                f"It has {len(unexpected)} under other names, as {twin} for {key}. Rename them, or save the model "
                "again with the class that wrote them."
            )
    if missing == ["lm_head.weight"]:
        return 'If the head shares the embeddings, set "tie_word_embeddings": true in config.json.'
    return "Pass a folder with all files of the model."


def _told_unused(model: PreTrainedModel, unexpected: Collection[str]) -> str:
    """A line about weights that the model has no place for."""
    parts = sorted({".".join(key.split(".")[: 2 if key.startswith("model.") else 1]) for key in unexpected})
    return (
        f"of the checkpoint {type(model).__name__} is trained, and {len(unexpected)} weights that it has no place for "
        f"are left out: {_listed(parts)}"
    )


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _name_backbone(model: PreTrainedModel) -> None:
    """Let `base_model` be the part below the head, where the class names one that it lacks (Llama 4's text model)."""
    if model.base_model is model:
        parts = [name for name, part in model.named_children() if isinstance(part, PreTrainedModel)]
        model.base_model_prefix = parts[0] if len(parts) == 1 else model.base_model_prefix


def _cause(error: Exception, config: PreTrainedConfig) -> str:
    """What an error while loading means and what to do."""
    text = first_line(error)
    if isinstance(error, KeyError) and f"{error.args[0]!r}" in repr(config.to_dict()):
        text = f"transformers knows no {error.args[0]!r}, which config.json names."
    elif isinstance(error, KeyError):
        text = f"config.json or the index of the weights has no {text}"
    if isinstance(error, ImportError):
        return f"{text} Install it, or pass another --model_name_or_path."
    return f"{text} Expected config.json and whole model.safetensors as `save_pretrained` writes them."


def special_tokens(settings: Student) -> GenerationConfig:
    """The end, padding and begin tokens that a model declares, as the whole of its generation's configuration.

    Raises:
        UsageError: generation_config.json can't be read, or declares something else than token ids.
    """
    declared = _declared(settings, "config.json")
    declared |= _declared(settings, "generation_config.json")
    return GenerationConfig(**declared)


def _declared(settings: Student, file: str) -> dict[str, Any]:
    """The special tokens that a JSON file of the model declares; a negative one is none."""
    name = base_of(settings.model_name_or_path)
    local = {"local_files_only": settings.local_files_only}
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(name, file, **local, **quiet)
    if path is None:
        return {}
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError(f"it holds a {type(values).__name__}, expected an object.")
        parts = (values.get("text_config") or {}, values)
        found = {key: part[key] for part in parts for key in SPECIAL if part.get(key) is not None}
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"can't read {file} of {name!r}: {first_line(error)} Mend the file, or remove it.") from error
    ids = {key: _token_ids(value, f"{key} in {file} of {name!r}") for key, value in found.items()}
    return {key: value for key, value in ids.items() if value is not None}


def _token_ids(value: Any, what: str) -> int | list[int] | None:
    ids = value if isinstance(value, list) else [value]
    if not all(type(token) is int for token in ids):
        raise UsageError(f"{what} is {value!r}, expected a token id or a list of them. Mend the file, or remove it.")
    valid = [token for token in ids if token >= 0]
    return (valid or None) if isinstance(value, list) else value if valid else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own table of what was missing: the messages here say it."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
