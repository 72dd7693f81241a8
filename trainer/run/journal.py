"""An append-only journal of paid-for records, which survives a kill at any moment."""

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import UsageError
from .atomic import NOT_SUPPORTED, flush, mount_of, sync, warn_once

SECONDS_TO_GATHER = 0.02  # before records are brought to the disk together


def fingerprint(decides: Mapping[str, Any]) -> str:
    """SHA-256 of what decides a journal's records, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def open_locked(path: Path) -> IO[bytes] | None:
    """Open a file to append, for this process alone; None if another one holds it.

    The lock ends when the file is closed; the kernel closes it at the death of the process, however it died. Where the
    file system has no locks it is told once, and nothing keeps another process out.
    """
    file = open(path, "a+b")  # noqa: SIM115 (whoever holds the lock closes it)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NOT_SUPPORTED:
            warn_once(
                f"the file system at {mount_of(path)} has no locks ({error.strerror}): nothing keeps a second process "
                "from writing there. Start one at a time."
            )
            return file
        file.close()
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return file


class Journal:
    """Finished records by key, one JSON line each.

    A record is the kernel's when `add` returns, so that no kill loses it. A thread brings it to the disk soon
    after, with all that came meanwhile: `add` waits for no disk, and a power cut loses the last moment at most.

    The first line is a header with what decides the records. A journal begun with other settings is set aside
    under a numbered name; one of the present settings that was set aside comes back, else a new one begins. Both are
    said on stdout. A last line that a kill tore is dropped. One process at a time holds a journal.

    Args:
        path: The file; its folder must exist.
        decides: Everything that the records depend on, as JSON values.

    Raises:
        UsageError: the folder is not writable, another process holds the journal, or it is damaged.

    Attributes:
        records: The records by key, those of earlier runs first.
    """

    def __init__(self, path: str | Path, decides: Mapping[str, Any]):
        self.path = Path(path)
        self.records: dict[str, Any] = {}
        self._syncer = ThreadPoolExecutor(1, "journal")
        self._sync_is_due = False
        self._failure: OSError | None = None
        try:
            self._file = self._open_locked()
            self._read_or_begin(decides)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, key: str, record: Any) -> None:
        """Append one finished record.

        Raises:
            UsageError: it can't be written, or one before it could not be brought to the disk.
        """
        self.records[key] = record
        try:
            self._append({"key": key, "record": record})
            self._sync_soon()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Return when the disk has all records.

        Raises:
            UsageError: it can't be given them.
        """
        self._syncer.shutdown()
        try:
            self._file.close()
        except OSError as error:
            self._failure = error
        if self._failure is not None:
            raise self._unwritable(self._failure) from self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_locked(self) -> IO[bytes]:
        file = open_locked(self.path)
        if file is None:
            raise UsageError(f"another process is writing {self.path}. Wait for it to end, or name another folder.")
        return file

    def _read_or_begin(self, decides: Mapping[str, Any]) -> None:
        lines = self._whole_lines()
        if lines and lines[0].get("fingerprint") != fingerprint(decides):
            self._set_aside(lines[0].get("decides", {}), decides)
            lines = self._whole_lines()
        if lines:
            self.records = {line["key"]: line["record"] for line in lines[1:]}
            return
        self._append({"fingerprint": fingerprint(decides), "decides": dict(decides)})
        flush(self._file.fileno(), self.path)
        sync(self.path.parent)

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The file's lines as objects; bytes after the last newline are cut off the file."""
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise UsageError(f"{self.path} is damaged ({error}). Move it away to begin a new one.") from error
        if not all(isinstance(line, dict) for line in lines):
            raise UsageError(f"{self.path} is damaged (a line is no object). Move it away to begin a new one.")
        return lines

    def _set_aside(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")).exists():
            number += 1
        os.rename(self.path, aside)
        self._file.close()
        changed = ", ".join(key for key in {**old, **new} if old.get(key) != new.get(key))
        former = self._set_aside_before(new)
        if former is not None:
            os.rename(former, self.path)
        self._file = self._open_locked()
        next_step = "starting anew" if former is None else f"going on with {former.name}, made with these"
        print(f"{self.path}: made with another {changed or 'header'}; set aside as {aside.name}, {next_step}.")

    def _set_aside_before(self, decides: Mapping[str, Any]) -> Path | None:
        """The journal of these very settings, if it was set aside once."""
        for path in sorted(self.path.parent.glob(f"{self.path.stem}.*{self.path.suffix}")):
            with path.open("rb") as file:
                if fingerprint(decides).encode() in file.readline():
                    return path
        return None

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _sync_soon(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not self._sync_is_due:
            self._sync_is_due = True
            self._syncer.submit(self._sync)

    def _sync(self) -> None:
        """Bring to the disk what was appended by then: answers come in bursts, and one call is enough for a burst."""
        time.sleep(SECONDS_TO_GATHER)
        self._sync_is_due = False
        try:
            flush(self._file.fileno(), self.path)
        except OSError as error:
            self._failure = error

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            f"can't write the journal {self.path}: {error.strerror}. Expected a writable folder with room."
        )
