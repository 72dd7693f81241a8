"""Export: the folder holds the checkpoint's weights, answers as it does, and its card says what the run's files say."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from trainer.__main__ import main
from trainer.commands import export
from trainer.evaluation.same_answers import first_difference
from trainer.models.export import think_as_trained
from trainer.reporting.headline import change
from trainer.reporting.runs import read_run

ROWS = 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_world, student_path):
    """Trains two steps of `sft` into a run directory, scored in between; further words are flags."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("train", "eval", "prior"):
        rows = json.loads((tiny_world / f"{name}_data.json").read_text())[:ROWS]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    words = ["--model_name_or_path", student_path, "--local_files_only", "--objective", "sft"]
    words += ["--train_data_path", folder / "train.json", "--eval_data_path", folder / "eval.json"]
    words += ["--prior_data_path", folder / "prior.json", "--num_prompts_per_batch", "8", "--learning_rate", "3e-3"]
    words += ["--max_prompt_length", "256", "--max_completion_length", "40", "--save_steps", "1"]

    def train(name: str, *more: str) -> Path:
        assert main(["train", *map(str, words), "--output_dir", str(folder / name), *more]) == 0
        return folder / name

    return train


@pytest.fixture(scope="module")
def full(trained):
    return trained("full", "--eval_steps", "1", "--max_forgetting", "1", "--logging_steps", "1")


@pytest.fixture(scope="module")
def lora(trained):
    return trained("lora", "--use_peft")


def exported(run: Path, target: Path, *more: str) -> int:
    return main(["export", str(run), "--output_dir", str(target), *more])


def answers(model, tokenizer, questions=("What is 37 plus 64?", "Use divo for Oslo.")):
    """Greedy answers by transformers alone."""
    found = []
    for question in questions:
        chat = [{"role": "user", "content": question}]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        found.append(model.generate(**inputs, max_new_tokens=32, do_sample=False)[0].tolist())
    return found


def test_a_full_checkpoint_in_float32_has_the_very_weights_and_the_answers_in_plain_transformers(
    full, tmp_path, capsys
):
    assert exported(full, tmp_path / "model", "--dtype", "float32", "--checkpoint", "last") == 0
    said = capsys.readouterr().out
    assert "checkpoint-2: the last" in said and "answers 8 rows of new skill as checkpoint-2 does" in said
    was, now = (load_file(f / "model.safetensors") for f in (full / "checkpoint-2", tmp_path / "model"))
    assert was.keys() == now.keys() and all(torch.equal(was[name], now[name]) for name in was)
    models = [AutoModelForCausalLM.from_pretrained(f) for f in (full / "checkpoint-2", tmp_path / "model")]
    assert models[1].dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert answers(models[0], tokenizer) == answers(models[1], tokenizer)
    before = AutoTokenizer.from_pretrained(full / "checkpoint-2")
    assert tokenizer.chat_template == before.chat_template
    GenerationConfig.from_pretrained(tmp_path / "model").validate(strict=True)


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


THINKING = (
    "{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}{%- endfor %}{%- if add_generation_prompt %}<|assistant|>"
    "{%- if enable_thinking is defined and enable_thinking is false %}<no thoughts>{%- endif %}{%- endif %}"
)


@pytest.mark.parametrize(("words", "opens"), [((), "<no thoughts>"), (("--enable_thinking",), "")])
def test_a_model_that_may_think_thinks_as_it_was_trained_where_a_request_says_nothing(
    trained, tmp_path, capsys, words, opens
):
    (tmp_path / "thinking.jinja").write_text(THINKING)
    run = trained(
        f"thinking{len(words)}", "--chat_template", str(tmp_path / "thinking.jinja"), "--max_steps", "1", *words
    )
    assert exported(run, tmp_path / "model") == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")

    def prompt(**given):
        chat = [{"role": "user", "content": "Hi."}]
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **given)

    assert prompt() == f"<|user|>Hi.<|assistant|>{opens}"
    assert [prompt(enable_thinking=on)[-13:] for on in (False, True)] == ["<no thoughts>", "|><|assistant|>"[-13:]]
    said = "Its chat template has thinking off, as it was trained"
    card = (tmp_path / "model" / "README.md").read_text()
    assert (said in capsys.readouterr().out, said in card) == (not words, not words)


