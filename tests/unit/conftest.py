"""The tiny student in memory."""

import pytest
import torch

torch.set_num_threads(1)  # the models are tiny: threads would only wait for each other


@pytest.fixture(scope="session")
def tokenizer(student_path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(student_path, padding_side="left")


@pytest.fixture
def student(student_path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(student_path, dtype=torch.float32).eval()
