"""What several tiers need: the tiny student that the project ships, and a place to be offline."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_world() -> Path:
    return ROOT / "data" / "tiny_world"


@pytest.fixture(scope="session")
def student_path(tiny_world) -> str:
    return str(tiny_world / "student")
