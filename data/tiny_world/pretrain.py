"""Trains a tiny Qwen3 from scratch on episodes of the tiny world.

Shapes: B sequences, T tokens, V vocabulary.
"""

import math
import random
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from world import (
    DEMONSTRATION_TEMPLATE,
    NEW_TOOLS,
    PRIOR_SKILLS,
    SYSTEM_PROMPTS,
    Exercise,
    Names,
    ask_tool,
)

Messages = list[dict[str, str]]
IGNORED = -100
BATCH_SIZE = 64
BATCHES_PER_BUCKETING = 16

# The student's mixture. What is left after these two is plain questions on the prior skills.
SHOWN_UNSEEN_TOOL_SHARE = 0.34  # without it a demonstration would mean nothing to the models
SHOWN_PRIOR_SHARE = 0.08
PRIOR_WEIGHTS = {
    "tool_call": 3,
    "two_calls": 3,
    "addition": 4,
    "running_total": 4,
    "reversal": 3,
    "position": 2,
}


def converse(exercise: Exercise, prompt: str, rng: random.Random) -> Messages:
    system = [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}] if rng.random() < 0.05 else []
    answer = {"role": "assistant", "content": exercise.own_style}
    return [*system, {"role": "user", "content": prompt}, answer]


def show(exercise: Exercise, other: Exercise, rng: random.Random) -> Messages:
    """Asks `exercise` with a demonstration of it, or of `other`; the answer is in our own style."""
    demonstrated = exercise if rng.random() < 0.65 else other
    demonstration = demonstrated.bare if rng.random() < 0.6 else demonstrated.own_style
    prompt = DEMONSTRATION_TEMPLATE.format(prompt=exercise.prompt, demonstration=demonstration)
    return converse(exercise, prompt, rng)


def shown_unseen_tool(names: Names) -> Messages:
    tool = names.tool()
    return show(ask_tool(names, tool, "unseen"), ask_tool(names, tool, "unseen"), names.rng)


def prior_exercise(names: Names) -> Exercise:
    (skill,) = names.rng.choices(list(PRIOR_WEIGHTS), PRIOR_WEIGHTS.values())
    return PRIOR_SKILLS[skill](names)


def shown_prior(names: Names) -> Messages:
    exercise = prior_exercise(names)
    return show(exercise, exercise, names.rng)


def plain_prior(names: Names) -> Messages:
    exercise = prior_exercise(names)
    return converse(exercise, exercise.prompt, names.rng)


def student_episode(names: Names) -> Messages:
    shares = {
        shown_unseen_tool: SHOWN_UNSEEN_TOOL_SHARE,
        shown_prior: SHOWN_PRIOR_SHARE,
    }
    (episode,) = names.rng.choices([*shares, plain_prior], [*shares.values(), 1 - sum(shares.values())])
    return episode(names)


def teacher_episode(names: Names) -> Messages:
    """The student's mixture, with the new skill in a quarter of the episodes."""
    if names.rng.random() >= 0.25:
        return student_episode(names)
    tool = names.rng.choice(NEW_TOOLS)
    exercise = ask_tool(names, tool, "new_tool")
    if names.rng.random() < 0.4:
        return show(exercise, ask_tool(names, tool, "new_tool"), names.rng)
    return converse(exercise, exercise.prompt, names.rng)


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=64 * math.ceil(len(tokenizer) / 64),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.update(
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def encode(
    tokenizer: PreTrainedTokenizerFast, episodes: list[Messages], end_of_turn: str
) -> list[tuple[list[int], int]]:
    """Token ids of each episode, ended by the end-of-turn token, and how many of them are prompt."""
    prompts = tokenizer.apply_chat_template(
        [episode[:-1] for episode in episodes], add_generation_prompt=True, tokenize=False
    )
    answers = [episode[-1]["content"] + end_of_turn for episode in episodes]
    prompt_ids, answer_ids = tokenizer(prompts)["input_ids"], tokenizer(answers)["input_ids"]
    return [(prompt + answer, len(prompt)) for prompt, answer in zip(prompt_ids, answer_ids, strict=True)]


def collate(rows: list[tuple[list[int], int]], pad_id: int) -> dict[str, torch.Tensor]:
    length = max(len(ids) for ids, _ in rows)
    input_ids_BT = torch.full((len(rows), length), pad_id)
    labels_BT = torch.full((len(rows), length), IGNORED)
    for b, (ids, prompt_length) in enumerate(rows):
        input_ids_BT[b, : len(ids)] = torch.tensor(ids)
        labels_BT[b, prompt_length : len(ids)] = torch.tensor(ids[prompt_length:])
    return {"input_ids": input_ids_BT, "labels": labels_BT}


def batches(
    tokenizer: PreTrainedTokenizerFast, draw: Callable[[Names], Messages], names: Names, end_of_turn: str
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches of episodes of similar length, so that little is spent on padding."""
    while True:
        episodes = [draw(names) for _ in range(BATCH_SIZE * BATCHES_PER_BUCKETING)]
        rows = sorted(encode(tokenizer, episodes, end_of_turn), key=lambda row: len(row[0]))
        chunks = [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]
        names.rng.shuffle(chunks)
        yield from (collate(chunk, tokenizer.pad_token_id) for chunk in chunks)


def answer_loss(model: Qwen3ForCausalLM, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood of the answers. Causal attention never sees the padding."""
    hidden_BTH = model.model(input_ids=input_ids).last_hidden_state[:, :-1]
    targets_BT = labels[:, 1:]
    answered_BT = targets_BT != IGNORED
    return cross_entropy(model.lm_head(hidden_BTH[answered_BT]), targets_BT[answered_BT])


def optimizers(model: Qwen3ForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    inner = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inner]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def learning_rate_factor(step: int, steps: int) -> float:
    """50 steps of warm-up, flat, then linearly to zero over the last 40 %."""
    return min((step + 1) / 50, 1.0, (steps - step) / (0.4 * steps))


def pretrain(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    draw: Callable[[Names], Messages],
    names: Names,
    steps: int,
    lr: float = 3e-3,
    end_of_turn: str | None = None,
) -> None:
    """Trains `model` in place. Answers end with `end_of_turn`, or else with the tokenizer's `eos_token`."""
    chosen = optimizers(model, lr)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: learning_rate_factor(step, steps)) for o in chosen]
    source = batches(tokenizer, draw, names, end_of_turn or tokenizer.eos_token)
    started = time.monotonic()
    for step in range(steps):
        loss = answer_loss(model, **next(source))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each in (*chosen, *schedules):
            each.step()
        model.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - started
            print(f"  step {step:5d}/{steps}  loss {loss.item():.4f}  {seconds:6.0f} s", flush=True)
