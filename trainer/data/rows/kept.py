"""What is kept of data files in the cache of `datasets`, to be mapped into memory and found again."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache as once
from pathlib import Path

import datasets
import datasets.config
import numpy as np

from ...run.atomic import try_to_write


def cache() -> Path:
    """The folder: in the cache of `datasets`, or where that takes no files one of this process alone."""
    return _writable(Path(datasets.config.HF_DATASETS_CACHE) / "self_distillation")


@once
def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try_to_write(folder)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="self_distillation-"))
    return folder


def kept_table(key: str, write: Callable[[str], None]) -> datasets.Dataset:
    """The table that `write` writes into an Arrow file, once for each key."""
    target = _file_of(key, ".arrow")
    if not target.exists():
        _write_whole(target, write)
    return datasets.Dataset.from_file(str(target))


def kept_array(key: str) -> np.ndarray | None:
    """The array that was kept under this key; None where none is."""
    file = _file_of(key, ".npy")
    return np.load(file, mmap_mode="r") if file.exists() else None


def keep_array(key: str, array: np.ndarray) -> None:
    """Keep an array under a key, where there is room."""

    def write(path: str) -> None:
        with open(path, "wb") as file:
            np.save(file, array)

    with contextlib.suppress(OSError):  # it is found again
        _write_whole(_file_of(key, ".npy"), write)


def _file_of(key: str, suffix: str) -> Path:
    return cache() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{suffix}"


def _write_whole(target: Path, write: Callable[[str], None]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    os.close(descriptor)
    try:
        write(temporary)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
