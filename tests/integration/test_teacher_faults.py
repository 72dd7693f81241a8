"""Whatever becomes of the served teacher while a run trains: it goes on to the same weights, or says why it can't.

Shapes: T tokens, V vocabulary, K likeliest tokens.
"""

import math
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty_proxy import (
    BROKEN,
    BUSY,
    CHAT,
    DRIP,
    GONE,
    REFUSED,
    RESET,
    SCORES,
    TOKENS,
    TRUNCATED,
    UNAVAILABLE,
    Fault,
    FaultyProxy,
)
from running import EXACT, WORLD, Training
from transformers import AutoModelForCausalLM

STEPS, PROMPTS = 6, 8
BEFORE = 5  # requests for scores before training: to recognise the teacher, and whether it recognises demonstrations
TOKENS_KNOWN = 497


def in_step(step: int, nth: int = 4) -> int:
    """The number of the request for the scores of the `nth` rollout of a step."""
    return BEFORE + PROMPTS * (step - 1) + nth


def at(faults: dict[int, Fault]) -> Callable[[str, int], Fault | None]:
    """A plan: the fault of the n-th request for scores."""
    return lambda path, nth: faults.get(nth) if path == SCORES else None


@pytest.fixture(scope="module")
def epoch(rows) -> list:
    """Six steps."""
    return ["--train_data_path", rows]


@pytest.fixture(scope="module")
def undisturbed(finish, teacher_url, epoch, tmp_path_factory) -> Training:
    """What all others have to equal, with a checkpoint of every step."""
    kept = ["--save_steps", "1", "--save_total_limit", STEPS]
    return finish(teacher_url, tmp_path_factory.mktemp("runs") / "undisturbed", *epoch, *EXACT, *kept)


@pytest.fixture
def proxy(teacher_url) -> Iterator[FaultyProxy]:
    with FaultyProxy(teacher_url) as between:
        yield between


def weights_of(undisturbed: Training, step: int) -> str:
    return undisturbed.digest_of(undisturbed.run / f"checkpoint-{step}")


def assert_same(training: Training, undisturbed: Training) -> None:
    """Bit for bit."""
    assert training.digest == undisturbed.digest and training.losses == undisturbed.losses


