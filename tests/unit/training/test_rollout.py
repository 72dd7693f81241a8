"""Rollouts: the same law from every engine, ends where they end, and no trace on the model."""

import gc
import math
from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from trainer.errors import UsageError
from trainer.models import decoding
from trainer.models.architecture import cache_size
from trainer.models.decoding import draws_faster, generate
from trainer.models.packed_attention import pack_attention
from trainer.training import rollout
from trainer.training.continuous import continuous
from trainer.training.engine_choice import choose_engine, wants_vllm
from trainer.training.rollout import HalfCopy, Rollout, Sampler, evaluating

END, VOCABULARY, PROMPT = 1, 12, [3, 5, 7, 2]
CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # the law is the same on each


def make(**changes):
    torch.manual_seed(4)
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "eos_token_id": END,
        "initializer_range": 0.5,
    }  # fmt: skip
    return Qwen3ForCausalLM(Qwen3Config(**(sizes | changes))).eval().to(DEVICE)


def settings(**changes):
    values = {
        "max_new_tokens": 2, "do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
        "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "eos_token_id": [END], "pad_token_id": 0,
    }  # fmt: skip
    return GenerationConfig(**(values | changes))


def static(model, prompts, config):
    """What decoding on a GPU does, but for the compilation."""
    model._previous_max_cache_length = 64
    config.cache_implementation = "static"
    return generate(model, prompts, config)


def packed(model, prompts, config):
    """The same with the attention of decoding on a GPU."""
    pack_attention(model)
    assert model.config._attn_implementation == "packed_sdpa"
    return static(model, prompts, config)


