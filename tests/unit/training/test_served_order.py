"""In which order a step with a served teacher learns, and that it is of no matter to what is learnt."""

import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl.experimental.sdft import SDFTConfig

from trainer.errors import TeacherError
from trainer.run.directory import RunDirectory
from trainer.teachers.tokens.token_scores import TokenScores
from trainer.training.arguments import CHECKPOINTING
from trainer.training.microbatches import MicrobatchLimit
from trainer.training.served_distillation import ServedDistillationTrainer, _take_group

QUESTIONS = [f"what is {a} plus {b} ?" for a in range(4) for b in range(2)]
TOP_K = 4


class Teacher:
    """Is asked like a served one and answers when it is told to."""

    def __init__(self):
        self.requests = {}

    def request(self, row, completion_ids):
        return self.requests.setdefault((row, tuple(completion_ids)), Future())

    def expect(self, row):
        pass

    def forget(self):
        self.requests.clear()

    @property
    def unanswered(self):
        return [key for key, request in self.requests.items() if not request.done()]

    def answer(self, key):
        """Log-probabilities of a chance distribution that depends on the completion alone."""
        _, ids = key
        draw = np.random.default_rng(ids)
        logits_NV = torch.from_numpy(draw.normal(0, 3, (len(ids), 512)).astype(np.float32))
        logps_NV = logits_NV.log_softmax(-1)
        top = logps_NV.topk(TOP_K)
        sampled_N = logps_NV[range(len(ids)), list(ids)]
        self.requests[key].set_result(TokenScores(top.indices.numpy(), top.values.numpy(), sampled_N.numpy()))


def build(path, folder, teacher, limit):
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    turns = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    args = SDFTConfig(
        output_dir=str(folder), report_to="none", disable_tqdm=True, bf16=False, **{CHECKPOINTING: False},
        learning_rate=1e-2, per_device_train_batch_size=len(QUESTIONS), gradient_accumulation_steps=1, max_steps=2,
        logging_steps=1, save_strategy="no", dataloader_pin_memory=False, distillation_mode="full_logits",
        distillation_alpha=0.0, num_loss_tokens_to_skip=1, teacher_model_kind="live", num_generations=1,
        max_prompt_length=None, max_completion_length=24, optim="sgd",  # Adam makes much of differences in rounding
    )  # fmt: skip
    return ServedDistillationTrainer(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), args=args,
        train_dataset=Dataset.from_dict({"prompt": prompts, "row": list(range(len(prompts)))}),
        processing_class=tokenizer, run_directory=RunDirectory(folder), limit=MicrobatchLimit(max_sequences=limit),
        teacher=teacher, credit="dpca", clip=5.0,
    )  # fmt: skip


def learnt(trainer, when_waiting):
    """The weights after training, and the micro-batches of each step."""
    set_seed(3)
    trainer.wait_for_any = when_waiting
    trainer.train()
    counts = [record["microbatches"] for record in trainer.state.log_history if "microbatches" in record]
    return {name: w.detach().clone() for name, w in trainer.model.named_parameters()}, counts


ORDERS = {
    "as it was asked": lambda keys: keys[0],
    "the other way round": lambda keys: keys[-1],
    "by chance": lambda keys: min(keys, key=hash),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("limit", [3, 8])
def test_the_order_in_which_a_teacher_answers_is_of_no_matter_to_what_is_learnt(student_path, tmp_path, order, limit):
    teacher, at_once = Teacher(), Teacher()
    slow = build(student_path, tmp_path / "slow", teacher, limit)
    fast = build(student_path, tmp_path / "fast", at_once, limit)
    found, more = learnt(slow, lambda requests: teacher.answer(order(teacher.unanswered)))
    expected, fewest = learnt(fast, lambda requests: [at_once.answer(key) for key in at_once.unanswered])
    assert all(a >= b for a, b in zip(more, fewest, strict=True))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-5, msg=name)


def test_the_student_reads_its_answers_while_the_teacher_thinks(student_path, tmp_path):
    teacher = Teacher()
    trainer = build(student_path, tmp_path, teacher, limit=8)

    def think(module, arguments, states):
        if module.training:  # not while it rolls out
            [teacher.answer(key) for key in teacher.unanswered]

    trainer.model.model.register_forward_hook(think)
    learnt(trainer, lambda requests: pytest.fail("waits, though the teacher answers within the forward pass"))
    assert [record["seconds/waiting"] for record in trainer.state.log_history if "loss" in record] == [0, 0]


def test_the_seconds_of_waiting_are_told(student_path, tmp_path):
    teacher = Teacher()
    trainer = build(student_path, tmp_path, teacher, limit=8)

    def answer_late(requests):
        time.sleep(0.05)
        [teacher.answer(key) for key in teacher.unanswered]

    learnt(trainer, answer_late)
    told = [record for record in trainer.state.log_history if "loss" in record]
    assert all(record["seconds/waiting"] >= 0.05 for record in told) and len(told) == 2


def test_a_failed_request_ends_the_step_although_it_is_of_another_group(student_path, tmp_path):
    teacher = Teacher()
    trainer = build(student_path, tmp_path, teacher, limit=2)

    def fail_the_last_asked(requests):
        teacher.requests[teacher.unanswered[-1]].set_exception(TeacherError("gone"))

    with pytest.raises(TeacherError, match="gone"):
        learnt(trainer, fail_the_last_asked)
    assert trainer.state.global_step == 0 and len(teacher.unanswered) == len(QUESTIONS) - 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.data())
def test_every_rollout_is_learnt_from_once_and_answered_groups_come_first(sizes, data):
    numbers = iter(range(sum(sizes)))
    groups = [[next(numbers) for _ in range(size)] for size in sizes]
    requests = {index: Future() for group in groups for index in group}
    left, taken = list(groups), []
    while left:
        for index in data.draw(st.sets(st.sampled_from([*requests]))):
            if not requests[index].done():
                requests[index].set_result(None)
        whole = [group for group in left if all(requests[index].done() for index in group)]
        last = left[-1]
        group = _take_group(left, requests)
        assert group == (whole[0] if whole else last[len(last) // 2 :])
        taken += group
    assert sorted(taken) == sorted(requests)