def wait_for(condition: Callable[[], Any], training: Training, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert training.process.is_alive() and time.monotonic() < deadline, training.said
        time.sleep(0.02)


# ---- faults that pass


def test_after_each_kind_of_fault_a_run_goes_on_to_the_same_bits(finish, proxy, epoch, undisturbed, tmp_path):
    kinds = [REFUSED, RESET, BUSY, BROKEN, UNAVAILABLE, DRIP, TRUNCATED]
    proxy.plan = at({in_step(2) + 5 * number: kind for number, kind in enumerate(kinds)})
    training = finish(proxy.url, tmp_path / "run", *epoch, *EXACT)
    assert proxy.met == kinds
    assert_same(training, undisturbed)
    assert f"waiting for the teacher at {proxy.url} (" in training.said
    assert "the teacher answers again, and is the same" in training.said


def test_a_sixth_of_all_requests_may_fail(finish, proxy, epoch, undisturbed, tmp_path):
    draw, kinds = random.Random(5), [RESET, TRUNCATED, BROKEN, UNAVAILABLE, Fault(429), Fault(408)]
    proxy.plan = lambda path, nth: draw.choice(kinds) if draw.random() < 1 / 6 else None
    training = finish(proxy.url, tmp_path / "run", *epoch, "--teacher_cache", "off")
    assert training.losses == pytest.approx(undisturbed.losses, rel=1e-3)


def test_a_teacher_that_is_killed_and_started_again_teaches_on(start, serve, epoch, undisturbed, tmp_path):
    port = free_port()
    training = start(f"http://127.0.0.1:{port}", tmp_path / "run", *epoch, *EXACT, "--teacher_patience", "400")
    with serve(port, tmp_path / "first.log") as server:
        wait_for(lambda: len(training.metrics) >= 2, training, 300)
        os.killpg(int(children_of(server.pid)[0]), signal.SIGKILL)
        steps_before = len(training.metrics)
    with serve(port, tmp_path / "second.log"):
        assert training.code(300) == 0, training.said
    assert 2 <= steps_before < STEPS and "the teacher answers again, and is the same" in training.said
    assert_same(training, undisturbed)


def test_of_two_replicas_one_may_die(finish, proxy, teacher_url, epoch, undisturbed, tmp_path):
    proxy.plan = at({in_step(3): GONE})
    with FaultyProxy(teacher_url) as other:
        arguments = [tmp_path / "run", *epoch, *EXACT, "--teacher_patience", "1"]
        training = finish(f"{proxy.url},{other.url}", *arguments)
        assert proxy.asked[SCORES] == in_step(3) and other.asked[SCORES] >= (STEPS - 3) * PROMPTS
    assert f"the teacher at {proxy.url} gets a rest" in training.said
    assert_same(training, undisturbed)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children_of(process: int) -> list[str]:
    """The first is the vLLM of scripts/serve_teacher, the leader of its group."""
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


# ---- a teacher that is gone


def test_a_run_whose_teacher_is_gone_saves_says_so_and_goes_on_when_it_is_back(
    start, finish, proxy, epoch, undisturbed, tmp_path
):
    proxy.plan = at({in_step(3): GONE})
    arguments = [tmp_path / "run", *epoch, *EXACT, "--teacher_patience", "2"]
    training = start(proxy.url, *arguments)
    assert training.code() == 3, training.said
    assert f"no usable answer from the teacher at {proxy.url}: " in training.said
    assert "gave up after 2 s (--teacher_patience)" in training.said
    assert "Step 3 was given up; the same command goes on from checkpoint-2 when the teacher is back." in training.said
    assert "Traceback" not in training.said
    summary = training.json("summary.json")
    assert (summary["status"], summary["steps"]) == ("failed", 2)
    assert training.newest.name == "checkpoint-2" and training.digest == weights_of(undisturbed, 2)

    proxy.listen()
    again = finish(proxy.url, *arguments)
    assert f"going on from {training.newest.parent / 'checkpoint-2'}" in again.said
    assert_same(again, undisturbed)


def test_a_run_that_waits_for_its_teacher_stops_when_it_is_told_to(start, finish, proxy, epoch, undisturbed, tmp_path):
    proxy.plan = at({in_step(4): GONE})
    training = start(proxy.url, tmp_path / "run", *epoch, *EXACT, "--teacher_patience", "600")
    wait_for(lambda: "waiting for the teacher" in training.said, training)
    os.kill(training.process.pid, signal.SIGTERM)
    assert training.code(60) == 4, training.said
    assert training.json("summary.json")["status"] == "stopped"
    assert training.digest == weights_of(undisturbed, 3)

    proxy.listen()
    again = finish(proxy.url, tmp_path / "run", *epoch, *EXACT)
    assert_same(again, undisturbed)


def test_it_also_stops_while_it_gets_to_know_its_teacher(start, proxy, epoch, tmp_path):
    proxy.plan = lambda path, nth: GONE if path == TOKENS and nth == 9 else None
    training = start(proxy.url, tmp_path / "run", *epoch, "--teacher_patience", "600")
    wait_for(lambda: "waiting for the teacher" in training.said, training)
    os.kill(training.process.pid, signal.SIGTERM)
    assert training.code(60) == 4, training.said
    assert training.json("summary.json")["status"] == "stopped"


def test_a_teacher_that_is_gone_while_it_writes_demonstrations_loses_nothing(
    start, finish, proxy, teacher_url, epoch, tmp_path
):
    arguments = [*epoch, "--objective", "sdft", "--demonstrations", "teacher", "--vllm_server_max_concurrency", "2"]
    whole = finish(teacher_url, tmp_path / "whole", *arguments)
    proxy.plan = lambda path, nth: GONE if path == CHAT and nth == 30 else None
    training = start(proxy.url, tmp_path / "run", *arguments, "--teacher_patience", "1")
    assert training.code() == 3, training.said
    given_up = len(training.metrics) + 1
    assert f"Step {given_up} was given up; the same command goes on from checkpoint-{given_up - 1}" in training.said

    proxy.listen()
    again = finish(proxy.url, tmp_path / "run", *arguments)
    assert proxy.asked[CHAT] <= STEPS * PROMPTS + 2  # the one that failed, and perhaps the one beside it
    assert_same(again, whole)


# ---- a teacher that is another one, or none worth learning from


@pytest.fixture(scope="module")
def another_model() -> Callable[[str, Any, Any], Any]:
    """The scores of the student as it was, in vLLM's words, instead of the teacher's."""
    model = AutoModelForCausalLM.from_pretrained(WORLD / "student", dtype=torch.float32).eval()

    @torch.no_grad()
    def answer(path: str, question: Any, body: Any) -> Any:
        if path != SCORES:
            return body
        ids, top_k = question["prompt"], question["prompt_logprobs"]
        logps_TV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        positions = [entries(logps_V, own, top_k) for logps_V, own in zip(logps_TV[:-1], ids[1:], strict=True)]
        return {"choices": [{"prompt_logprobs": [None, *positions]}]}

    return answer


def entries(logps_V: torch.Tensor, own: int, top_k: int) -> dict[str, dict[str, float]]:
    """One position of `prompt_logprobs`: the token that stands there, and the likeliest."""
    tokens = dict.fromkeys([own, *logps_V.topk(top_k).indices.tolist()])
    ranks = {token: int((logps_V > logps_V[token]).sum()) + 1 for token in tokens}
    return {str(token): {"logprob": float(logps_V[token]), "rank": ranks[token]} for token in tokens}


def from_then_on(proxy: FaultyProxy, moment: int, answer: Callable[[str, Any, Any], Any], fault: Fault | None) -> None:
    """From the n-th request for scores on, which has a fault perhaps, they are answered otherwise."""

    def plan(path: str, nth: int) -> Fault | None:
        if path != SCORES or nth < moment:
            return None
        proxy.answer = answer
        return fault if nth == moment else None

    proxy.plan = plan


def the_right_one(proxy: FaultyProxy) -> None:
    proxy.plan = lambda path, nth: None
    proxy.answer = lambda path, question, body: body


def test_another_model_behind_the_name_is_noticed_and_nothing_is_learnt_from_it(
    start, finish, proxy, epoch, undisturbed, another_model, tmp_path
):
    from_then_on(proxy, in_step(3), another_model, REFUSED)
    training = start(proxy.url, tmp_path / "run", *epoch, *EXACT)
    assert training.code() == 3, training.said
    assert f"the teacher at {proxy.url} is not the one that this run began with" in training.said
    assert "Step 3 was given up; the same command goes on from checkpoint-2" in training.said
    assert training.losses == undisturbed.losses[:2] and training.digest == weights_of(undisturbed, 2)

    again = start(proxy.url, tmp_path / "run", *epoch, *EXACT)
    assert again.code() == 3 and "is not the one that this run began with" in again.said

    the_right_one(proxy)
    assert finish(proxy.url, tmp_path / "run", *epoch, *EXACT).digest == undisturbed.digest


def test_it_is_noticed_while_the_request_that_failed_still_waits(
    start, finish, proxy, epoch, undisturbed, another_model, tmp_path
):
    """The others of the step are answered at once, and would be learnt from, and kept."""
    from_then_on(proxy, in_step(3, nth=1), another_model, Fault(503, {"Retry-After": "5"}))
    training = start(proxy.url, tmp_path / "run", *epoch)
    assert training.code() == 3, training.said
    assert "is not the one that this run began with" in training.said
    assert training.losses == pytest.approx(undisturbed.losses[:2], rel=1e-3)

    the_right_one(proxy)
    again = finish(proxy.url, tmp_path / "run", *epoch)
    assert again.losses == pytest.approx(undisturbed.losses, rel=1e-3)


def with_logps(logp: Callable[[int], float]) -> Callable[[str, Any, Any], Any]:
    """The teacher's answers, with log-probabilities by rank."""

    def answer(path: str, question: Any, body: Any) -> Any:
        for position in body["choices"][0]["prompt_logprobs"][1:] if path == SCORES else []:
            for entry in position.values():
                entry["logprob"] = logp(entry["rank"])
        return body

    return answer


@pytest.mark.parametrize(
    ("logp", "words"),
    [
        (lambda rank: -math.log(TOKENS_KNOWN), "their entropy is 6.21 nats over "),
        (lambda rank: -0.7 * min(rank, 21), "they are the same at all of "),
    ],
    ids=["uniform", "constant"],
)
def test_a_run_ends_when_the_teacher_talks_nonsense(start, proxy, epoch, tmp_path, logp, words):
    from_then_on(proxy, in_step(2), with_logps(logp), None)
    training = start(proxy.url, tmp_path / "run", *epoch, *EXACT)
    assert training.code() == 3, training.said
    assert f"the teacher's log-probabilities teach nothing: {words}" in training.said
    given_up = len(training.metrics) + 1
    assert given_up <= 4
    assert f"Step {given_up} was given up; the same command goes on from {training.newest.name} when" in training.said