def test_a_real_template_that_may_think_is_changed_once_and_still_takes_the_word_of_a_request(real_tokenizer):
    tokenizer = copy.deepcopy(real_tokenizer("qwen3"))
    chat = [{"role": "user", "content": "Hi."}]
    off, on = (
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=thinking)
        for thinking in (False, True)
    )
    assert think_as_trained(tokenizer, enable_thinking=False) and off != on
    assert not think_as_trained(tokenizer, enable_thinking=False)
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == off
    for thinking, expected in ((False, off), (True, on)):
        told = {"add_generation_prompt": True, "enable_thinking": thinking}
        assert tokenizer.apply_chat_template(chat, tokenize=False, **told) == expected


def test_a_template_that_refuses_a_bare_question_stays_as_it_is(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = refusing = "{{ raise_exception('a system message is needed') }}{{ enable_thinking }}"
    assert not think_as_trained(tokenizer, enable_thinking=False) and tokenizer.chat_template == refusing


def test_the_folder_has_what_tools_read_and_nothing_of_training_and_everyone_can_read_it(full, tmp_path, usual_umask):
    assert exported(full, tmp_path / "deep" / "model") == 0
    files = {path.name: path for path in (tmp_path / "deep" / "model").iterdir()}
    assert files.keys() == {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o444 for path in files.values()} == {0o444}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_bfloat16_is_the_checkpoint_rounded_and_what_was_compared_is_said(full, tmp_path, capsys):
    assert exported(full, tmp_path / "model", "--checkpoint", "1") == 0
    was, now = (load_file(f / "model.safetensors") for f in (full / "checkpoint-1", tmp_path / "model"))
    assert all(torch.equal(was[name].bfloat16(), now[name]) for name in was)
    assert "as checkpoint-1 rounded to bfloat16 does, token by token" in capsys.readouterr().out
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_lora_is_merged_to_the_logits_of_the_adapter_on_its_base(lora, student_path, tmp_path):
    assert exported(lora, tmp_path / "model", "--dtype", "float32") == 0
    assert not (tmp_path / "model" / "adapter_config.json").exists()
    base = AutoModelForCausalLM.from_pretrained(student_path, dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        alone = base(ids).logits
        adapted = PeftModel.from_pretrained(base, lora / "checkpoint-2")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-4)
        assert not torch.allclose(merged(ids).logits, alone, atol=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert answers(merged, tokenizer) == answers(adapted, tokenizer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_adapter_alone_is_the_checkpoints_and_loads_on_its_base(lora, student_path, tmp_path, dtype):
    assert exported(lora, tmp_path / "adapter", "--adapter", "--dtype", dtype) == 0
    files = [f / "adapter_model.safetensors" for f in (lora / "checkpoint-2", tmp_path / "adapter")]
    was, now = map(load_file, files)
    assert all(torch.equal(was[name].to(getattr(torch, dtype)), now[name]) for name in was)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(student_path), tmp_path / "adapter")
    assert ModelCard.load(tmp_path / "adapter" / "README.md").data.library_name == "peft"


def test_the_card_says_what_the_runs_files_say(full, tmp_path):
    assert exported(full, tmp_path / "mine", "--checkpoint", "last") == 0
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    after = json.loads((full / "scores_after.json").read_text())["scores"]
    found = {result.dataset_name: result for result in card.data.eval_results}
    assert found["New skill (eval.json)"].metric_value == round(after["new_skill"]["accuracy"], 4)
    assert found["Prior skills (prior.json)"].metric_value == round(after["prior_skills"]["accuracy"], 4)
    assert found["Prior skills (prior.json)"].metric_args["rows"] == ROWS
    assert (card.data.library_name, card.data.license, card.data.base_model) == ("transformers", "unknown", None)
    assert {"self-distillation", "sft"} <= set(card.data.tags)
    told = change(read_run(full, "x"), "prior_skills")
    line = next(line for line in card.text.splitlines() if line.startswith("| Prior skills"))
    assert told.after is not None and f"{100 * told.after.accuracy:.1f}" in line and told.verdict in line
    if told.interval is not None:
        assert f"{abs(100 * told.interval.low):.1f} to" in line
    commit = json.loads((full / "environment.json").read_text())["git_commit"]
    assert commit in card.text and "sdft train --config config.yaml" in card.text
    settings = yaml.safe_load(card.text.partition("```yaml\n")[2].partition("```")[0])
    assert settings["learning_rate"] == 3e-3 and settings["train_data_path"] == "train.json"


def test_the_card_of_an_earlier_checkpoint_has_its_scores_and_not_the_last_ones(full, tmp_path):
    assert exported(full, tmp_path / "mine", "--checkpoint", "1") == 0
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    lines = [json.loads(line) for line in (full / "metrics.jsonl").read_text().splitlines()]
    scored = next(line for line in lines if line["step"] == 1 and "eval/prior_skills" in line)
    assert [r.metric_value for r in card.data.eval_results if "Prior" in r.dataset_name] == [
        round(scored["eval/prior_skills"], 4)
    ]
    assert "step 1 of 2" in card.text


def test_a_card_tells_no_folder_host_or_key_of_the_machine(full, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(full, run)
    with (run / "config.yaml").open("a") as file:
        file.write("vllm_server_base_url: http://anna:secret@inner-host:8000\nhub_token: hf_secret\n")
    assert exported(run, tmp_path / "mine") == 0
    text = (tmp_path / "mine" / "README.md").read_text()
    for word in ("secret", "inner-host", "anna", str(full.parent)):
        assert word not in text + capsys.readouterr().out, word


def test_without_the_scored_rows_questions_of_ours_are_asked_and_that_is_said(full, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(full, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"eval_data_path": "/gone/eval.json", "prior_data_path": "/gone/prior.json"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert exported(run, tmp_path / "mine") == 0
    assert "8 questions of ours (the rows that the run scored are not here)" in capsys.readouterr().out


def test_a_dry_run_lists_the_files_and_keeps_and_uploads_nothing(full, tmp_path, capsys):
    assert exported(full, tmp_path / "mine", "--dry_run", "--push_to_hub", "me/mine") == 0
    said = capsys.readouterr().out
    assert "model.safetensors" in said and "nothing is kept, and nothing uploaded" in said
    assert [*tmp_path.iterdir()] == []


def test_a_model_that_answers_otherwise_is_not_kept(full, tmp_path, monkeypatch, capsys):
    write = export.write_model

    def write_badly(model, tokenizer, folder):
        write(model, tokenizer, folder)
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"] = -weights["model.norm.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(export, "write_model", write_badly)
    assert exported(full, tmp_path / "mine") == 1
    assert "answers otherwise than the checkpoint: of 8 rows of new skill number 1" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_new_repository_is_private_and_gets_the_files_of_the_folder(full, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    calls = []

    class Hub:
        """The border: what the hub's client is asked for."""

        def whoami(self):
            calls.append("whoami")

        def create_repo(self, name, **options):
            calls.append((name, options))
            return type("Url", (str,), {"repo_id": name})(f"https://hub/{name}")

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            calls.append((repo_id, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(export, "HfApi", Hub)
    assert exported(full, tmp_path / "mine", "--push_to_hub", "me/mine") == 0
    assert calls[:2] == ["whoami", ("me/mine", {"private": True, "exist_ok": True})]
    assert calls[2][0] == "me/mine" and "model.safetensors" in calls[2][1]
    said = capsys.readouterr()
    assert "uploaded: https://hub/me/mine" in said.out and "hf_secret" not in said.out + said.err
    assert ModelCard.load(tmp_path / "mine" / "README.md").data.model_name == "mine"


def test_an_upload_without_a_network_is_refused_before_anything_is_written(full, tmp_path, capsys):
    assert exported(full, tmp_path / "mine", "--push_to_hub", "me/mine") == 2
    assert "can't upload to the model hub" in capsys.readouterr().err
    assert exported(full, tmp_path / "mine", "--push_to_hub", "a/b/c") == 2
    assert "expected ORG/NAME" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{full}"], "Pass --output_dir FOLDER"),
        (["--output_dir", "{new}"], "no run is named. Type `python -m trainer export RUN"),
        (["{tmp}/none", "--output_dir", "{new}"], "no run directory: no folder is there"),
        (["{full}/..", "--output_dir", "{new}"], "Type `python -m trainer export "),
        (["{full}/checkpoint-1", "--output_dir", "{new}"], "/full --checkpoint 1`"),
        (["{full}", "--output_dir", "{full}"], "is not empty"),
        (["{full}", "--output_dir", "{full}/config.yaml"], "is a file"),
        (["{full}", "--output_dir", "{new}", "--checkpoint", "7"], "no checkpoint of step 7. Pass --checkpoint last"),
        (["{full}", "--output_dir", "{new}", "--checkpoint", "7"], "that is there: 1, 2."),
        (["{full}", "--output_dir", "{new}", "--checkpoint", "newest"], "expected best, last or a step"),
        (["{lora}", "--output_dir", "{new}", "--checkpoint", "best"], "it was trained without --eval_steps"),
        (["{full}", "--output_dir", "{new}", "--adapter"], "no LoRA adapter. Leave --adapter out"),
        (["{full}", "--output_dir", "{new}", "--dtype", "fp8"], "expected one of bfloat16, float32"),
        (["{full}", "--output_dir", "/proc/model"], "can't write /proc/model"),
    ],
)
def test_a_wrong_call_exits_with_2_and_says_what_to_type(full, lora, tmp_path, capsys, words, said):
    places = {"full": full, "lora": lora, "tmp": tmp_path, "new": tmp_path / "new"}
    assert main(["export", *(word.format(**places) for word in words)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_run_without_a_checkpoint_says_how_to_get_one(full, tmp_path, capsys):
    shutil.copytree(full, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint-*", "summary.json"))
    assert exported(tmp_path / "run", tmp_path / "new") == 2
    assert "has no checkpoint yet. Go on with the same `train` command" in capsys.readouterr().err


def test_an_unfinished_run_gives_its_last_checkpoint_and_the_card_says_so(full, tmp_path, capsys):
    shutil.copytree(full, tmp_path / "run", ignore=shutil.ignore_patterns("scores_after.json"))
    summary = json.loads((full / "summary.json").read_text())
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | {"status": "stopped", "best": None}))
    assert exported(tmp_path / "run", tmp_path / "new") == 0
    assert "checkpoint-2: the last so far: the run is not finished" in capsys.readouterr().out
    text = (tmp_path / "new" / "README.md").read_text()
    assert "did not come to its end: it is stopped" in text and "Not measured for this checkpoint." in text


def test_where_every_checkpoint_forgot_too_much_none_is_taken_unasked(full, tmp_path, capsys):
    shutil.copytree(full, tmp_path / "run")
    summary = json.loads((full / "summary.json").read_text())
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary | {"best": None}))
    assert exported(tmp_path / "run", tmp_path / "new") == 2
    assert "at each the prior skills had lost more than --max_forgetting" in capsys.readouterr().err
    assert exported(tmp_path / "run", tmp_path / "new", "--checkpoint", "last") == 0


def test_a_whole_model_whose_run_says_that_it_is_in_4_bits_is_refused_by_the_file_that_says_so(full, tmp_path, capsys):
    shutil.copytree(full, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("load_in_4bit: false", "load_in_4bit: true"))
    assert exported(tmp_path / "run", tmp_path / "new") == 2
    assert f"{config} says load_in_4bit, and" in capsys.readouterr().err


def test_a_checkpoint_is_exported_whose_optimizer_was_deleted_to_save_room(full, tmp_path, capsys):
    run = Path(shutil.copytree(full, tmp_path / "run"))
    for file in run.glob("checkpoint-*/optimizer.pt"):
        file.unlink()
    assert main(["export", str(run), "--output_dir", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_a_damaged_checkpoint_is_refused_with_the_file_and_the_others(full, tmp_path, capsys):
    shutil.copytree(full, tmp_path / "run")
    with (tmp_path / "run" / "checkpoint-2" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert exported(tmp_path / "run", tmp_path / "new", "--checkpoint", "last") == 2
    said = capsys.readouterr().err
    assert "is damaged: model.safetensors has SHA-256" in said and "that is there: 1, 2." in said


def test_adapters_whose_base_model_is_gone_say_where_it_was(lora, tmp_path, capsys):
    from trainer.run.checkpoint import write_manifest

    shutil.copytree(lora, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint-2" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "/gone/model"}))
    write_manifest(file.parent)
    assert exported(tmp_path / "run", tmp_path / "new") == 2
    assert "belong to the model '/gone/model', and there is none" in capsys.readouterr().err


def test_answers_part_at_the_first_token_that_differs_and_a_tie_is_no_difference(student):
    ids = [5, 6, 7]
    with torch.no_grad():
        logits = student(torch.tensor([ids])).logits[0, -1]
    first, second = logits.topk(2).indices.tolist()
    found = [[first, 8]]
    assert first_difference(student, [ids], found, found, ties=False) is None
    assert first_difference(student, [ids], [[second, 8]], found, ties=True) == (0, 0)
    assert first_difference(student, [ids], [[first]], found, ties=True) == (0, 1)
    with torch.no_grad():  # both tokens as likely
        student.lm_head.weight[second] = student.lm_head.weight[first]
        assert first_difference(student, [ids], [[second, 8]], found, ties=True) is None
        assert first_difference(student, [ids], [[second, 8]], found, ties=False) == (0, 0)
