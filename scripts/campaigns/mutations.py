"""Values, texts and bytes as nobody expects them, and documents in which a few things are exchanged for such.

Everything is drawn from a given `random.Random`, so that a seed gives the same again.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

DEEP = "\x00deep\x00"  # stands for lists within lists, deeper than `json.dumps` can write them
TEXTS = (
    "",
    " ",
    "\n",
    "\t",
    "0",
    "-1",
    "1e999",
    "NaN",
    "true",
    "null",
    "None",
    "[]",
    "{}",
    "[1,",
    '{"a": 1}',
    '"',
    "'",
    "\\",
    "{x}",
    "{",
    "}",
    "{0}",
    "{prompt}",
    "%s",
    "${HOME}",
    "{{ x }}",
    "{% raise %}",
    "../../etc/passwd",
    "/",
    ".",
    "~",
    "a,b",
    "#",
    "<script>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "Action: x\nAction_Input: {",
    "http://[",
    "https://x:y@z:99999/",
    "\u0000",
    "\u001b[31mred",
    "\r\n",
    "\u2028",
    "\ufeff",
    "\ud83d",
    "e\u0301",
    "\u202e",
    "👩‍👩‍👧",
    "ÄÖÜß",
    "日本語",
    "٣",
    "a" * 100_000,
    "word " * 5_000,
    "-" * 70,
    "user",
    "assistant",
    "system",
    "tool",
    "string",
    "object",
    "array",
    "#/$defs/x",
    "#/",
    "$ref",
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    7,
    0.0,
    -0.0,
    0.5,
    1e-9,
    1e308,
    -1e308,
    1e999,
    -1e999,
    float("nan"),
    2**31,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**30,
    10**400,
    3.14159,
    100,
    65536,
)
Value = Any
Place = tuple[Any, Any]  # a dict or list, and the key or index in it


def odd_value(draw: random.Random) -> Value:
    """Of any type that JSON has, mostly small; now and then too deep or too long."""
    kinds: list[Callable[[], Value]] = [
        lambda: None,
        lambda: draw.random() < 0.5,
        lambda: draw.choice(NUMBERS),
        lambda: draw.choice(TEXTS),
        lambda: [],
        lambda: {},
        lambda: [odd_value(draw) for _ in range(draw.randint(1, 3))],
        lambda: {draw.choice(TEXTS[:40]): odd_value(draw) for _ in range(draw.randint(1, 3))},
        lambda: DEEP if draw.random() < 0.1 else [[["x"]]],
        lambda: json.dumps(odd_value(draw)),
    ]
    return draw.choice(kinds)()


def altered(value: Value, draw: random.Random) -> Value:
    """A value of the same type that is another one: what a slip of the pen makes of it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return draw.choice([value + 1, -value, value * 1000, str(value), float(value) if abs(value) < 1e300 else 0.5])
    if isinstance(value, str):
        cut = draw.randint(0, len(value))
        return draw.choice(
            [
                value[:cut],
                value[cut:],
                value + value,
                value.upper(),
                f" {value} ",
                value[::-1],
                [value],
                value[:cut] + draw.choice(TEXTS) + value[cut:],
            ]
        )
    if isinstance(value, list):
        return draw.choice([value[::-1], value * 2, value[:1], value[1:], [value], value[0] if value else None])
    if isinstance(value, dict) and value:
        name = draw.choice(list(value))
        return draw.choice(
            [
                {**value, draw.choice(TEXTS[:60]): odd_value(draw)},
                {k: v for k, v in value.items() if k != name},
                {(k.upper() if k == name else k): v for k, v in value.items()},
                list(value.items()),
                json.dumps(value),
            ]
        )
    return odd_value(draw)


def places_in(value: Value) -> Iterator[Place]:
    """Every place within a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_in(value[key])


def mutated(document: Value, draw: random.Random, times: int | None = None) -> Value:
    """A copy in which some values are odd, altered, exchanged with others, or gone."""
    made = [copy.deepcopy(document)]  # so that the root has a place too
    for _ in range(times or draw.choice((1, 1, 1, 2, 3))):
        found = list(places_in(made))
        holder, key = draw.choice(found)
        kind = draw.random()
        if kind < 0.4:
            holder[key] = odd_value(draw)
        elif kind < 0.8:
            holder[key] = altered(holder[key], draw)
        elif kind < 0.9 and holder is not made:
            del holder[key]
        else:
            other, name = draw.choice(found)
            holder[key] = copy.deepcopy(other[name])
    return made[0]


def json_text(value: Value, draw: random.Random, **options: Any) -> str:
    """As JSON, with the deep places filled in."""
    levels = draw.choice((50, 500, 5_000, 200_000))
    marker, deep = json.dumps(DEEP), draw.choice((("[", "]"), ('{"a":', "}")))
    text = json.dumps(value, ensure_ascii=draw.random() < 0.5, **options)
    return text.replace(marker, deep[0] * levels + "1" + deep[1] * levels).replace(DEEP, "deep")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes after what copies, editors and broken disks do to them."""
    place, more = draw.randint(0, len(content)), draw.randint(1, 40)
    text = content.decode("utf-8", "replace")
    kinds: list[Callable[[], bytes]] = [
        lambda: content[:place],
        lambda: content[place:],
        lambda: content[:place] + draw.randbytes(more) + content[place + more :],
        lambda: content[:place] + bytes(more) + content[place + more :],
        lambda: content[:place] + content[max(0, place - more) : place] + content[place:],
        lambda: content[:place] + content[place + more :],
        lambda: content + content,
        lambda: b"",
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-32"),
        lambda: text.encode("latin-1", "replace") + b"\xe4",
        lambda: content.replace(b'"', "”".encode()),
    ]
    return draw.choice(kinds)()
