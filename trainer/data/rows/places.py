"""Where data lie: a file, several, a folder, a saved dataset, or a dataset of the hub."""

import glob
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError

from ...errors import UsageError

SUFFIXES = (".json", ".jsonl", ".parquet", ".csv", ".arrow")


@dataclass(frozen=True)
class Place:
    """One file, or one saved dataset, and what it is.

    Attributes:
        name: How the user may know it.
        kind: `text`, `parquet`, `arrow` or `saved`.
        files: All that belongs to it.
        key: Under which key of a JSON object its rows lie, where the user says so.
        answers: BFCL's possible answers to the questions of the file, which lie beside it.
    """

    name: str
    kind: str
    path: Path
    files: tuple[Path, ...]
    key: str | None = None
    answers: Path | None = None


def places(spec: str) -> list[Place]:
    """What `spec` names: paths or globs with commas between them, or `ORG/NAME[:CONFIG][#SPLIT]` of the hub.

    A folder may be a hub's snapshot, or written by `save_to_disk`. `PATH#SPLIT` names a split of it, and
    `FILE.json#KEY` the key that a JSON file has its rows under.

    Raises:
        UsageError: nothing is there, several splits are and none is named, or one of several names is empty.
    """
    if spec and Path(spec).exists():
        return _places(spec)
    names = [name.strip() for name in spec.split(",")]
    if "" in names:
        raise UsageError(
            f"found {spec!r}, in which a name is empty. Perhaps a variable of the shell is not set. Expected the paths "
            "of files, with commas between them."
        )
    return [place for name in names for place in _places(name)]


def _places(spec: str) -> list[Place]:
    name, config, part = _taken_apart(spec)
    path = Path(name)
    if path.is_dir():
        return _of_folder(path, name, config, part)
    if path.is_fifo() or path.is_char_device():
        raise UsageError(f"{name} is a pipe, expected a file, which can be read twice. Write its rows to one first.")
    if path.exists():
        return [_of_file(path, part)]
    if found := sorted(glob.glob(name, recursive=True)):
        return [_of_file(Path(file), part) for file in found if Path(file).is_file()]
    if glob.has_magic(name):
        raise UsageError(f"no file fits {name}. Pass the path of a data file, or a pattern that fits some.")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and path.suffix not in SUFFIXES:
        return _of_hub(name, config, part)
    raise UsageError(
        f"no data at {spec}. Pass a file (JSON, JSON lines, CSV, Parquet, Arrow), a folder of such files, or the name "
        "of a dataset of the hub, ORG/NAME."
    )


def _taken_apart(spec: str) -> tuple[str, str | None, str | None]:
    if Path(spec).exists():
        return spec, None, None
    rest, _, part = spec.partition("#")
    name, _, config = (rest, "", "") if Path(rest).exists() else rest.partition(":")
    return name, config or None, part or None


def _of_file(path: Path, key: str | None) -> Place:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}.") from error
    kind = {b"PAR1": "parquet", b"ARRO": "arrow", b"\xff\xff\xff\xff": "arrow"}.get(head, "text")
    answers = path.parent / "possible_answer" / path.name
    if kind == "text" and answers.is_file():
        return Place(str(path), kind, path, (path, answers), key, answers)
    return Place(str(path), kind, path, (path,), key)


def _of_folder(folder: Path, name: str, config: str | None, split: str | None) -> list[Place]:
    if (folder / "dataset_dict.json").is_file():
        names = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return _of_folder(folder / _chosen(name, names, split), name, config, None)
    if (folder / "state.json").is_file():
        files = tuple(sorted(file for file in folder.iterdir() if file.is_file()))
        return [Place(str(folder), "saved", folder, files)]
    files_of = _data_files(folder, name, config)
    return [_of_file(Path(file), None) for file in files_of[_chosen(name, list(files_of), split)]]


def _data_files(folder: Path, name: str, config: str | None) -> dict[str, list[str]]:
    """The data files of a folder by split, as `datasets` finds them; a README's configurations count."""
    try:
        found = datasets.load_dataset_builder(str(folder), config).config.data_files
    except (EmptyDatasetError, DataFilesNotFoundError) as error:
        raise UsageError(f"{name} holds no data files (JSON, CSV, Parquet, Arrow). Name the file.") from error
    except (OSError, ValueError, pyarrow.ArrowInvalid) as error:
        words = " ".join(str(error).split())
        raise UsageError(
            f"can't read the folder {name}: {words[:300]}. Name a configuration: {name}:CONFIG."
        ) from error
    files_of = {str(split): list(map(str, files)) for split, files in (found or {}).items()}
    taken = {Path(file).resolve() for files in files_of.values() for file in files}
    others = [file for file in folder.rglob("*") if file.suffix in SUFFIXES and file.resolve() not in taken]
    if others and config is None:
        shown = ", ".join(sorted(str(file.relative_to(folder)) for file in others)[:3])
        print(f"{name}: {len(others)} files are left aside ({shown}); a path or a pattern names them")
    return files_of


def _chosen(name: str, splits: Sequence[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split in splits:
        return str(split)
    found = f"the splits {', '.join(splits)}" + (f" and no {split!r}" if split else "")
    raise UsageError(f"{name} holds {found}; expected the name of one. Pass {name}#{splits[0]}.")


def _of_hub(name: str, config: str | None, split: str | None) -> list[Place]:
    """The snapshot in the hub's cache, else a download; a folder like any other."""
    import huggingface_hub as hub

    try:
        offline = bool(hub.constants.HF_HUB_OFFLINE)
        folder = hub.snapshot_download(name, repo_type="dataset", local_files_only=offline)
    except hub.errors.LocalEntryNotFoundError as error:
        raise UsageError(
            f"no data at {name}: there is no such file or folder, the hub's cache holds no dataset of that name, and "
            f"the hub is out of reach. Type `hf download {name} --repo-type dataset` where there is a network."
        ) from error
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError) as error:
        words = " ".join(str(error).split())[:200]
        raise UsageError(f"no data at {name}: there is no such file or folder, and the hub says: {words}") from error
    return _of_folder(Path(folder), name, config, split)
