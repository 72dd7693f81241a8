"""`--objective served` against a real vLLM: it says what the same weights say here, and a run learns from it.

Shapes: B sequences, T tokens, N tokens in the loss, V vocabulary, H hidden, K likeliest tokens.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from faulty_proxy import SCORES, TEXT, TOKENS, FaultyProxy
from running import EXACT, WORLD, Training
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from trainer.losses.divergence import Divergence, chunked_divergence
from trainer.losses.served import chunk_policy_gradient, support_divergence
from trainer.losses.served_targets import chunk_targets, support_targets
from trainer.models.hidden_states import head_of, predicting_states
from trainer.teachers.served.client import TeacherClient
from trainer.teachers.served.identity import compare_tokenizers, end_of_turn
from trainer.teachers.served.routes import ByteRoute, ChunkScores
from trainer.teachers.tokens.projection import Spellings
from trainer.teachers.tokens.token_bytes import Vocabulary
from trainer.teachers.tokens.token_scores import TokenScores

VOCABULARY = 512  # rows of the models' heads; the tokenizer has fewer
CLOSE = 1e-3
OVER_BYTES = 1e-2  # the dense byte route also counts what a token's bytes might have been the beginning of
ALPHAS = pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])


# ---- the numbers: what the server says, and what its weights say in this process


@dataclass(frozen=True)
class Rollouts:
    """Ragged prompts and completions, in tokens that both tiny models have."""

    prompts: list[list[int]]
    completions: list[list[int]]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(WORLD / "student")


@pytest.fixture(scope="module")
def models() -> dict[str, PreTrainedModel]:
    load = AutoModelForCausalLM.from_pretrained
    return {name: load(WORLD / name, dtype=torch.float32).eval() for name in ("student", "teacher")}


@pytest.fixture(scope="module")
def rollouts(tokenizer) -> Rollouts:
    """Answers of all lengths: likely ones, ones that are cut, a single token, and tokens by chance."""
    records = json.loads((WORLD / "train_data.json").read_text())
    prompts, completions = [], []
    for number, record in enumerate(records[:8]):
        messages = [{"role": "user", "content": record["prompt"]}] * (1 if number % 3 else 2)
        prompts.append(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        answer = tokenizer("\n".join(record["golden_response"]), add_special_tokens=False)["input_ids"]
        completions.append([*answer, tokenizer.eos_token_id] if number % 2 else answer[: 3 * number + 1])
    draw = np.random.default_rng(7)
    completions[-1] = draw.integers(0, len(tokenizer), 40).tolist()
    return Rollouts(prompts, completions)


@pytest.fixture(scope="module")
def served(teacher_url, rollouts) -> Callable[[int], list[TokenScores]]:
    """The server's scores of the rollouts by K."""
    return cache(lambda top_k: served_scores(teacher_url, rollouts, top_k))


def served_scores(url: str, rollouts: Rollouts, top_k: int) -> list[TokenScores]:
    """All at once, as a run asks."""

    async def ask() -> list[TokenScores]:
        async with TeacherClient(url, "glm-4.7") as client:
            pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
            return await asyncio.gather(*(client.score(*pair, top_k=top_k) for pair in pairs))

    return asyncio.run(ask())


@torch.no_grad()
def local_scores(model: PreTrainedModel, prompt: list[int], completion: list[int], top_k: int) -> TokenScores:
    """The same from a model in this process."""
    logits_TV = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
    logps_NV = logits_TV[len(prompt) - 1 : -1].log_softmax(-1)
    top = logps_NV.topk(top_k)
    sampled_N = logps_NV.gather(1, torch.tensor(completion).unsqueeze(1)).squeeze(1)
    return TokenScores(top.indices.numpy(), top.values.numpy(), sampled_N.numpy())


def in_process(model: PreTrainedModel, rollouts: Rollouts, top_k: int) -> list[TokenScores]:
    pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
    return [local_scores(model, *pair, top_k) for pair in pairs]


