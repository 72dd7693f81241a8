"""Draws the pictures of "how it works": python docs/pictures/draw.py writes the SVG files beside this one.

They follow the reader's light or dark scheme. The micro-batches are those that the trainer itself would cut.
"""

import random
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from trainer.training.microbatches import MicrobatchLimit, group_by_length  # noqa: E402

STYLE = """
  svg { --ink: #1f2328; --soft: #656d76; --paper: #ffffff; --student: #0969da; --teacher: #9a6700; --waste: #d0d7de }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --student: #58a6ff; --teacher: #d29922; --waste: #3d444d }
  }
  rect.paper { fill: var(--paper) }
  text { fill: var(--ink); font: 13px system-ui, sans-serif }
  text.soft { fill: var(--soft); font-size: 12px }
  text.title { font-weight: 600 }
  text.mono { font: 13px ui-monospace, monospace }
  .student { stroke: var(--student) } .teacher { stroke: var(--teacher) } .plain { stroke: var(--soft) }
  rect.student.full { fill: var(--student); stroke: none } rect.teacher.full { fill: var(--teacher); stroke: none }
  rect.waste { fill: var(--waste) }
  .open { fill: none; stroke-width: 1.5 }
  path { fill: none; stroke: var(--soft); stroke-width: 1.5; marker-end: url(#head) }
  path.cut { marker-end: none; stroke-dasharray: 3 3 }
  #head path { fill: var(--soft); stroke: none; marker-end: none }
"""
HEAD = (
    '<marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
    '<path d="M0 0 8 4 0 8z"/></marker>'
)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def block(x: float, y: float, width: float, height: float, kind: str, corner: float = 6) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{corner:g}" class="{kind}"/>'


def arrow(*points: tuple[float, float], kind: str = "") -> str:
    return f'<path class="{kind}" d="M{" L".join(f"{x:g} {y:g}" for x, y in points)}"/>'


def box(x: float, y: float, width: float, title: str, lines: Sequence[str], kind: str = "plain") -> str:
    height = 32 + 18 * len(lines)
    inside = [text(x + 12, y + 40 + 18 * number, line, "soft") for number, line in enumerate(lines)]
    return "".join([block(x, y, width, height, f"open {kind}"), text(x + 12, y + 22, title, "title"), *inside])


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """An SVG file; `title` is what is read aloud instead of it."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(title)}</title>\n<style>{STYLE}</style>\n<defs>{HEAD}</defs>\n'
        f'<rect class="paper" width="100%" height="100%"/>\n{body}\n</svg>\n'
    )


def step() -> str:
    """What flows in one step."""
    answer = [block(306 + 22 * number, 74, 18, 18, "full student", 3) for number in range(8)]
    likely = {"student": (9, 22, 14, 26, 6, 20, 24, 12), "teacher": (16, 24, 8, 26, 20, 22, 23, 24)}
    bars = [
        block(306 + 22 * number + shift, 200 - height, 8, height, f"full {kind}", 1)
        for (kind, heights), shift in zip(likely.items(), (0, 9), strict=True)
        for number, height in enumerate(heights)
    ]
    return picture(
        720, 290,
        "One step: the student answers the prompt; the teacher, shown a demonstration too, scores each token of the "
        "answer; the student moves towards it, and the teacher follows slowly.",
        [
            box(24, 50, 118, "a row", ["prompt x", "demonstration c"]),
            box(180, 50, 100, "student", ["reads x"], "student"),
            box(180, 130, 100, "teacher", ["reads x, c, y"], "teacher"),
            arrow((142, 68), (178, 68)), arrow((142, 92), (160, 92), (160, 155), (178, 155)),
            text(306, 66, "1   rollout: an answer y of the student's own", "soft"), *answer,
            arrow((280, 83), (300, 83)), arrow((394, 96), (394, 116), (230, 116), (230, 128)),
            text(306, 146, "2   at each token: what would each of both write next?", "soft"), *bars,
            arrow((280, 155), (292, 155), (292, 188), (302, 188)), arrow((306, 201), (480, 201), kind="cut"),
            block(510, 172, 12, 12, "full student", 2), text(528, 182, "student"),
            block(510, 190, 12, 12, "full teacher", 2), text(528, 200, "teacher"),
            text(306, 240, "3   the divergence of the two is the loss; the student takes a step", "soft"),
            arrow((298, 236), (14, 236), (14, 20), (230, 20), (230, 48)),
            text(306, 270, "4   the teacher's weights follow the student's, by 1 % of the way", "soft"),
            arrow((298, 266), (230, 266), (230, 184)),
        ],
    )  # fmt: skip


def microbatches() -> str:
    """One step's rollouts, padded as they come, and cut by the trainer."""
    draw = random.Random(7)
    lengths = [round(24 + 1000 * draw.betavariate(0.9, 3.2)) for _ in range(24)]
    as_they_come = [list(range(start, start + 6)) for start in range(0, 24, 6)]
    cut = group_by_length(lengths, MicrobatchLimit(max_tokens=4096))
    parts = []
    for left, title, groups in (
        (10, "as they come, six at a time", as_they_come),
        (380, "sorted, and cut by tokens", cut),
    ):
        y, used = 54.0, 0
        for group in groups:
            longest = max(lengths[number] for number in group)
            used += longest * len(group)
            for number in group:
                parts += [
                    block(left, y, longest * 0.36, 7, "waste", 1),
                    block(left, y, lengths[number] * 0.36, 7, "full student", 1),
                ]
                y += 9
            y += 9
        padding = 1 - sum(lengths) / used
        parts.append(text(left, 20, title, "title"))
        parts.append(text(left, 40, f"{used:,} tokens are computed, {padding:.0%} of them padding", "soft"))
    return picture(
        720, 310,
        "Rollouts of a step as bars of their length, with grey padding: much of it where they are grouped as they "
        "come, little where they are sorted and cut by tokens.", parts,
    )  # fmt: skip


def chunks() -> str:
    """One text, cut by two tokenizers, and where both cut it."""
    unit, left, parts = 34, 150, []
    rows = (
        (40, "student's tokens", ("Ka", "to", "lo"), "student"),
        (80, "teacher's tokens", ("K", "ato", "lo"), "teacher"),
    )
    for y, title, tokens, kind in rows:
        x = left
        parts.append(text(10, y + 20, title))
        for token in tokens:
            width = unit * len(token)
            parts += [
                block(x + 2, y, width - 4, 30, f"open {kind}", 4),
                text(x + width / 2, y + 20, token, "mono", "middle"),
            ]
            x += width
    for x, word in ((left, ""), (left + 4 * unit, "both cut here"), (left + 6 * unit, "")):
        parts += [arrow((x, 28), (x, 146), kind="cut"), text(x, 20, word, "soft", "middle")]
    for x, width, word in ((left, 4, "chunk"), (left + 4 * unit, 2, "chunk")):
        parts.append(text(x + unit * width / 2, 136, word, "title", "middle"))
    parts += [
        text(390, 52, "log p of a chunk: the sum of its tokens'", "soft"),
        text(390, 76, "student: log p(Ka) + log p(to | Ka)", "mono"),
        text(390, 100, "teacher: log p(K) + log p(ato | K)", "mono"),
    ]
    return picture(
        720, 160,
        "The text Katolo as tokens of two tokenizers, Ka to lo and K ato lo. Both cut it behind Kato: two chunks.",
        parts,
    )  # fmt: skip


PICTURES = {"step.svg": step, "microbatches.svg": microbatches, "chunks.svg": chunks}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")
