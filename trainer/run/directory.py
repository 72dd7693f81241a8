"""The run directory: what a run was told, where it ran, what happened, what came out.

`config.yaml`, `environment.json`, `metrics.jsonl`, `samples.jsonl`, `checkpoint-N/`, `scores_before.json`,
`scores_after.json` and, written last, `summary.json`. Files are written whole (temporary name, fsync,
rename); the two JSONL files grow by whole lines and are cut back to the checkpoint when a run is resumed.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from ..errors import TrainerError, UsageError
from ..settings.resolve import Resolved
from ..settings.server_url import is_secret_name
from ..settings.yaml_files import NotYaml, read_yaml_file
from .atomic import flush, remove_leftovers, try_to_write, write_json, write_text
from .journal import open_locked
from .machine import mend_of
from .processes import is_main_process
from .records import read_json, read_lines

SAID_BEFORE = {"config.yaml", "environment.json", "summary.json", ".lock"}  # what a run writes before it computes
HOW_MANY = {"fsdp", "fsdp_config"}  # a run goes on with another number of processes, and spread or not


class RunDirectory:
    """One run's folder. `open` it before anything expensive. Of several processes the main one writes to it.

    Whoever opens an unfinished run holds it alone until it is closed, or the process ends.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock: IO[bytes] | None = None

    @classmethod
    def open(cls, path: str, resolved: Resolved) -> "RunDirectory":
        """The folder, made if need be, with `config.yaml` in it.

        Raises:
            UsageError: it can't be written, holds a run of other settings, or another process is at work there.
        """
        run = cls(Path(path))
        run.require_writable()
        run._hold()
        try:
            run._prepare(resolved)
        except BaseException:
            run.close()
            raise
        return run

    def close(self) -> None:
        """Let others at the run."""
        if self._lock is not None:
            self._lock.close()

    def _prepare(self, resolved: Resolved) -> None:
        if is_main_process() and not self.is_finished():
            remove_leftovers(self.path)
        content = configuration(resolved)
        fields = dataclasses.fields(resolved.settings)
        free = {f.name for f in fields if not f.metadata["decides"]} | HOW_MANY
        self._require_same_configuration(content, {f.name: f.default for f in fields}, may_differ=free)
        if not self.is_finished() and is_main_process():
            write_text(self.path / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def require_no_file(self) -> None:
        """Raise UsageError where a file stands in the folder's place, or in that of one above it. Makes nothing.

        The same goes for a name whose bytes are no UTF-8: tokenizers and safetensors can't write there.
        """
        try:
            str(self.path.absolute()).encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(self.path).decode(errors="replace")
            raise UsageError(
                f"the name of the output folder {shown!r} is no UTF-8. Pass --output_dir FOLDER with another name."
            ) from error
        found = next(place for place in (self.path, *self.path.absolute().parents) if os.path.lexists(place))
        if not os.path.isdir(found):
            what = "a link that leads to no folder" if found.is_symlink() else "no folder"
            raise UsageError(
                f"can't write to the output folder {self.path}: {found} is {what}. "
                "Pass --output_dir FOLDER, a new one or that of a run."
            )

    def require_writable(self) -> None:
        """Make the folder and try to write there."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try_to_write(self.path)
        except OSError as error:
            raise UsageError(
                f"can't write to the output folder {self.path}: {error.strerror}. To mend it, "
                f"{mend_of(error, self.path, '--output_dir')}."
            ) from error

    def _hold(self) -> None:
        """Keep others out. A finished run is only looked at; of data-parallel processes the first holds for all."""
        if self.is_finished() or not is_main_process():
            return
        with _needing_room(self.path / ".lock"):
            self._lock = open_locked(self.path / ".lock")
        if self._lock is None:
            raise UsageError(
                f"another `train` is at work in {self.path}. Wait for it to end, or pass another --output_dir."
            )

    def _require_same_configuration(
        self, content: dict[str, Any], defaults: dict[str, Any], may_differ: set[str]
    ) -> None:
        """A setting that the run's file lacks had its default: it may be of a version without it."""
        found = self._read_configuration() if self.has_begun() else None
        if found is None:
            self._require_no_checkpoint()
            return
        keys = [key for key in content | found if key not in may_differ]
        differing = [key for key in keys if content.get(key) != found.get(key, defaults.get(key))]
        if differing:
            key = differing[0]
            more = f" ({len(differing) - 1} more settings differ)" if len(differing) > 1 else ""
            raise UsageError(
                f"{self.path} holds a run with {key}={found.get(key)!r}, this one has {content.get(key)!r}{more}. "
                "Pass another --output_dir, or the settings of that run to go on with it."
            )

    def require_same_files(self, files: dict[str, str], *, accepted: bool) -> None:
        """Compare data and model with those that the run in this folder began with.

        Args:
            files: SHA-256 by path, as they are now.
            accepted: Whether the user said to go on all the same; it is told what changed.

        Raises:
            UsageError: a file changed, is new, or is gone.
        """
        before = self.read_json("environment.json") if self.has_begun() else None
        began_with = (before or {}).get("files") or files
        if not isinstance(began_with, dict):
            raise UsageError(
                f"{self.path}/environment.json is damaged: expected the digests of files. Move it away to go on."
            )
        changed = [f"{file} has changed" for file in files if file in began_with and files[file] != began_with[file]]
        changed += [f"{file} is new" for file in files if file not in began_with]
        changed += [f"{file} is gone" for file in began_with if file not in files]
        if not changed:
            return
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        what = f"{', '.join(changed[:3])}{more} since the run in {self.path} began"
        if not accepted:
            raise UsageError(f"{what}. Pass another --output_dir, or --accept_changed_data to go on with this run.")
        print(f"warning: {what}; it goes on (--accept_changed_data)")

    def _require_no_checkpoint(self) -> None:
        strangers = sorted(self.path.glob("checkpoint-*"))
        if strangers:
            raise UsageError(
                f"{strangers[0]} is there, and no config.yaml says which run it is of. Pass another --output_dir."
            )

    def _read_configuration(self) -> dict[str, Any] | None:
        try:
            content = read_yaml_file(self.path / "config.yaml")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"can't read {self.path}/config.yaml: {error.strerror}.") from error
        except NotYaml as error:
            raise UsageError(f"{self.path}/config.yaml is damaged ({error}). Pass another --output_dir.") from error
        return content if isinstance(content, dict) else {}

    def read_json(self, name: str, kind: type = dict) -> Any | None:
        """A JSON file of the run, None if it is not there yet; UsageError where it is damaged or holds another kind."""
        return read_json(self.path / name, kind)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of the run, whole or not at all; TrainerError if the folder does not take it."""
        if not is_main_process():
            return
        with _needing_room(self.path / name):
            write_json(self.path / name, content)

    def has_begun(self) -> bool:
        """Whether anything was computed here; a command that was refused leaves files that only say what it was."""
        return not {entry.name for entry in self.path.iterdir()} <= SAID_BEFORE

    def is_finished(self) -> bool:
        """Whether a run came to its end here."""
        return (self.read_json("summary.json") or {}).get("status") == "finished"

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        _append_line(self.path / "metrics.jsonl", record)

    def append_sample(self, record: dict[str, Any]) -> None:
        """Add a line to `samples.jsonl`."""
        _append_line(self.path / "samples.jsonl", record)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, none if it is not there yet; UsageError where one is damaged."""
        return [record for _, record in read_lines(self.path / "metrics.jsonl")]

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps after `step`: they will be done again from the checkpoint."""
        if not is_main_process():
            return
        for name in ("metrics.jsonl", "samples.jsonl"):
            file = self.path / name
            if file.exists():
                write_text(file, "".join(line for line, record in read_lines(file) if record["step"] <= step))


def _append_line(file: Path, record: dict[str, Any]) -> None:
    with _needing_room(file), file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        stream.flush()
        flush(stream.fileno(), file)


@contextmanager
def _needing_room(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainerError(
            f"can't write {file}: {error.strerror}. Expected a writable folder with room; when it has some, the same "
            "command goes on from the newest checkpoint."
        ) from error


def configuration(resolved: Resolved) -> dict[str, Any]:
    """The content of `config.yaml`: every setting but secrets, readable again by `--config`."""
    fields = dataclasses.fields(resolved.settings)
    shown = {f.name: getattr(resolved.settings, f.name) for f in fields if not f.metadata["secret"]}
    extra = {name: value for name, value in resolved.extra.items() if not is_secret_name(name)}
    return {name: _plain(value) for name, value in shown.items() if value is not None} | extra


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value  # YAML knows no subclass of str such as ServerUrl