class Student:
    """The student's hidden states at the tokens of some rollouts, and the gradient of a loss for its weights."""

    def __init__(self, model: PreTrainedModel, rollouts: Rollouts, in_loss_N: np.ndarray | None = None):
        self.model = model
        model.zero_grad()
        self.hidden_NH = predicting_states(model, rollouts.prompts, rollouts.completions, 0, 0)
        self.head = head_of(model)
        self.tokens_N = torch.tensor([token for completion in rollouts.completions for token in completion])
        self.weights_N = torch.linspace(0.5, 1.5, len(self.tokens_N)) / len(self.tokens_N)
        if in_loss_N is not None:
            self.weights_N *= torch.from_numpy(in_loss_N)

    def learn(self, loss: Tensor) -> tuple[float, Tensor]:
        loss.backward()
        return loss.item(), torch.cat([weight.grad.flatten() for weight in self.model.parameters()])


def by_support(
    model: PreTrainedModel,
    rollouts: Rollouts,
    scores: list[TokenScores],
    alpha: float,
    in_loss_N: np.ndarray | None = None,
) -> tuple[float, Tensor]:
    """Loss and gradient of the token route."""
    student = Student(model, rollouts, in_loss_N)
    targets = support_targets(scores, student.tokens_N, student.head)
    return student.learn(
        support_divergence(student.hidden_NH, student.head, targets, student.tokens_N, student.weights_N, alpha)[0]
    )


def by_chunks(
    model: PreTrainedModel,
    rollouts: Rollouts,
    chunks: list[ChunkScores],
    alpha: float = 0.0,
    in_loss_N: np.ndarray | None = None,
) -> tuple[float, Tensor]:
    """Loss and gradient of the byte route."""
    student = Student(model, rollouts, in_loss_N)
    targets = chunk_targets(chunks, 0, student.tokens_N, student.head)
    loss, _ = chunk_policy_gradient(
        student.hidden_NH, student.head, targets, student.tokens_N, student.weights_N,
        credit="dpca", clip=5.0, alpha=alpha,
    )  # fmt: skip
    return student.learn(loss)


def assert_alike(found: tuple[float, Tensor], expected: tuple[float, Tensor], close: float = CLOSE) -> None:
    assert found[0] == pytest.approx(expected[0], rel=close)
    assert apart(found[1], expected[1]) < close


