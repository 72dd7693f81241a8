"""What several tiers need: the tiny student that the project ships, and a place to be offline."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")  # an example may take long where the machine is busy

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_world() -> Path:
    return ROOT / "data" / "tiny_world"


@pytest.fixture(scope="session")
def student_path(tiny_world) -> str:
    return str(tiny_world / "student")
