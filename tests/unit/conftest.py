"""The tiny student in memory, and real tokenizers."""

import gc
import os
from functools import cache
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the models are tiny: threads would only wait for each other


@pytest.fixture(scope="module", autouse=True)
def settled_memory():
    """What was imported so far stays, so that no run of transformers' trainer looks through it for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tokenizer(student_path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(student_path, padding_side="left")


@pytest.fixture
def student(student_path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(student_path, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def real_tokenizer():
    """Loads a tokenizer that scripts/fetch_tokenizers names; a test that misses it is skipped, in CI it fails."""
    from transformers import AutoTokenizer

    @cache
    def load(name):
        folder = Path(__file__).parents[2] / ".tokenizers" / name
        if not (folder / "tokenizer.json").is_file():
            missing = f"there is no tokenizer in {folder}; type scripts/fetch_tokenizers"
            pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
        return AutoTokenizer.from_pretrained(folder)

    return load


@pytest.fixture(scope="session")
def vocabulary(real_tokenizer, tokenizer):
    """The bytes of a `real_tokenizer`, or of the tiny student's ("tiny"), with its end-of-turn token."""
    from trainer.teachers.tokens.token_bytes import Vocabulary

    @cache
    def read(name):
        chosen = tokenizer if name == "tiny" else real_tokenizer(name)
        return Vocabulary(chosen, [chosen.eos_token_id])

    return read
