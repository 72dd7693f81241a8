"""How many parameters a model has, as its files tell it, without loading it."""

import json
from math import prod
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"


def parameters_of(name: str) -> int | None:
    """The parameters in a model's safetensors files.

    Args:
        name: A folder, or a hub name that is looked up in this machine's cache alone.

    Returns:
        None where the files are not here, or are none; who loads them says what is wrong.
    """
    try:
        index = _file_of(name, INDEX)
        names = {WHOLE} if index is None else set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = [_file_of(name, each) for each in names]
        return sum(_parameters_in(file) for file in files if file is not None) or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None


def _file_of(name: str, file: str) -> Path | None:
    if Path(name).is_dir():
        path = Path(name, file)
        return path if path.is_file() else None
    try:
        found = try_to_load_from_cache(name, file)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _parameters_in(file: Path) -> int:
    with safe_open(file, framework="np") as weights:
        return sum(prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
