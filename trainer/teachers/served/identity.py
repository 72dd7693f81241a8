"""Who is this teacher? What has to be known before its scores of a student's tokens mean anything.

Ids of one tokenizer never go to a model of another: most are legal there, and the answer would be garbage without an
error. So the tokenizers are compared by their work, on texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import COMMAND
from ...errors import TeacherError
from ..tokens.token_bytes import SPELLING_PROBES, Special, Spelling, detect_spelling, joined, spelled
from .client import TeacherClient
from .failures import RequestRefused

PROBES = (
    "The quick brown fox doesn't jump over 12 lazy dogs.",
    "  two spaces,\ttabs\t\tand\n\n\nlines  \r\n end ",
    "0 7 42 365 1024 31337 3.14159 1,000,000 2^10 00012345678901234567890",
    "def f(x: int) -> str:\n    return f'{x!r}'  # <tag attr=\"v\"/> && || != ==",
    '{"tool": "weather", "arguments": {"city": "São Paulo", "days": [1, 2, 3]}}',
    "Zażółć gęślą jaźń, Ελλάδα, привет, مرحبا, שלום, नमस्ते",
    "東京の天気は晴れです。서울의 날씨 北京天气很好",
    "🙂👩‍👩‍👧🏽🇪🇺 é é ﬁ ½ ℝ ∑ →",
    "thisisaverylongwordwithoutanyspacesinitandthenmore AbCdEf_GhI-jKl",
    *SPELLING_PROBES,
)
SENTINEL = "zebra"  # what an assistant says where the end of its turn is looked for
# Words that no model foresees, so that models which agree on what is obvious differ in it.
QUESTION = "What is the capital of France?"
ANSWER = "Paris. Zugzwang, 7193 pelicans; a violet umbrella (0x3fa9) hums beneath the marsh: quartz? Twelve, unless."


OTHERS = f"--objective served needs them; sdft and seqkd do without. `{COMMAND} check URL` tells what is there."


class Unfit(TeacherError):
    """The teacher answers, and can't do what it is needed for."""


@dataclass(frozen=True)
class TokenizerComparison:
    """How student and teacher cut the same texts.

    Attributes:
        route: `token` where all are cut alike, else `byte`.
        evidence: In a sentence.
        cleaned_up: Whether the server drops spaces before punctuation when it decodes.
        spelling: Of the server's token strings; None on the token route.
    """

    route: str
    evidence: str
    cleaned_up: bool = False
    spelling: Spelling | None = None


async def compare_tokenizers(
    client: TeacherClient, tokenizer: Any, texts: Sequence[str] = (), *, force_bytes: bool = False
) -> TokenizerComparison:
    """Cut texts of all sorts, the student's added tokens and `texts` with both tokenizers.

    Args:
        tokenizer: The student's, of transformers.
        texts: Further ones, e.g. of the training data.
        force_bytes: Take the byte route in any case.

    Raises:
        TeacherError: the server's token strings don't give the text back, and the byte route needs them.
    """
    added = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()})
    probes = [*PROBES, *(f"a{token}b" for token in added), *texts]
    cuts = [await client.tokenize(text) for text in probes]
    theirs = [cut.ids for cut in cuts]
    ours = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in probes]
    differing = [n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if list(a) != list(b)]
    evidence = _evidence(probes, ours, theirs, differing)
    if not differing and not force_bytes:
        return TokenizerComparison("token", evidence)
    spelled = [(text, cut) for text, cut in zip(probes, cuts, strict=True) if text in SPELLING_PROBES]
    cleaned_up = [await client.detokenize(cut.ids) for _, cut in spelled] != [text for text, _ in spelled]
    evidence += "; --tokenizer_route byte" if not differing else ""
    return TokenizerComparison(
        "byte", evidence, cleaned_up, detect_spelling([(text, cut.strings) for text, cut in spelled])
    )


def _evidence(probes: list[str], ours: list[Any], theirs: list[Any], differing: list[int]) -> str:
    if not differing:
        return f"all of {len(probes)} texts are cut into the same token ids as the student's"
    n = differing[0]
    return (
        f"{len(differing)} of {len(probes)} texts are cut into other token ids than the student's, e.g. "
        f"{probes[n][:40]!r} into {list(theirs[n])[:8]}, expected {list(ours[n])[:8]}"
    )


async def end_of_turn(client: TeacherClient, spelling: Spelling, *, enable_thinking: bool) -> int:
    """The id of the token by which the teacher's chat template ends an answer, or begins what follows it.

    Raises:
        TeacherError: the template shows no answer, or nothing behind it.
    """
    conversation: list[Any] = [
        {"role": "user", "content": "Say it."},
        {"role": "assistant", "content": SENTINEL},
        {"role": "user", "content": "Again."},
    ]
    rendered = await client.render(conversation, enable_thinking=enable_thinking, add_generation_prompt=False)
    tokens = [spelling.token(string) for string in rendered.strings]
    before, sentinel, _ = joined(tokens).rpartition(SENTINEL.encode())
    begins = np.cumsum([0, *(len(spelled(token)) for token in tokens)])[:-1]
    behind = np.flatnonzero(begins >= len(before + sentinel)).tolist() if sentinel else []
    if not behind:
        raise TeacherError(
            f"the teacher's chat template renders {conversation} as {rendered.strings}, expected a token behind the "
            "answer that ends it. Pass --teacher_tokenizer FOLDER|HUB_NAME, the teacher's tokenizer."
        )
    special = [n for n in behind if isinstance(tokens[n], Special)]
    return rendered.ids[(special or behind)[0]]


async def signatures(servers: Sequence[TeacherClient], top_k: int, *, enable_thinking: bool) -> list[np.ndarray]:
    """What the teacher is recognised by: log-probabilities [N] of the tokens of a fixed answer, from each server.

    Args:
        servers: One client for each replica. Those that don't answer are left out, unless none does.

    Raises:
        TeacherError: no server answers, or one gives no log-probabilities of prompts, or fewer than `top_k` a position.
    """
    found, failures = [], []
    for server in servers:
        try:
            found.append(await _signature(server, top_k, enable_thinking))
        except Unfit:
            raise
        except TeacherError as failure:
            failures.append(failure)
    if not found:
        raise failures[0]
    return found


async def _signature(client: TeacherClient, top_k: int, enable_thinking: bool) -> np.ndarray:
    prompt = await client.render([{"role": "user", "content": QUESTION}], enable_thinking=enable_thinking)
    answer = await client.tokenize(ANSWER)
    try:
        scores = await client.score(prompt.ids, answer.ids, top_k=top_k)
    except RequestRefused as refusal:
        if refusal.status not in (400, 422):
            raise
        few = "logprobs" in str(refusal)
        mend = f"Start vLLM with `--max-logprobs {top_k}`, or pass a smaller --teacher_top_k."
        raise Unfit(
            f"the teacher at {client.base_url} does not give the {top_k} likeliest tokens of a prompt's positions: "
            f"{refusal} {mend if few else OTHERS}"
        ) from refusal
    return scores.sampled_logps_N