def drawn(model, prompts, config):
    """What `generate` does on a CPU where there are many tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "MANY", 1)
        assert draws_faster(model, config) == bool(config.do_sample and model.device.type == "cpu")
        return generate(model, prompts, config)


ENGINES = {"drawn": drawn, "generate": generate, "static": static, "packed": packed, "continuous": continuous}


@torch.no_grad()
def law(model, temperature):
    """Probability of each completion of at most two tokens."""
    first = (model(input_ids=torch.tensor([PROMPT], device=DEVICE)).logits[0, -1] / temperature).softmax(-1)
    pairs = model(input_ids=torch.tensor([[*PROMPT, token] for token in range(VOCABULARY)], device=DEVICE)).logits[
        :, -1
    ]
    second = (pairs / temperature).softmax(-1)
    return {
        (a,) if a == END else (a, b): float(first[a] * (1 if a == END else second[a, b]))
        for a in range(VOCABULARY)
        for b in range(VOCABULARY)
    }


def p_value(counts, probabilities, total):
    """Chi-square test with rare outcomes in one class."""
    common = {outcome: p for outcome, p in probabilities.items() if p * total >= 5}
    rest = 1 - sum(common.values())
    pairs = [(counts.get(outcome, 0), p * total) for outcome, p in common.items()]
    pairs.append((total - sum(seen for seen, _ in pairs), rest * total))
    pairs = [(seen, expected) for seen, expected in pairs if expected > 0]
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in pairs)
    degrees = torch.tensor((len(pairs) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(degrees, torch.tensor(statistic / 2, dtype=torch.float64)))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_samples_from_the_softmax_at_the_temperature(engine):
    model, total = make(), 4000
    torch.manual_seed(11)
    counts = {}
    for _ in range(2):
        for completion in ENGINES[engine](model, [PROMPT] * (total // 2), settings()):
            counts[tuple(completion)] = counts.get(tuple(completion), 0) + 1
    assert p_value(counts, law(model, 0.7), total) > 1e-3
    assert p_value(counts, law(model, 1.0), total) < 1e-6  # the test can tell another temperature


@pytest.mark.parametrize("engine", ENGINES)
def test_a_completion_ends_with_its_first_end_token_or_at_its_length(engine):
    torch.manual_seed(0)
    for completion in ENGINES[engine](make(), [PROMPT, PROMPT[:1], PROMPT * 3] * 8, settings(max_new_tokens=9)):
        assert END not in completion[:-1]
        assert completion[-1] == END or len(completion) == 9


@pytest.mark.parametrize("engine", ENGINES)
def test_neither_padding_nor_company_changes_a_greedy_completion(engine):
    model, prompts = make(), [[4], PROMPT, PROMPT * 4]
    greedy = lambda: settings(do_sample=False, temperature=1.0, max_new_tokens=8)  # noqa: E731
    alone = [generate(model, [prompt], greedy())[0] for prompt in prompts]
    assert ENGINES[engine](model, prompts, greedy()) == alone


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_random_state_gives_the_same_rollouts_and_the_same_state_afterwards(engine):
    model = make()
    outcomes = []
    for _ in range(2):
        torch.manual_seed(5)
        outcomes.append((ENGINES[engine](model, [PROMPT] * 6, settings(max_new_tokens=12)), torch.rand(1).item()))
    assert outcomes[0] == outcomes[1]
    torch.manual_seed(6)
    assert ENGINES[engine](model, [PROMPT] * 6, settings(max_new_tokens=12)) != outcomes[0][0]


def test_taking_out_what_has_ended_changes_nothing_that_the_others_sample(monkeypatch):
    model, prompts = make(), [PROMPT, PROMPT[:1], PROMPT * 3] * 5
    monkeypatch.setattr(decoding, "MANY", 1)
    read, told, outcomes = [], {}, []
    model.register_forward_hook(lambda module, inputs, output: read.append(len(output.logits)))
    for kept in (0, decoding.KEPT):  # of a batch of which nothing has to be left it goes on whole
        monkeypatch.setattr(decoding, "KEPT", kept)
        torch.manual_seed(5)
        completions = generate(model, prompts, settings(max_new_tokens=60, temperature=3.0), told.__setitem__)
        outcomes.append((completions, torch.rand(1).item(), read[:]))
        read.clear()
    (whole, random, rows), (shrunk, random_again, fewer_rows) = outcomes
    assert shrunk == whole and random_again == random
    assert told == {index: ids for index, ids in enumerate(whole) if ids[-1] == END}
    assert {*rows} == {15} and fewer_rows[0] == 15 and fewer_rows[-1] < 8 and len(fewer_rows) == len(rows)


def test_the_continuous_engine_forgets_what_it_cached_under_older_weights():
    model, greedy = make(), lambda: settings(do_sample=False, temperature=1.0, max_new_tokens=8)
    first = continuous(model, [PROMPT * 20], greedy())
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(-0.7)
    second = continuous(model, [PROMPT * 20], greedy())
    assert second != first and second == generate(model, [PROMPT * 20], greedy())


def test_the_continuous_engine_looks_for_garbage_in_nothing_that_was_there_before(monkeypatch):
    looked_through = []
    monkeypatch.setattr(gc, "collect", lambda *_: looked_through.append(len(gc.get_objects())))
    continuous(make(), [PROMPT], settings())
    assert looked_through and max(looked_through) < len(gc.get_objects()) / 10


def test_a_setting_that_the_continuous_engine_would_drop_is_refused():
    with pytest.raises(UsageError, match=r"no repetition penalty, found 1\.2"):
        continuous(make(), [PROMPT], settings(repetition_penalty=1.2))


def test_sampling_leaves_every_module_in_its_own_mode():
    model = make().train()
    model.lm_head.eval()
    with evaluating(model):
        assert not model.training
    assert model.training and model.model.training and not model.lm_head.training


def test_the_copy_to_sample_from_is_the_student_rounded_to_bfloat16_at_every_step():
    student = make()
    half = HalfCopy(student)
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.1)
    for mine, weight in zip(half.refreshed(student).parameters(), student.parameters(), strict=True):
        assert mine.dtype == torch.bfloat16 and torch.equal(mine, weight.to(torch.bfloat16))
    for mine, buffer in zip(half.model.buffers(), student.buffers(), strict=True):
        assert mine.dtype == buffer.dtype and torch.equal(mine, buffer)
    assert half.model.lm_head.weight is not student.lm_head.weight
    static(half.model, [PROMPT, PROMPT[:1]], settings())


def test_auto_picks_an_engine_by_the_work_on_this_device_and_says_why(capsys):
    model = make()
    assert choose_engine("auto", model, CPU, cached_tokens=1) == "continuous"
    assert choose_engine("auto", model, CPU, cached_tokens=10**5) == "generate"
    assert choose_engine("auto", model, torch.device("cuda"), 10**5) == "generate"
    said = capsys.readouterr().out
    assert said.count("rollout_engine: ") == 3 and "on a CPU" in said and "compiled decoding on a GPU" in said
    assert choose_engine("continuous", model, CPU, 10**5) == "continuous"


def test_vllm_is_refused_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="found no GPU and no vllm"):
        wants_vllm("vllm")
    assert not wants_vllm("auto") and not wants_vllm("generate")


def test_rollouts_are_sampled_in_parts_where_their_cache_would_not_fit(monkeypatch):
    model = make()
    token = cache_size(model).token
    assert token == 2 * 2 * 1 * 8

    trainer = SimpleNamespace(
        args=SimpleNamespace(device=CPU, bf16=False), max_completion_length=4, model=model,
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
    )  # fmt: skip
    sampler = Sampler(trainer, "generate", len(PROMPT))
    need = token * 4 * 8 / rollout.CACHE_SHARE
    for rows, parts in ((7.5, [5]), (3.5, [3, 2]), (1.5, [1] * 5), (0.1, [1] * 5)):
        monkeypatch.setattr(rollout, "device_memory", lambda device, rows=rows: math.ceil(rows * need))
        assert [len(range(5)[part]) for part in sampler._parts(5)] == parts


class FakeVllm:
    """Answers as TRL's VLLMGeneration does for `logprobs=0`."""

    logprobs = None

    def __init__(self):
        self.synced = 0
        self.generation_kwargs = {"no_repeat_ngram_size": 0}

    def sync_weights(self):
        self.synced += 1

    def generate(self, prompts, images, num_generations):
        assert self.logprobs == 0 and images is None and num_generations == 1
        return prompts, [[7, END] for _ in prompts], [[[-0.5], [-0.25]] for _ in prompts], None