def apart(one: Tensor, other: Tensor) -> float:
    """The length of the difference, relative to that of `other`."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("top_k", [1, 20, 100])
def test_the_server_says_of_each_token_what_its_weights_say_here(teacher_url, models, rollouts, top_k):
    served, local = served_scores(teacher_url, rollouts, top_k), in_process(models["teacher"], rollouts, top_k)
    for theirs, ours in zip(served, local, strict=True):
        np.testing.assert_allclose(theirs.sampled_logps_N, ours.sampled_logps_N, atol=CLOSE)
        np.testing.assert_allclose(theirs.logps_NK, ours.logps_NK, atol=CLOSE)
        swapped = theirs.token_ids_NK != ours.token_ids_NK  # neighbours that are as likely as one another
        assert swapped.mean() < 0.01
        assert [set(row) for row in theirs.token_ids_NK[:, : top_k // 2].tolist()] == [
            set(row) for row in ours.token_ids_NK[:, : top_k // 2].tolist()
        ]


@pytest.mark.parametrize("top_k", [1, 20, 100])
@ALPHAS
def test_loss_and_gradients_are_those_of_the_same_weights_in_this_process(served, models, rollouts, top_k, alpha):
    expected = by_support(models["student"], rollouts, in_process(models["teacher"], rollouts, top_k), alpha)
    assert_alike(by_support(models["student"], rollouts, served(top_k), alpha), expected)


@ALPHAS
def test_with_all_of_the_vocabulary_they_are_those_of_sdft(served, models, rollouts, alpha):
    found = by_support(models["student"], rollouts, served(VOCABULARY), alpha)
    student = Student(models["student"], rollouts)
    with torch.no_grad():
        teacher_NH = predicting_states(models["teacher"], rollouts.prompts, rollouts.completions, 0, 0)
    loss, _ = chunked_divergence(
        student.hidden_NH, student.head, teacher_NH, head_of(models["teacher"]), student.tokens_N, student.weights_N,
        Divergence(alpha=alpha),
    )  # fmt: skip
    assert_alike(found, student.learn(loss))


# ---- the byte route, forced on a teacher of the student's own tokenizer


async def byte_views(client: TeacherClient, rollouts: Rollouts, tokenizer, ask, **options) -> list[ChunkScores]:
    comparison = await compare_tokenizers(client, tokenizer, force_bytes=True)
    end_id = await end_of_turn(client, comparison.spelling, enable_thinking=False)
    student = Vocabulary(tokenizer, [tokenizer.eos_token_id])
    route = ByteRoute(ask, client, student, comparison.spelling, end_id=end_id, **options)
    return [await route.view(*pair) for pair in zip(rollouts.prompts, rollouts.completions, strict=True)]


def over_bytes(url: str, rollouts: Rollouts, tokenizer, teacher: PreTrainedModel | None = None, **options):
    """The byte route's view of the rollouts; the scores are the server's, or those of `teacher`."""

    async def view() -> list[ChunkScores]:
        async with TeacherClient(url, "glm-4.7") as client:

            async def ask(prompt, completion, with_texts) -> TokenScores:
                if teacher is not None:
                    return local_scores(teacher, prompt, completion, 20)
                return await client.score(prompt, completion, top_k=20, with_texts=with_texts)

            return await byte_views(client, rollouts, tokenizer, ask, **options)

    return asyncio.run(view())


@pytest.fixture(scope="module")
def texts(rollouts, tokenizer) -> Rollouts:
    """The rollouts as their text is cut into tokens: a sampled text may be spelled in other tokens, too."""
    again = [tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] for ids in rollouts.completions]
    return Rollouts(rollouts.prompts[:-1], again[:-1])


def test_over_bytes_each_token_has_the_log_probability_of_the_token_route(teacher_url, texts, tokenizer):
    chunks = over_bytes(teacher_url, texts, tokenizer)
    for over, direct, completion in zip(chunks, served_scores(teacher_url, texts, 20), texts.completions, strict=True):
        assert over.chunks_N.tolist() == list(range(len(completion))) and not over.without_signal
        np.testing.assert_allclose(over.logps_C, direct.sampled_logps_N, atol=CLOSE)
    assert sum(completion[-1] == tokenizer.eos_token_id for completion in texts.completions) >= 3


def as_known_over_bytes(scores: TokenScores, completion: list[int], vocabulary: Vocabulary) -> TokenScores:
    """The token route's scores with the completion's own token, and without tokens that have no text."""
    readable_V = np.isin(np.arange(VOCABULARY), list(vocabulary.id_of.values()))
    ids_NK, own_N1 = scores.token_ids_NK, np.array(completion)[:, None]
    ids_NK = np.where(readable_V[ids_NK] & (ids_NK != own_N1), ids_NK, -1)
    logps_NJ = np.concatenate([scores.sampled_logps_N[:, None], scores.logps_NK], axis=1)
    return TokenScores(np.concatenate([own_N1, ids_NK], axis=1), logps_NJ, scores.sampled_logps_N)


@ALPHAS
@pytest.mark.parametrize("local", [True, False], ids=["teacher's tokenizer at hand", "server's texts"])
def test_where_the_dense_byte_route_knows_a_distribution_it_learns_what_the_token_route_learns(
    teacher_url, models, texts, tokenizer, alpha, local
):
    student, vocabulary = models["student"], Vocabulary(tokenizer, [tokenizer.eos_token_id])
    told = {"spellings": Spellings(tokenizer, vocabulary), "vocabulary": vocabulary if local else None}
    chunks = over_bytes(teacher_url, texts, tokenizer, **told)
    known_N = np.concatenate([each.dense_N for each in chunks])
    assert known_N.mean() > 0.85
    pairs = zip(served_scores(teacher_url, texts, 20), texts.completions, strict=True)
    scores = [as_known_over_bytes(*pair, vocabulary) for pair in pairs]
    expected = by_support(student, texts, scores, alpha, known_N)
    assert_alike(by_chunks(student, texts, chunks, alpha, known_N), expected, OVER_BYTES)


def test_another_teacher_gives_other_gradients_over_bytes(teacher_url, models, texts, tokenizer):
    student = models["student"]
    _, ours = by_chunks(student, texts, over_bytes(teacher_url, texts, tokenizer))
    _, same = by_chunks(student, texts, over_bytes(teacher_url, texts, tokenizer, models["teacher"]))
    _, other = by_chunks(student, texts, over_bytes(teacher_url, texts, tokenizer, student))
    assert apart(same, ours) < CLOSE
    assert apart(other, ours) > 0.1


# ---- the whole command


def assert_same_run(found: Training, expected: Training) -> None:
    """The same up to the order in which a step's gradients are added."""
    assert found.losses == pytest.approx(expected.losses, rel=1e-4)
    weights = [load_file(training.newest / "model.safetensors") for training in (found, expected)]
    for name, weight in weights[1].items():
        torch.testing.assert_close(weights[0][name], weight, rtol=0, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def steps(rows) -> list:
    """Three steps of the 48 rows."""
    return ["--train_data_path", rows, "--max_steps", "3"]


@pytest.fixture(scope="module")
def exact(finish, teacher_url, steps, tmp_path_factory) -> Training:
    """A run without overlap, whose bits can be repeated."""
    return finish(teacher_url, tmp_path_factory.mktemp("runs") / "exact", *steps, *EXACT)


@pytest.fixture(scope="module")
def overlapped(finish, teacher_url, steps, tmp_path_factory) -> Training:
    """The same run as users start it."""
    return finish(teacher_url, tmp_path_factory.mktemp("runs") / "overlapped", *steps)


def test_a_run_tells_who_its_teacher_is_and_how_far_it_is_from_it(teacher_url, exact, overlapped):
    for training in (overlapped, exact):
        summary = training.json("summary.json")
        assert (summary["status"], summary["objective"], summary["steps"]) == ("finished", "served", 3)
        assert summary["teacher"] == training.json("environment.json")["teacher"]
        assert summary["teacher"]["base_url"] == teacher_url and summary["teacher"]["tokenizer_route"] == "token"
        assert "texts are cut into the same token ids" in summary["teacher"]["tokenizer_evidence"]
        assert "tokenizer route: token (all of " in training.said
        for record in training.metrics:
            assert 0 <= record["seconds/waiting"] <= record["seconds"]
            assert record["kl/forward"] > 0 and record["entropy/teacher"] >= 0 and 0 <= record["agreement"] <= 1


def test_with_and_without_overlap_a_run_learns_the_same(exact, overlapped):
    assert_same_run(overlapped, exact)


def test_without_overlap_a_repeated_run_has_the_same_bits(finish, teacher_url, steps, exact, tmp_path):
    again = finish(teacher_url, tmp_path / "run", *steps, *EXACT)
    assert again.digest == exact.digest and again.losses == exact.losses


def test_what_is_in_the_cache_is_not_asked_again(finish, teacher_url, steps, exact, tmp_path):
    found = []
    for name in ("first", "second"):
        with FaultyProxy(teacher_url) as proxy:
            cached = [*EXACT[:-1], tmp_path / "cache"]
            found.append((finish(proxy.url, tmp_path / name, *steps, *cached), proxy.asked[SCORES]))
    (first, paid), (second, repeated) = found
    assert first.digest == second.digest == exact.digest
    assert paid >= 24  # eight rollouts in each of three steps
    assert repeated == 1  # the text by which the teacher is recognised


def test_rows_without_a_golden_response_are_scored_without_a_demonstration(finish, teacher_url, rows, tmp_path):
    records, seen = json.loads(rows.read_text()), []
    for record in records[::2]:
        record["golden_response"] = None
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(records))
    with FaultyProxy(teacher_url) as proxy:
        proxy.question = lambda path, body: seen.append(body) or body
        finish(proxy.url, tmp_path / "run", "--train_data_path", mixed)
    read = {body["messages"][-1]["content"] for body in seen if "messages" in body}
    shown = {text for text in read if "This is an example for a response to the question:" in text}
    for number, record in enumerate(records):
        found = {text for text in read if text.startswith(record["prompt"])}
        assert found and bool(found & shown) == bool(number % 2), record["prompt"]


