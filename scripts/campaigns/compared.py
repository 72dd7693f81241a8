"""Run directories side by side: whether two runs came to the same, and whether anything in one is half written."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# In the names of what depends on the machine's mood, the folder or the port.
PASSING = ("second", "memory", "model", "base_url")


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of all weights of the newest checkpoint."""
    checkpoints = sorted(run.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    files = sorted(checkpoints[-1].rglob("*.safetensors")) if checkpoints else []
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def untimed(value: Any) -> Any:
    """A JSON value without what another run has otherwise."""
    if isinstance(value, dict):
        return {key: untimed(item) for key, item in value.items() if not any(word in key for word in PASSING)}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def content(file: Path) -> Any:
    """A JSON or JSONL file without what another run has otherwise; None if it is not there."""
    if not file.exists():
        return None
    text = file.read_text(encoding="utf-8")
    return untimed([json.loads(line) for line in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text))


def differences(run: Path, whole: Path) -> Iterator[str]:
    """What a run that was disturbed has otherwise than one that was left alone, a sentence each.

    A checkpoint more is none: the last save was whole, and the removal of the oldest one not yet.
    """
    if digests(run) != digests(whole):
        yield "the weights of the newest checkpoint differ."
    for name in ("metrics.jsonl", "samples.jsonl", "scores_before.json", "scores_after.json", "summary.json"):
        if content(run / name) != content(whole / name):
            yield f"{name} differs."
    names = [{path.name for path in folder.iterdir()} for folder in (run, whole)]
    more = {name for name in names[0] - names[1] if not name.startswith("checkpoint-")}
    if more or names[1] - names[0]:
        yield f"there is {sorted(more)}, and there is no {sorted(names[1] - names[0])}."
    yield from half_written(run)


def half_written(folder: Path) -> Iterator[str]:
    """Files and checkpoints under their own names that are not whole, a sentence each.

    A last line of a JSONL file that a kill tore is none: whoever reads it leaves it out.
    """
    from trainer.run.checkpoint import fault_in

    for file in sorted(folder.glob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{file.name} is half written: {error}."
    for checkpoint in sorted(folder.glob("checkpoint-*")):
        if fault := fault_in(checkpoint):
            yield f"{checkpoint.name} is not whole: {fault}."
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().splitlines(keepends=True), start=1):
            try:
                json.loads(line if line.endswith(b"\n") else b"null")
            except ValueError:
                yield f"line {number} of {file.name} is half written."
