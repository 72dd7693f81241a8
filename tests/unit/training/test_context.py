"""`train --context`: the teacher of `sdft` reads the context beside each prompt, the student the prompt alone.

Shapes: T tokens of a rollout, V vocabulary.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from trainer.__main__ import main

CONTEXT = 'Action: tamiko\nAction_Input: {"daso": "Nake"}'
QUESTIONS = ["What is the velora of Katolo?", "Tell me the velora of Sona."]
ANSWERS = "<|im_start|>assistant\n"
SHOWN = {
    "template": "<|im_start|>user\n{question}\n\nThis is an example for a response to the question:\n{context}\n\n"
    f"Now answer with a response of your own, including the thinking process.<|im_end|>\n{ANSWERS}",
    "system": f"<|im_start|>system\n{{context}}<|im_end|>\n<|im_start|>user\n{{question}}<|im_end|>\n{ANSWERS}",
}


@pytest.fixture
def sample(student_path: str, tmp_path: Path):
    """Trains one step on prompts alone, and gives its sample."""
    (tmp_path / "context.txt").write_text(CONTEXT + "\n")
    (tmp_path / "prompts.json").write_text(json.dumps([{"prompt": question} for question in QUESTIONS]))

    def train(*arguments: str) -> dict:
        flags = {
            "model_name_or_path": student_path,
            "train_data_path": tmp_path / "prompts.json",
            "context": tmp_path / "context.txt",
            "output_dir": tmp_path / "run",
            "max_prompt_length": 128,
            "max_completion_length": 32,
            "num_prompts_per_batch": 2,
            "bf16": False,  # on a GPU too: the divergence is compared with that of a float32 model
            "max_steps": 1,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        assert main(["train", "--local_files_only", *words, *arguments]) == 0
        return json.loads((tmp_path / "run" / "samples.jsonl").read_text())

    return train


@pytest.mark.parametrize("how", SHOWN)
def test_the_divergence_is_that_from_the_same_model_which_has_read_the_context(sample, student, student_path, how):
    tokenizer = AutoTokenizer.from_pretrained(student_path)
    found = sample("--show_context", how)
    question = next(each for each in QUESTIONS if each in found["prompt"])
    assert found["prompt"] == f"<|im_start|>user\n{question}<|im_end|>\n{ANSWERS}"
    by_text = {tokenizer.decode([token]): token for token in range(len(tokenizer))}
    completion = [by_text[text] for text in found["tokens"]]

    def logps_TV(prompt: str) -> torch.Tensor:
        ids = tokenizer(prompt)["input_ids"]
        with torch.no_grad():
            logits = student(torch.tensor([ids + completion])).logits[0, len(ids) - 1 : -1]
        return logits.log_softmax(-1)

    student_TV, teacher_TV = logps_TV(found["prompt"]), logps_TV(SHOWN[how].format(question=question, context=CONTEXT))
    expected_T = (teacher_TV.exp() * (teacher_TV - student_TV)).sum(-1)
    in_loss = torch.tensor(found["in_loss"])
    told = torch.tensor([value for value in found["divergence"] if value is not None])
    torch.testing.assert_close(told, expected_T[in_loss], atol=1e-3, rtol=1e-3)
    assert told.max() > 1  # nats: without the context teacher and student are the same model


def test_prompts_alone_without_a_context_are_refused_and_told_of_it(student_path: str, tmp_path: Path, capsys):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"prompt": question} for question in QUESTIONS]))
    flags = ["--model_name_or_path", student_path, "--train_data_path", str(path), "--output_dir", str(tmp_path / "r")]
    assert main(["train", "--local_files_only", *flags]) == 2
    assert "--context FILE is one for all rows" in capsys.readouterr().err