@pytest.mark.parametrize("objective", ["served", "sdft"])
def test_demonstrations_come_while_a_run_trains_and_make_it_no_other(finish, teacher_url, rows, tmp_path, objective):
    short = tmp_path / "rows.json"
    short.write_text(json.dumps(json.loads(rows.read_text())[:24]))
    arguments = ["--train_data_path", short, "--objective", objective, "--demonstrations", "teacher"]
    ahead = finish(teacher_url, tmp_path / "ahead", *arguments, "--teacher_cache", "off")
    before = finish(teacher_url, tmp_path / "before", *arguments, *EXACT)
    assert_same_run(ahead, before)
    for training in (ahead, before):
        written = [json.loads(line) for line in (training.run / "demonstrations.jsonl").read_text().splitlines()]
        assert {record["key"] for record in written if "key" in record} == {str(number) for number in range(24)}
        assert sum(training.json("summary.json")["demonstrations"].values()) == 24
    assert "── demonstrations" in before.said and "── demonstrations" not in ahead.said


# ---- a teacher of another tokenizer, and one that can't do what it should


class Renumbered(FaultyProxy):
    """Makes the teacher one of another tokenizer: its tokens are the same, and each has another number."""

    def __init__(self, upstream: str):
        super().__init__(upstream)
        self.numbers = np.random.default_rng(3).permutation(VOCABULARY).tolist()
        self.question, self.answer = self.read, self.write

    def read(self, path: str, body: dict) -> dict:
        place = {SCORES: "prompt", TEXT: "tokens"}.get(path)
        return body if place is None else {**body, place: [self.numbers.index(number) for number in body[place]]}

    def write(self, path: str, question: dict, body: dict) -> dict:
        if path == TOKENS:
            return {**body, "tokens": [self.numbers[token] for token in body["tokens"]]}
        for position in body["choices"][0]["prompt_logprobs"][1:] if path == SCORES else []:
            entries = [(str(self.numbers[int(token)]), entry) for token, entry in position.items()]
            position.clear()
            position.update(entries)
        return body


