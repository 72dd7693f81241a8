"""The most different families, from training into a real vLLM; `family_table.py` has all of them."""

import pytest
from families import FAMILIES
from family_table import SAME, compared, trained

CHOSEN = ("Qwen3 MoE", "Gemma 3 text", "Granite 4 hybrid")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


def test_a_checkpoint_says_in_vllm_what_it_says_in_transformers(work):
    for name in CHOSEN:
        (work / name).mkdir()
        found = trained(name, FAMILIES[name], work / name)
        assert (found.generate, found.resumed) == ("yes", "yes")
    differences = [*compared([work / name / "generate" / "checkpoint-2" for name in CHOSEN], work)]
    assert all(float(difference) < SAME for difference in differences), differences
