"""The files of weights in a student's folder, looked at before any of them is read."""

import json
import os
from pathlib import Path
from typing import Any

from ..errors import UsageError

INDEX = "model.safetensors.index.json"
NO_INDEX = (OSError, ValueError, LookupError, TypeError, AttributeError)  # what is wrong with one, reading it tells
FORMATS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
TRAINABLE = {"F16", "BF16", "F32", "F64"}  # by the names that safetensors has for types
POINTER = "version https://git-lfs"
QUANTISED = (
    "expected float16, bfloat16 or float32 to train. Pass the model that it was made from; after training it can be "
    "quantised again. To save memory: --use_peft, or --use_peft --load_in_4bit."
)


def require_files(folder: Path) -> None:
    """Raise UsageError where the weights are missing, or are in another format than safetensors."""
    found = {ending: sorted(folder.glob(f"*{ending}")) for ending in FORMATS}
    first = next((files[0].name for files in found.values() if files), None)
    if first is None:
        raise UsageError(f"there are no weights in '{folder}': expected model.safetensors beside config.json.")
    if not found[".safetensors"]:
        mend = (
            "A GGUF file is made for serving: pass the model that it was made from."
            if found[".gguf"]
            else f"Save them so: `AutoModelForCausalLM.from_pretrained('{folder}').save_pretrained(OTHER)`."
        )
        raise UsageError(f"the weights in '{folder}' are {first}, expected safetensors. {mend}")
    _require_whole_links(folder)
    files = _files(folder)
    if not files and not (folder / INDEX).exists():
        raise UsageError(
            f"the weights in '{folder}' are {first}, expected model.safetensors, or {INDEX} beside its parts. Copy or "
            "download all files of the model."
        )
    for file in files:
        _require_weights(file)


def _require_whole_links(folder: Path) -> None:
    """Refuse a link whose file is gone, as they are left where a cache was emptied in part."""
    gone = sorted(link for link in folder.iterdir() if link.is_symlink() and not link.exists())
    if broken := [link for link in gone if link.suffix in FORMATS or link.name == INDEX]:
        raise UsageError(
            f"{broken[0]} is a link to {os.readlink(broken[0])}, which is not there. Copy or download the model again."
        )


def require_trainable(folder: Path) -> None:
    """Raise UsageError where weights are whole numbers, or floats of 8 bits, whatever config.json says."""
    for file in _files(folder):
        for name, tensor in _header(file).items():
            if name.endswith("weight") and tensor.get("dtype") not in TRAINABLE:
                found = f"{name} is {tensor.get('dtype')} in {file.name}"
                raise UsageError(f"the weights in '{folder}' are quantised ({found}), {QUANTISED}")


def _files(folder: Path) -> list[Path]:
    """The files that transformers reads: the one without parts, else those that the index names."""
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    try:
        named = {*map(str, json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())}
    except NO_INDEX:
        return []
    if absent := sorted(name for name in named if not (folder / name).is_file()):
        raise UsageError(
            f"{folder / INDEX} names {absent[0]}{f' and {len(absent) - 1} more' if absent[1:] else ''}, which is not "
            "there. Copy or download all files of the model."
        )
    return sorted(folder / name for name in named)


def _require_weights(file: Path) -> None:
    """Refuse a file that is a text: a page that was saved, or what Git LFS has in place of the weights."""
    with file.open("rb") as stream:
        begin = stream.read(64)
    text = begin.decode("ascii", errors="replace").strip()
    if text.startswith(POINTER):
        raise UsageError(f"{file} is a pointer of Git LFS and not the weights. Type `git lfs pull` in its folder.")
    if any(begin[5:8]):  # of the length in 8 bytes, with which safetensors begin: nothing is so long
        raise UsageError(
            f"{file} begins with {text[:20]!r}: something else was saved under the name of the weights. Copy or "
            "download it again."
        )


def _header(file: Path) -> dict[str, dict[str, Any]]:
    """Name -> type, shape and place of the tensors in a file; empty where it can't be read, which reading it tells."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            content = json.loads(stream.read(length)) if length < file.stat().st_size else {}
    except (OSError, ValueError):
        return {}
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, dict) and "dtype" in tensor}
