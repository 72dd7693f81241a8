"""Checkpoints that are either whole or not there, and that are found damaged before a run goes on from them.

transformers writes a checkpoint in place; a kill half-way leaves a folder that looks like one. Here it is
written to a staging folder, flushed to disk and renamed. What decides the future of a run is in it: weights,
optimizer, scheduler, random states, data position and the EMA teacher. `manifest.json` lists every file with
its size and SHA-256, so that what a disk or a copy did to them later is found too.
"""

import errno
import hashlib
import json
import os
import random
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import get_last_checkpoint, sort_checkpoints

from ..errors import NO_ROOM, TrainerError
from .atomic import sync, write_json

STAGING, REMOVED = ".staging.tmp", ".removed.tmp"  # left by a kill, they go as all files of such names do
MANIFEST = "manifest.json"
ONLY_TO_GO_ON = ("optimizer", "scheduler", "scaler", "rng_state")  # begin the names of files that no model needs
HASHING_THREADS = 8  # hashlib lets other threads run; more than this waits for the disk


def newest(run_directory: Path) -> Path | None:
    """The checkpoint of the latest step, unread; None if there is none."""
    found = get_last_checkpoint(str(run_directory)) if run_directory.is_dir() else None
    return Path(found) if found else None


def newest_whole(run_directory: Path) -> Path | None:
    """The checkpoint of the latest step whose files are those that were written; None if there is none.

    Newer ones that are damaged are renamed to `damaged-checkpoint-N`, which frees their name for the step when
    it is done again; a line on stdout says of each what is wrong and where the run goes on.
    """
    latest = newest(run_directory)
    if latest is None or (fault := fault_in(latest)) is None:
        return latest
    aside = set_aside(latest)
    older = newest_whole(run_directory)
    onward = f"going on from {older.name}" if older else "no older one is whole: training starts over"
    print(f"{latest} is damaged: {fault}. It is now called {aside.name}; {onward}.", flush=True)
    return older


def step_of(checkpoint: Path) -> int:
    """Optimizer steps behind a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def is_complete_run(checkpoint: Path) -> bool:
    """Whether a checkpoint is of a run's last step, so that nothing is left to train."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state["global_step"] >= state["max_steps"]


def write_manifest(folder: Path) -> None:
    """Write `manifest.json`: `{"files": {relative path: {"bytes": size, "sha256": hex digest}}}` of all others."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(MANIFEST, None)
    digests = sha256(list(files.values()))
    entries = {name: {"bytes": path.stat().st_size, "sha256": digests[path]} for name, path in files.items()}
    write_json(folder / MANIFEST, {"files": entries})


def fault_in(checkpoint: Path, *, to_go_on: bool = True) -> str | None:
    """How a checkpoint differs from its manifest: the file, what was found and expected. None if it is whole.

    Names and sizes are compared first, contents after; files that the manifest does not list are no fault.

    Args:
        to_go_on: Whether training is to go on from it. To use its model nothing of the optimizer's need be there: it is
            the largest part, and people delete it.
    """
    try:
        content = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        listed = {checkpoint / name: (entry["bytes"], entry["sha256"]) for name, entry in content["files"].items()}
        if not all(isinstance(size, int) and isinstance(digest, str) for size, digest in listed.values()):
            raise TypeError("a size that is no number, or a digest that is no text")
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except OSError as error:
        return f"{MANIFEST} can't be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is not the list of files that was written"
    if not to_go_on:
        listed = {path: entry for path, entry in listed.items() if not path.name.startswith(ONLY_TO_GO_ON)}
    for path, (size, _) in listed.items():
        if not path.is_file():
            return f"{path.relative_to(checkpoint)} is missing, expected {size} bytes"
        if path.stat().st_size != size:
            return f"{path.relative_to(checkpoint)} has {path.stat().st_size} bytes, expected {size}"
    digests = sha256(list(listed))
    for path, (_, expected) in listed.items():
        if digests[path] != expected:
            return f"{path.relative_to(checkpoint)} has SHA-256 {digests[path][:12]}…, expected {expected[:12]}…"
    return None


def sha256(paths: list[Path]) -> dict[Path, str]:
    """The hex digest of each file; a file that the disk fails to read has none that any manifest lists."""

    def digest(path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return "unreadable"

    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        return dict(zip(paths, threads.map(digest, paths), strict=True))


def set_aside(checkpoint: Path) -> Path:
    """Rename a checkpoint to `damaged-checkpoint-N`, with a number behind it where that name is taken."""
    aside, number = checkpoint.with_name(f"damaged-{checkpoint.name}"), 1
    while aside.exists():
        aside, number = checkpoint.with_name(f"damaged-{checkpoint.name}.{number}"), number + 1
    os.rename(checkpoint, aside)
    sync(aside.parent)
    return aside


def publish(staged: Path, target: Path) -> None:
    """Make the staged folder appear under its final name, whole and with its manifest, also after a power cut.

    A checkpoint of the same step that is already there holds the same state and stays.
    """
    if target.exists():
        return
    write_manifest(staged)
    for path in [*staged.rglob("*"), staged]:
        sync(path)
    os.rename(staged, target)
    sync(target.parent)


def rotate(run_directory: Path, keep: int | None, protected: Path | None) -> None:
    """Remove the oldest checkpoints until `keep` are left; the newest and the protected one stay in any case.

    Each loses its name first, so that a kill leaves none under it that is half there.
    """
    found = [Path(path) for path in sort_checkpoints(str(run_directory))]
    kept = {found[-1], protected} if found else set()
    old = [path for path in found if path not in kept]
    removed = run_directory / REMOVED
    for path in old[: max(0, len(found) - keep)] if keep else []:
        shutil.rmtree(removed, ignore_errors=True)
        os.rename(path, removed)
        sync(run_directory)  # or a power cut could keep the name and lose files
        shutil.rmtree(removed, ignore_errors=True)


class WholeCheckpoints(Trainer):
    """A `Trainer` whose checkpoints are whole; put it before a TRL trainer in the list of bases.

    Data-parallel processes write into one staging folder, on a file system that they share: the main process
    empties it before and publishes it after all have written their part.

    Attributes:
        protected: A checkpoint that outlives `--save_total_limit`. For the `best_model_checkpoint` of its own state
            transformers removes the newest at a limit of 1.
    """

    protected: Path | None = None
    _staging: Path | None = None

    def newest_whole(self) -> Path | None:
        """`newest_whole` of the run directory: the main process checks, all processes get its answer."""
        run_directory = Path(str(self.args.output_dir))
        with self.accelerator.main_process_first():
            return newest_whole(run_directory) if self.is_world_process_zero() else newest(run_directory)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        student = self.accelerator.unwrap_model(self.model)
        if isinstance(student, PreTrainedModel) and not self.is_fsdp_enabled:
            load_renamed(student, Path(resume_from_checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run_directory = Path(str(self.args.output_dir))
        target = run_directory / f"checkpoint-{self.state.global_step}"
        self._staging = run_directory / STAGING
        try:
            self._remove_staging()
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self._save_more(self._staging / target.name)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                publish(self._staging / target.name, target)
        except Exception as error:
            if is_of_full_disk(error, self._staging):
                raise self._no_room(target) from error
            raise
        finally:
            self._remove_staging()
            self._staging = None
        if self.is_world_process_zero():
            rotate(run_directory, self.args.save_total_limit, self.protected)
        self.accelerator.wait_for_everyone()

    def _save_more(self, folder: Path) -> None:
        """Hook: what else belongs into a checkpoint. Every process calls it; a file of all is the main one's."""

    def _remove_staging(self) -> None:
        if self._staging is not None and self.is_world_process_zero():
            shutil.rmtree(self._staging, ignore_errors=True)

    def _no_room(self, target: Path) -> TrainerError:
        """The error for a disk that was full before `target` was written; removes what was written of it."""
        written, last = size_of(target.parent / STAGING), newest(target.parent)
        # Counted before the removal: torch may still hold the file that it failed to write, and the disk its bytes.
        free = in_words(shutil.disk_usage(target.parent).free + written)
        needed = f"about {in_words(size_of(last))}" if last else f"more than {in_words(written)}"
        self._remove_staging()
        onward = f"goes on from {last.name}" if last else "starts over: no checkpoint was saved yet"
        return TrainerError(
            f"no space left for {target.name} in {target.parent}: {free} free, {needed} needed{largest_file()}. Free "
            "space there, or copy the folder to a larger disk and pass --output_dir COPY; then the same command "
            f"{onward}."
        )


