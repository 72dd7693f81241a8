"""Where the engine is measured: the faster one stays, and the run is the one that names it."""

import json
import time
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from trainer.run.directory import RunDirectory
from trainer.training import engine_choice, rollout
from trainer.training.engine_choice import choose_engine
from trainer.training.engine_trial import ENGINES, Trial, kept, tokens_per_second
from trainer.training.rollout import Sampler

CPU = torch.device("cpu")
ROWS = [{"row": number, "prompt": [3, 5, 7, 2, 4][: 2 + number % 4]} for number in range(6)]


def make():
    torch.manual_seed(4)
    sizes = {
        "vocab_size": 12, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8,
        "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0, "eos_token_id": 1,
        "initializer_range": 0.5,
    }  # fmt: skip
    return Qwen3ForCausalLM(Qwen3Config(**sizes)).eval()


def sampler(engine, folder):
    """What samples by an engine, with as much of a trainer as that takes."""
    settings = {
        "max_new_tokens": 8, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
        "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "eos_token_id": [1], "pad_token_id": 0,
    }  # fmt: skip
    trainer = SimpleNamespace(
        args=SimpleNamespace(device=CPU, bf16=False), max_completion_length=8, model=make(),
        accelerator=Accelerator(cpu=True), generation_config=GenerationConfig(**settings), generation_kwargs=settings,
        state=SimpleNamespace(global_step=0), run_directory=RunDirectory(folder),
    )  # fmt: skip
    return Sampler(trainer, engine, longest=5)


def slow(monkeypatch, engine):
    """Make an engine slower, and count how often each is asked."""
    asked = []
    for name in ENGINES:
        answer = getattr(rollout, name)

        def ask(*given, name=name, answer=answer, **more):
            asked.append(name)
            time.sleep(3 if name == engine else 0)
            return answer(*given, **more)

        monkeypatch.setattr(rollout, name, ask)
    return asked


@pytest.mark.parametrize(("slower", "faster"), [ENGINES, ENGINES[::-1]])
def test_the_faster_engine_stays_and_samples_what_it_samples_where_it_is_named(
    monkeypatch, tmp_path, capsys, slower, faster
):
    asked, told = slow(monkeypatch, slower), {}
    measured = sampler("auto", tmp_path)
    torch.manual_seed(8)
    found = [measured.sample(ROWS, told.__setitem__), measured.sample(ROWS), torch.rand(1).item()]
    assert asked == [*ENGINES, faster] and measured.engine == faster
    assert told == {part.row: part.completion_ids for part in found[0]}

    named = sampler(faster, tmp_path)
    torch.manual_seed(8)
    assert [named.sample(ROWS), named.sample(ROWS), torch.rand(1).item()] == found

    content = json.loads((tmp_path / "rollout_engine.json").read_text())
    rates = content["tokens_per_second"]
    assert content["rollout_engine"] == faster and rates[faster] > rates[slower] > 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rollout_engine: ")]
    shown = " and ".join(f"{engine} {rates[engine]:.3g}" for engine in ENGINES)
    assert line == f"rollout_engine: {faster} (auto: measured, {shown} tokens/s)"


def test_a_run_that_goes_on_keeps_its_choice_and_tells_it(tmp_path, capsys):
    directory = RunDirectory(tmp_path)
    assert kept(directory) is None
    rates = {"generate": 12.04, "continuous": 19.5}
    directory.write_json("rollout_engine.json", {"rollout_engine": "continuous", "tokens_per_second": rates})
    assert kept(directory) == "continuous"
    told = "rollout_engine: continuous (auto: measured before, generate 12 and continuous 19.5 tokens/s)\n"
    assert capsys.readouterr().out == told


def test_processes_together_are_as_fast_as_the_slowest_of_them():
    class Two:
        device = CPU

        @staticmethod
        def gather(mine):
            return torch.cat([mine, mine * torch.tensor([3.0, 1.0])])  # the other one takes three times as long

    trials = [Trial("generate", [[7] * 10], 2.0, None), Trial("continuous", [[7] * 8], 1.0, None)]
    assert tokens_per_second(trials, Two()) == {"generate": round(20 / 6, 2), "continuous": round(16 / 3, 2)}


def test_only_a_large_model_whose_lengths_decide_is_measured(monkeypatch):
    model = make()
    assert choose_engine("auto", model, CPU, cached_tokens=1) == "continuous"
    monkeypatch.setattr(engine_choice, "WORTH_MEASURING", 1)
    assert choose_engine("auto", model, CPU, cached_tokens=1) == "auto"
    assert choose_engine("auto", model, CPU, cached_tokens=10**5) == "generate"
    assert choose_engine("auto", model, torch.device("cuda"), cached_tokens=1) == "generate"
    for named in ENGINES:
        assert choose_engine(named, model, CPU, cached_tokens=1) == named
