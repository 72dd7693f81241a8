"""The rollout of a step that people look at."""

import json

import numpy as np
import pytest
import torch

from trainer.losses.divergence import TokenStatistics
from trainer.models.hidden_states import likeliest
from trainer.models.output_head import OutputHead
from trainer.run.directory import RunDirectory
from trainer.training.rollout import Rollout
from trainer.training.samples import CLOSER_LOOKS, TOP, SampleRecorder


class Letters:
    """A tokenizer whose token 0 is a, 1 is b, …"""

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(ord("a") + token) for token in ids)


@pytest.fixture
def recorder(tmp_path):
    return SampleRecorder(RunDirectory(tmp_path), Letters(), temperature=2.0)


def rollout(*completion: int) -> Rollout:
    return Rollout(row=0, prompt_ids=[7], completion_ids=list(completion))


def seen(count: int) -> TokenStatistics:
    return TokenStatistics(*torch.arange(8.0 * count).view(8, count))


def written(recorder: SampleRecorder) -> list[dict]:
    return [json.loads(line) for line in (recorder.run_directory.path / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_likeliest_tokens_are_those_of_the_softmax_over_the_whole_vocabulary(temperature):
    generator = torch.Generator().manual_seed(0)
    hidden_NH, weight_VH = torch.randn(150, 8, generator=generator), torch.randn(40, 8, generator=generator)
    ids_NK, logps_NK = likeliest(hidden_NH, OutputHead(weight_VH, None, 1.0, None), temperature, 5)
    expected = (hidden_NH @ weight_VH.T / temperature).log_softmax(-1).topk(5)
    assert torch.equal(ids_NK, expected.indices)
    torch.testing.assert_close(logps_NK, expected.values)


def test_a_vocabulary_smaller_than_what_is_asked_for_is_told_whole():
    ids_NK, _ = likeliest(torch.ones(2, 3), OutputHead(torch.eye(3), None, 1.0, None), 1.0, 5)
    assert ids_NK.shape == (2, 3)


def test_a_sample_tells_its_divergence_and_what_both_models_expected_where_a_token_is_in_the_loss(recorder):
    sample = rollout(0, 1, 2)
    recorder.watch(sample, step=0, steps=10)
    weight_VH = torch.eye(3)
    recorder.look_closer(
        "student", torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]), OutputHead(weight_VH, None, 1.0, None)
    )
    recorder.told("teacher", np.array([[1, 2], [0, -1]]), np.array([[-0.1, -3.0], [-0.25, -np.inf]], np.float32))
    recorder.write(sample, 1, seen(2))
    (line,) = written(recorder)
    assert (line["step"], line["prompt"], line["tokens"]) == (1, "h", ["a", "b", "c"])
    assert (line["divergence"], line["in_loss"]) == ([None, 0.0, 1.0], [False, True, True])
    assert [top and top[0][0] for top in line["student_top"]] == [None, "a", "b"]
    logp = round(float(torch.tensor([2.0, 0.0, 0.0]).log_softmax(-1)[0]), 3)
    assert line["student_top"][1][0] == ["a", logp]
    assert line["teacher_top"] == [None, [["b", -0.1], ["c", -3.0]], [["a", -0.25]]]


def test_a_long_run_takes_few_closer_looks_evenly_and_a_short_one_looks_at_each_step(recorder):
    for steps in (10, CLOSER_LOOKS, 1000, 10_000):
        closer = []
        for step in range(steps):
            sample = rollout(0)
            recorder.watch(sample, step, steps)
            if recorder.span_in([sample], [1]) is not None:
                closer.append(step)
        assert closer[0] == 0 and len(closer) <= CLOSER_LOOKS
        assert len(closer) == steps if steps <= CLOSER_LOOKS else len(set(np.diff(closer))) == 1


def test_the_tokens_of_the_sample_are_found_among_those_of_its_micro_batch(recorder):
    first, sample = rollout(0, 1), rollout(0, 1)  # equal, but not the same
    recorder.watch(sample, step=0, steps=1)
    assert recorder.span_in([first, sample, first], [2, 3, 4]) == slice(2, 5)
    assert recorder.span_in([first], [2]) is None


def test_what_was_seen_in_one_step_is_not_told_of_the_next(recorder):
    for step in range(2):
        sample = rollout(0)
        recorder.watch(sample, step, steps=100)
        if recorder.span_in([sample], [1]) is not None:
            recorder.look_closer("student", torch.ones(1, 3), OutputHead(torch.eye(3), None, 1.0, None))
        recorder.write(sample, step + 1, seen(1))
    assert ["student_top" in line for line in written(recorder)] == [True, False]
    assert len(written(recorder)[0]["student_top"][0]) == min(TOP, 3)
