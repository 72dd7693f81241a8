"""What several tiers need: the tiny student that the project ships, and a place to be offline."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Examples are the same each time, so that a commit is either green or not; an example may take long on a busy machine.
ANYWHERE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("anywhere", ANYWHERE)
# `pytest --hypothesis-profile search` looks for new ones.
settings.register_profile("search", ANYWHERE, derandomize=False, max_examples=2000)
settings.load_profile("anywhere")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_world() -> Path:
    return ROOT / "data" / "tiny_world"


@pytest.fixture(scope="session")
def student_path(tiny_world) -> str:
    return str(tiny_world / "student")
