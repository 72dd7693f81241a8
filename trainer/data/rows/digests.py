"""What files hold, in 64 letters each: so that a run knows whether it goes on with what it began with."""

import re
from pathlib import Path

from .places import places
from .records import digest_of

OF_A_MODEL = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
NAMED_BY_DIGEST = re.compile(r"[0-9a-f]{64}")


def data_digests(spec: str) -> dict[str, str]:
    """SHA-256 of the data files that `spec` names, by path."""
    return {str(file): digest_of(file) for place in places(spec) for file in place.files}


def model_digests(name: str) -> dict[str, str]:
    """SHA-256 of the files of a model, in a folder or in the hub's cache, by `NAME/FILE`; none where none is found."""
    folder = Path(name) if Path(name).is_dir() else _in_hub_cache(name)
    if folder is None:
        return {}
    files = sorted({file for pattern in OF_A_MODEL for file in folder.glob(pattern) if file.is_file()})
    return {f"{name}/{file.name}": _digest(file) for file in files}


def _in_hub_cache(name: str) -> Path | None:
    import huggingface_hub as hub

    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except (hub.errors.LocalEntryNotFoundError, hub.errors.HFValidationError):
        return None


def _digest(file: Path) -> str:
    """The hub's cache keeps weights under their SHA-256 and links to them."""
    kept_as = file.resolve().name
    return kept_as if file.is_symlink() and NAMED_BY_DIGEST.fullmatch(kept_as) else digest_of(file)