@pytest.mark.parametrize("kind", ["sampled", "dense"])
def test_a_teacher_of_another_tokenizer_gets_its_own_ids_and_teaches_over_bytes(
    finish, teacher_url, steps, tmp_path, kind
):
    arguments = [*steps, *EXACT, "--byte_route", kind]
    with Renumbered(teacher_url) as proxy:
        other = finish(proxy.url, tmp_path / "other", *arguments)
    same = finish(teacher_url, tmp_path / "same", *arguments, "--tokenizer_route", "byte")
    assert other.digest == same.digest and other.losses == same.losses
    teacher = other.json("environment.json")["teacher"]
    assert teacher["tokenizer_route"] == same.json("environment.json")["teacher"]["tokenizer_route"] == "byte"
    assert " texts are cut into other token ids than the student's, e.g. " in teacher["tokenizer_evidence"]
    assert same.json("environment.json")["teacher"]["tokenizer_evidence"].endswith("; --tokenizer_route byte")
    assert all(0.5 < record["signal/share"] <= 1 for record in other.metrics)
    assert all(("kl/forward" in record) == (kind == "dense") for record in other.metrics)


def test_a_server_that_tells_wrong_ids_is_found_out_before_anything_is_learnt(start, teacher_url, steps, tmp_path):
    with Renumbered(teacher_url) as proxy:
        proxy.question = lambda path, body: body
        proxy.answer = lambda path, asked, body: proxy.write(path, asked, body) if path == TOKENS else body
        training = start(proxy.url, tmp_path / "run", *steps)
        assert training.code() == 3, training.said
    assert "is of no use: half of the tokens of the demonstrations in its own prompt cost it " in training.said
    assert not training.metrics and not list(training.run.glob("checkpoint-*"))
    assert "Traceback" not in training.said


def test_a_server_that_gives_too_few_tokens_a_position_is_told_the_flag(start, teacher_url, steps, tmp_path):
    training = start(teacher_url, tmp_path / "run", *steps, "--teacher_top_k", VOCABULARY + 1)
    assert training.code() == 3
    assert f"greater than max allowed: {VOCABULARY}" in training.said
    assert f"`--max-logprobs {VOCABULARY + 1}`, or pass a smaller --teacher_top_k" in training.said
    assert "Traceback" not in training.said
