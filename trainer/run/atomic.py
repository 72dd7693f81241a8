"""Files that are the old ones or the new ones, never half of either, also after a kill or a power cut."""

import contextlib
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UsageError

# What file systems answer that lack an operation: Lustre and NFS for locks, FUSE and CIFS for flushing.
NOT_SUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK}


@contextmanager
def replacing(path: str | Path) -> Iterator[str]:
    """A file to be written, which then replaces `path`: in the same folder, fsync, rename, fsync of the folder.

    Raises:
        OSError: the folder is missing, not writable or full; `path` is then as it was.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        yield temporary
        with contextlib.suppress(PermissionError):  # some network file systems have modes of their own
            os.fchmod(descriptor, _default_mode())
        flush(descriptor, target)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    sync(target.parent)


@contextmanager
def new_folder(target: Path, *, keep: bool = True) -> Iterator[Path]:
    """A folder to be filled, which then appears as `target`: made beside it, fsync, rename, fsync of the folder around.

    Args:
        target: New, or an empty folder.
        keep: Whether it appears at all; False removes it again.

    Raises:
        OSError: the place is not writable or full; `target` is then as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    try:
        yield staged
        if keep:
            for path in [*staged.rglob("*"), staged]:
                with contextlib.suppress(PermissionError):  # safetensors', too, are the owner's alone
                    path.chmod(_default_mode(0o777 if path.is_dir() else 0o666))
                sync(path)
            os.rename(staged, target)
            sync(target.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill left of files and folders that `replacing` and `new_folder` had begun in `folder`.

    Nobody else may be writing there.
    """
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Replace the content of `path`; see `replacing`."""
    # A lone surrogate, which UTF-8 lacks, becomes `\udXXX`: inside a JSON string that is its escape.
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """`write_text` of `value` as indented JSON."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Indented JSON, as files hold it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def require_output_file(path: str) -> None:
    """Raise UsageError for an `--output_file` that can't be written, before anything is computed for it."""
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"--output_file {path} is a folder. Name a file in it.")
    try:
        try_to_write(file.parent)
    except OSError as error:
        found = "isn't writable" if file.parent.is_dir() else "isn't there"
        raise UsageError(f"the folder of --output_file {path} {found}. Make it so, or name another file.") from error


def write_output_file(path: str | Path, text: str) -> None:
    """`write_text` of what the user asked for; UsageError where the disk is full, say."""
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(
            f"can't write {path}: {error.strerror}. Pass --output_file FILE in a writable folder with room."
        ) from error


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush(descriptor, path)
    finally:
        os.close(descriptor)


def flush(descriptor: int, path: Path) -> None:
    """Bring what was written to the disk, as far as its file system can: FUSE and CIFS flush no folders."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        place = mount_of(path)
        warn_once(f"the file system at {place} can't flush ({error.strerror}): a power cut may lose the last moment.")


def mount_of(path: Path) -> Path:
    """Where the file system of `path` begins, so that one that lacks something is told of once."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_mount())


@cache
def warn_once(text: str) -> None:
    """A warning on stderr, the first time that it is given."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def _default_mode(full: int = 0o666) -> int:
    """What `open` would give a new file (`mkdir` a folder, of 0o777): `mkstemp` lets the owner alone read it."""
    mask = os.umask(0)
    os.umask(mask)
    return full & ~mask


def try_to_write(folder: Path) -> None:
    """Make a file in `folder` and remove it; permissions alone don't tell whether that works.

    Raises:
        OSError: it doesn't.
    """
    probe = folder / ".writable"
    probe.touch()
    probe.unlink(missing_ok=True)  # data-parallel processes try at the same moment