def load_renamed(model: PreTrainedModel, checkpoint: Path) -> None:
    """Take the weights from a checkpoint whose names are not those of the model in memory, if they are not.

    `save_pretrained` writes experts one by one that are one tensor in memory. A `Trainer` looks for the names of
    memory in the file, and goes on from the weights that it finds none for as they were before the first step.
    """
    saved = {
        name for file in checkpoint.glob("*.safetensors") if file.name.startswith("model") for name in _names(file)
    }
    if saved - model.state_dict().keys():
        whole = type(model).from_pretrained(checkpoint, dtype=model.dtype, local_files_only=True)
        model.load_state_dict(whole.state_dict())


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as weights:
        return [*weights.keys()]


def is_of_full_disk(error: BaseException | None, folder: Path) -> bool:
    """Whether a failed write into `folder` is due to a full disk or a used-up quota.

    safetensors tells the number of the system's error in its message. torch has a RuntimeError that tells no
    reason: a disk that it filled takes no further bytes, so that is tried, and a file that it filled is as large as
    this process may make one.
    """
    while error is not None:
        told = isinstance(error, OSError) and error.errno in NO_ROOM
        if told or any(f"(os error {number})" in str(error) for number in NO_ROOM):
            return True
        if isinstance(error, RuntimeError) and (has_largest_file(folder) or not takes_bytes(folder)):
            return True
        error = error.__cause__ or error.__context__
    return False


def largest_file() -> str:
    """What to say of a limit on the size of files, where this process has one."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return "" if limit == resource.RLIM_INFINITY else f", and files of at most {in_words(limit)} allowed (`ulimit -f`)"


def has_largest_file(folder: Path) -> bool:
    """Whether a file in a folder has the most bytes that this process may write into one."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return limit != resource.RLIM_INFINITY and any(
        path.stat().st_size >= limit for path in folder.rglob("*") if path.is_file()
    )


def takes_bytes(folder: Path) -> bool:
    """Whether a file of 1 MiB can be written to a folder, as far as room is concerned."""
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(1 << 20))
        sync(probe)
    except OSError as error:
        return error.errno not in NO_ROOM
    finally:
        probe.unlink(missing_ok=True)
    return True


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_words(size: int) -> str:
    """Bytes in the unit that shows them with one to three digits before the point."""
    shown = float(size)
    for unit in ("bytes", "kB", "MB"):
        if shown < 1000:
            return f"{shown:.3g} {unit}"
        shown /= 1000
    return f"{shown:.1f} GB"


class RandomState:
    """The state of every random generator at one moment, to return to."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy = np.random.get_state()
        self.torch = torch.random.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Set every generator back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.random.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
