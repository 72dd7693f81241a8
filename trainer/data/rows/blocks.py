"""Messages whose calls and results stand in blocks of content, or as items beside them, as OpenAI's chat has them.

Anthropic (`tool_use`, `tool_result`, `thinking`), Bedrock (`toolUse`, `toolResult`), Gemini (`parts` with
`functionCall`, `functionResponse`), and OpenAI's Responses (items of type `function_call`, `function_call_output`).
"""

import json
from collections.abc import Iterator
from typing import Any

from .row import BadRow

Block = dict[str, Any]
CALLS = ("tool_use", "toolUse", "tool_call", "functionCall", "function_call")
RESULTS = ("tool_result", "toolResult", "functionResponse", "function_response", "function_call_output")
THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "reasoningContent")
IDS = ("id", "toolUseId", "tool_use_id", "call_id")
NOTHING: Block = {"type": "text", "text": ""}  # in place of a block, so that the others keep their numbers


def unfolded(item: Any) -> list[Any]:
    """The messages that an item of a conversation stands for, in the order in which they are said.

    What is no block of a call, of a result or of thinking stays as it is, and so do items that are none at all.
    """
    if not isinstance(item, dict):
        return [item]
    if "role" not in item and "from" not in item and _kind(item) in (*CALLS, *RESULTS, *THOUGHTS):
        return [*_of_item(item)]
    if isinstance(item.get("parts"), list) and item.get("content") is None:
        item = {"role": "user"} | {key: value for key, value in item.items() if key != "parts"} | {
            "content": [_named_media(part) for part in item["parts"]]
        }  # fmt: skip
    blocks = item.get("content")
    if not isinstance(blocks, list) or not any(_kind(block) in (*CALLS, *RESULTS, *THOUGHTS) for block in blocks):
        return [item]
    return [*_of_blocks(item, blocks)]


def is_call(item: Any) -> bool:
    """Whether an item is a call that no message is around: it belongs to the assistant's message before it."""
    return isinstance(item, dict) and "role" not in item and _kind(item) in CALLS


def joined_texts(value: Any) -> str | None:
    """The text of what may be a text, blocks of text, or an object that holds either; None where it is none of them."""
    if isinstance(value, dict):
        value = value.get("parts", value.get("content", value.get("text")))
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, dict) and isinstance(each.get("text"), str) for each in value):
        return "\n\n".join(each["text"] for each in value)
    return None


def _kind(block: Any) -> str | None:
    """The type of a block, which Gemini and Bedrock have as its key."""
    if not isinstance(block, dict):
        return None
    kind = block.get("type")
    if isinstance(kind, str):
        return kind
    return next((key for key in (*CALLS, *RESULTS, *THOUGHTS) if isinstance(block.get(key), dict)), None)


def _inner(block: Block) -> Block:
    return block if isinstance(block.get("type"), str) else block[str(_kind(block))]


def _named_media(part: Any) -> Any:
    """A part of Gemini's that is no text, with its key as its type."""
    if isinstance(part, dict) and "type" not in part and "text" not in part and _kind(part) is None and part:
        return {"type": next(iter(part))}
    return {"type": "thinking", "thinking": part["text"]} if isinstance(part, dict) and part.get("thought") else part


def _of_item(item: Block) -> Iterator[Block]:
    kind = _kind(item)
    if kind in CALLS:
        yield {"role": "assistant", "tool_calls": [_call(_inner(item))]}
    elif kind in RESULTS:
        yield _result(_inner(item))


def _of_blocks(message: Block, blocks: list[Any]) -> Iterator[Block]:
    kinds = [_kind(block) for block in blocks]
    calls = [_call(_inner(block)) for kind, block in zip(kinds, blocks, strict=True) if kind in CALLS]
    yield from (_result(_inner(block)) for kind, block in zip(kinds, blocks, strict=True) if kind in RESULTS)
    special = (*CALLS, *RESULTS, *THOUGHTS)
    rest = [NOTHING if kind in special else block for kind, block in zip(kinds, blocks, strict=True)]
    says = any(block != NOTHING for block in rest)
    more = {"content": rest if says else None} | ({"tool_calls": calls} if calls else {})
    if says or calls or not any(kind in RESULTS for kind in kinds):
        yield message | more


def _call(block: Block) -> Block | str:
    """A call as OpenAI's chat has it, or the JSON text of one."""
    if isinstance(block.get("function"), dict):
        return block
    if isinstance(block.get("value"), str):
        return block["value"]
    arguments = next((block[key] for key in ("input", "args", "arguments") if block.get(key) is not None), {})
    id = next((block[key] for key in ("call_id", *IDS) if isinstance(block.get(key), str)), None)
    call = {"type": "function", "function": {"name": block.get("name"), "arguments": arguments}}
    return call if id is None else {"id": id} | call


def _result(block: Block) -> Block:
    said = next((block[key] for key in ("content", "output", "response") if block.get(key) is not None), "")
    message: Block = {"role": "tool", "content": _result_text(said)}
    id = next((block[key] for key in ("tool_use_id", "toolUseId", "call_id") if isinstance(block.get(key), str)), None)
    named = {"name": block["name"]} if isinstance(block.get("name"), str) else {}
    return message | named | ({} if id is None else {"tool_call_id": id})


def _result_text(value: Any) -> Any:
    """Blocks stay blocks, which are joined or refused where messages are read; other values are JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, dict) and ("type" in each or "text" in each) for each in value):
        return value
    if isinstance(value, list) and all(isinstance(each, dict) and set(each) == {"json"} for each in value):
        value = value[0]["json"] if len(value) == 1 else [each["json"] for each in value]
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadRow(f"the result of a call holds what JSON lacks: {error}.") from error
