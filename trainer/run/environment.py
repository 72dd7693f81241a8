"""Where a run ran: the content of `environment.json`."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from .. import __version__

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "peft",
    "safetensors",
    "tokenizers",
    "aiohttp",
)


def environment(teacher: dict[str, Any] | None, files: dict[str, str]) -> dict[str, Any]:
    """The content of `environment.json`: versions, device, git commit, the served teacher's identity.

    Args:
        files: SHA-256 of the data files and of the model's, by path.
    """
    gpu = torch.cuda.is_available()
    return {
        "trainer": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if gpu else platform.processor() or platform.machine(),
        "device_count": torch.cuda.device_count() if gpu else 1,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "teacher": teacher,
        "files": files,
    }


def _git_commit() -> str | None:
    """The commit of the code that runs: built into the image as GIT_COMMIT, else asked of git."""
    if commit := os.environ.get("GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
