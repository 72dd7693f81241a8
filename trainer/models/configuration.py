"""What a student's folder holds and its config.json says, looked at before any weight is read."""

import json
import re
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from ..errors import UsageError
from ..settings.options import Student
from .weight_files import QUANTISED, require_files, require_trainable

UNBOUNDED = 2**30  # positions of a model whose configuration names no bound
POSITIONS = ("max_position_embeddings", "max_sequence_length", "max_seq_len", "seq_length")
# What an architecture's name says it was made for, where that is to write text.
WRITES = ("CausalLM", "ConditionalGeneration", "ImageTextToText", "VisionText2Text")


def read_configuration(settings: Student) -> PreTrainedConfig:
    """The whole configuration of the student, which was found to be one that can be trained.

    Raises:
        UsageError: there is no such model, or it is none that can be trained here: quantised, of another kind than a
            language model, or not in the format of transformers.
    """
    name = settings.model_name_or_path
    _look_at_folder(name)
    require_base(Path(name))
    base = base_of(name)
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=settings.local_files_only, trust_remote_code=False)
    except Exception as error:  # whatever transformers makes of a config.json, it is the user's file
        if (Path(base) / "config.json").is_file():
            raise UsageError(
                f"can't use config.json of {base!r}: {first_line(error)} Mend it, or pass another model."
            ) from error
        whose = "" if base == name else f", which the LoRA adapters in {name!r} name as theirs"
        raise UsageError(f"no model at {base!r}{whose}: {first_line(error)} Pass FOLDER|HUB_NAME of one.") from error
    _require_unquantised(config, name)
    require_trainable(Path(name))
    _require_language(config, name)
    _ask_for_logits_alone(config)
    return config


def _ask_for_logits_alone(config: PreTrainedConfig) -> None:
    """Switch off what config.json may have a model return beside its logits, and in another form than by names."""
    for part in (config, config.get_text_config()):
        part.return_dict, part.output_hidden_states, part.output_attentions = True, False, False
        if hasattr(part, "output_router_logits"):
            part.output_router_logits = False


def language_part(config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration of what writes text: of an image-text model its language part, else the whole."""
    text = config.get_text_config()
    if text is not config and config.tie_word_embeddings != text.tie_word_embeddings:
        text.tie_word_embeddings = config.tie_word_embeddings  # the outer one is in force for the whole
    return text


def _require_language(config: PreTrainedConfig, name: str) -> None:
    """Refuse what transformers has no class for that predicts the next token."""
    made_for = re.search(r"For(\w+)$", (config.architectures or [""])[0])
    if config.is_encoder_decoder or (made_for and made_for[1] not in WRITES):
        raise UsageError(
            f"{name!r} is a {(config.architectures or [config.model_type])[0]}, expected a decoder that predicts the "
            "next token (…ForCausalLM). Pass another --model_name_or_path."
        )
    text = config.get_text_config()
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        part = "the language part of this model" if text is not config else "it"
        raise UsageError(
            f"{name!r} is of type {config.model_type}, and transformers has no class that trains {part} to predict the "
            "next token. Pass another --model_name_or_path."
        )


def positions_of(config: PreTrainedConfig) -> int:
    """Positions that a configuration admits; `UNBOUNDED` where it names no bound, as those of recurrent models."""
    text = config.get_text_config()
    named = (getattr(text, name, None) for name in POSITIONS)
    return next((value for value in named if isinstance(value, int) and value > 0), UNBOUNDED)


def is_adapter(name: str) -> bool:
    """Whether a folder holds LoRA adapters instead of a whole model."""
    return (Path(name) / "adapter_config.json").is_file()


def base_of(name: str) -> str:
    """The model that a folder of LoRA adapters belongs to; any other name as it is.

    Raises:
        UsageError: the folder doesn't name it.
    """
    if not is_adapter(name) or (Path(name) / "config.json").is_file():
        return name
    try:
        base = json.loads((Path(name) / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UsageError(f"can't read {name}/adapter_config.json: {first_line(error)}") from error
    if not isinstance(base, str):
        raise UsageError(
            f"the LoRA adapters in {name!r} don't say which model they belong to. Set base_model_name_or_path in "
            "adapter_config.json there."
        )
    return base


def require_base(folder: Path) -> None:
    """Raise UsageError where a folder holds LoRA adapters of a model in a folder that isn't here."""
    base = base_of(str(folder))
    is_place = base.startswith((".", "/", "~")) or base.count("/") != 1 or Path(base).parent.is_dir()
    if is_adapter(str(folder)) and is_place and not (Path(base) / "config.json").is_file():
        raise UsageError(
            f"the LoRA adapters in {folder} belong to the model {base!r}, and there is none. Call from the folder "
            "that they were trained from, or write where the model is as base_model_name_or_path into "
            "adapter_config.json."
        )


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line with a full stop; a line that announces takes the next one."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    text = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return text if text.endswith((".", "!")) else f"{text}."


def _look_at_folder(name: str) -> None:
    """Refuse what lies at a path and is no model as transformers saves it; a name on the hub is none of these."""
    path = Path(name)
    if name.startswith(("https://", "http://")):
        meant = "/".join(name.partition("://")[2].split("/")[1:3]) or "ORG/NAME"
        raise UsageError(f"no model at {name!r}: that is a URL. Pass the model's name on the hub: {meant}.")
    if path.is_file():
        raise UsageError(f"no model at {name!r}: that is a file. Pass the folder that holds config.json.")
    if not path.is_dir():
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UsageError(f"no model at {name!r}: the folder does not exist. Pass FOLDER|HUB_NAME of one.")
        return
    if (path / "config.json").is_file():
        require_files(path)
    elif not is_adapter(name):
        raise UsageError(f"no model at {name!r}: {_instead_of_a_model(path)}")


def _instead_of_a_model(path: Path) -> str:
    """What a folder without config.json is, and what to type."""
    inner = sorted(entry.parent.name for entry in path.glob("*/config.json"))
    adapters = sorted(entry.parent.name for entry in path.glob("*/adapter_config.json"))
    if list(path.glob("*.gguf")):
        return "GGUF files are made for serving. Pass the model that they were made from."
    if (path / "model_index.json").is_file():
        return "a pipeline of diffusers makes images. Pass a language model."
    if (path / "params.json").is_file():
        return "the weights are in their maker's own format (params.json). Pass the folder for transformers."
    if inner or adapters:
        newest = max([*inner, *adapters], key=lambda folder: (len(folder), folder))
        return f"there is no config.json, but one of its folders is a model. Pass {path / newest}."
    return "there is no config.json. Pass FOLDER|HUB_NAME of one."


def _require_unquantised(config: PreTrainedConfig, name: str) -> None:
    """Refuse weights that are stored in fewer bits than can be trained."""
    outer = (config, config.get_text_config() if not config.is_encoder_decoder else config)
    quantised: Any = next((found for each in outer if (found := getattr(each, "quantization_config", None))), None)
    if quantised is None:
        return
    values = quantised if isinstance(quantised, dict) else quantised.to_dict()
    method = values.get("quant_method") or values.get("quantization_method") or "a method that it doesn't name"
    raise UsageError(
        f"the weights of {name!r} are quantised ({getattr(method, 'value', method)}, says quantization_config in "
        f"config.json), {QUANTISED}"
    )