@pytest.mark.parametrize("from_teacher", [False, True])
def test_vllm_gets_the_present_weights_once_a_step_and_its_probabilities_are_kept_for_on_policy_rollouts(from_teacher):
    trainer = SimpleNamespace(
        vllm_generation=FakeVllm(), state=SimpleNamespace(global_step=3), _last_loaded_step=2, num_generations=1,
        args=SimpleNamespace(device=CPU, bf16=False), max_completion_length=9, eos_token_ids=[END],
    )  # fmt: skip
    asked = (lambda rows: [row["prompt"] for row in rows]) if from_teacher else None
    sampler = Sampler(trainer, "vllm", longest=1, asked=asked)
    rows = [{"row": 8, "prompt": [3]}, {"row": 9, "prompt": [5]}]
    for _ in range(2):
        rollouts = sampler.sample(rows)
    assert trainer.vllm_generation.synced == 1 and trainer._last_loaded_step == 3
    assert trainer.vllm_generation.generation_kwargs == {"stop_token_ids": [END]}
    logps = None if from_teacher else [-0.5, -0.25]
    assert rollouts == [Rollout(8, [3], [7, END], logps), Rollout(9, [5], [7, END], logps)]


@pytest.mark.parametrize("engine", ["generate", "continuous"])
def test_a_completion_is_told_of_when_it_is_whole_and_the_rollouts_are_the_same(engine):
    model, prompts, told = make(), [PROMPT, PROMPT[:2], PROMPT[:3]] * 5, {}
    torch.manual_seed(3)
    alone = ENGINES[engine](model, prompts, settings(max_new_tokens=24, temperature=1.5))
    torch.manual_seed(3)
    watched = ENGINES[engine](
        model, prompts, settings(max_new_tokens=24, temperature=1.5), lambda i, ids: told.setdefault(i, ids)
    )
    assert watched == alone
    ended = {i: ids for i, ids in enumerate(alone) if ids[-1] == END}
    assert 3 < len(ended) < len(prompts)
    assert told == (dict(enumerate(alone)) if engine == "continuous" else ended)
