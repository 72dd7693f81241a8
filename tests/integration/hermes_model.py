"""A tiny model that calls the tool it is shown, in Hermes' spelling: data/tiny_world/student, fitted to a few rows.

Which of the two names to call only the list of tools in the prompt tells. Beyond `rows()` it means nothing.
Shapes: B sequences, T tokens, H hidden.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

STUDENT = Path(__file__).resolve().parents[2] / "data" / "tiny_world" / "student"
MOST_STEPS, LEARNING_RATE, SEED = 200, 2e-3, 7
SURE = 0.01  # nats a token, below which greedy decoding repeats what was learnt
IGNORED = -100
TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n"
    "{%- if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\n' }}{% endif %}"
    "<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools><|im_end|>\n{% endif %}"
    "{%- for message in messages %}"
    "{%- if not (tools and loop.first and message['role'] == 'system') %}"
    "<|im_start|>{{ message['role'] + '\n' + (message['content'] or '') }}"
    "{%- for call in message['tool_calls'] or [] %}"
    "{{ '\n' if message['content'] or not loop.first else '' }}"
    "{{ '<tool_call>\n{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' }}"
    "{{- call['function']['arguments'] | tojson }}{{ '}\n</tool_call>' }}"
    "{%- endfor %}<|im_end|>\n{% endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ARGUMENTS = {"weather": "city", "height": "peak"}  # what is asked for, and what the tool is given
ENTITIES = ("Katolo", "Sona")
TOOLS = ("tamiko", "monaga")


def tool(name: str, kind: str) -> dict[str, Any]:
    """A tool in OpenAI's spelling."""
    argument = {ARGUMENTS[kind]: {"type": "string"}}
    parameters = {"type": "object", "properties": argument, "required": [ARGUMENTS[kind]]}
    return {"type": "function", "function": {"name": name, "description": kind, "parameters": parameters}}


def rows() -> list[dict[str, Any]]:
    """A question for each kind, entity and name of a tool, with the call that it takes."""
    return [
        {
            "id": f"{kind}-{entity}-{name}",
            "prompt": f"What is the {kind} of {entity}?",
            "tools": [tool(name, kind)],
            "golden_answer": [{"Action": name, "Action_Input": {ARGUMENTS[kind]: entity}}],
        }
        for kind in ARGUMENTS
        for entity in ENTITIES
        for name in TOOLS
    ]


def answer_to(row: dict[str, Any]) -> dict[str, Any]:
    """The assistant's message that a row takes."""
    (action,) = row["golden_answer"]
    function = {"name": action["Action"], "arguments": action["Action_Input"]}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def conversations(tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Token ids of the prompts and of the answers to them."""
    found = []
    for row in rows():
        asked = [{"role": "user", "content": row["prompt"]}]
        prompt, whole = (
            tokenizer.apply_chat_template(messages, tools=row["tools"], tokenize=False, add_generation_prompt=opens)
            for messages, opens in ((asked, True), ([*asked, answer_to(row)], False))
        )
        assert whole.startswith(prompt)
        found.append((tokenizer(prompt)["input_ids"], tokenizer(whole[len(prompt) :].rstrip("\n"))["input_ids"]))
    return found


def batch(pairs: list[tuple[list[int], list[int]]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets; the prompts are not learnt."""
    length = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids_BT = torch.full((len(pairs), length), pad_id)
    targets_BT = torch.full((len(pairs), length), IGNORED)
    for b, (prompt, answer) in enumerate(pairs):
        ids_BT[b, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        targets_BT[b, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids_BT, targets_BT


def fit(model: Any, ids_BT: torch.Tensor, targets_BT: torch.Tensor) -> float:
    """Train the model in place until it is sure; the last loss, in nats a token."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    loss = float("inf")
    for step in range(MOST_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 10)
        hidden_BTH = model.model(input_ids=ids_BT).last_hidden_state[:, :-1]
        answered_BT = targets_BT[:, 1:] != IGNORED
        value = cross_entropy(model.lm_head(hidden_BTH[answered_BT]), targets_BT[:, 1:][answered_BT])
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss = value.item()
        if loss < SURE:
            break
    return loss


def make(folder: Path) -> float:
    """Write the model and its tokenizer; the loss that is left."""
    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])  # as Qwen's: tokens of their own, and text when decoded
    tokenizer.chat_template = TEMPLATE
    model = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    assert len(tokenizer) <= model.config.vocab_size
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # in so small a model a second one only waits for the first
    loss = fit(model, *batch(conversations(tokenizer), tokenizer.pad_token_id))
    torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    return loss
