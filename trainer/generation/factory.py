"""The pipeline: from numbers to rows that are worth training on, many at once, with nothing paid for twice.

What number N becomes depends on the recipe, the seed and N alone: every request has a seed of its own, rows are judged
in the order of their numbers, and the first good ones are kept. So neither concurrency nor interruptions change them.
The journal keeps the teacher's answers, not what is made of them.
"""

import asyncio
import contextlib
import dataclasses
import json
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data.actions.answers import golden_actions, same_inputs, same_sequence
from ..data.privileged import plain_golden
from ..data.rows.row import Message, Row, Tool
from ..data.rows.values import unfit_value
from ..errors import TeacherError
from ..run.journal import Journal
from ..run.progress import Progress
from ..settings.options import Generate
from ..teachers.preflight import TeacherIdentity, identify
from ..teachers.served.batch import all_of, row_seed, run_bounded
from ..teachers.served.chat_messages import ChatAnswer
from ..teachers.served.client import TeacherClient
from ..teachers.served.failures import RequestRefused
from .checks import Answered, broken, content_of, unwritable_call
from .duplicates import Duplicates
from .prompts import Commission, Commissions, Draft, place_of_request
from .recipe import Recipe
from .tools import BAD_ARGUMENTS

CANDIDATES_PER_ROW = 4  # that the teacher may write for each row asked for
MOST_AT_ONCE = 1024  # requests, where nobody says how many
OTHER_FILES = 64  # that the process may have open besides connections
ALL_REFUSED = 32  # requests; where not one of so many first ones was answered, the rest won't be
GRADING_TOKENS = 512
GRADE = re.compile(r"\bgrade\W{1,6}(10|[1-9])\b(?![.,]\d)", re.IGNORECASE)
PROMPT_CHECKS = ("truncated", "empty", "refusal", "wrong_language", "template_echo", "thinking_leak")


@dataclass(frozen=True)
class Candidate:
    """What became of a number.

    Attributes:
        row: Without an answer.
        words, asked: By which a duplicate is recognised, see `Draft`; None where there is no prompt.
        reason: The rule that it breaks; None: it is good.
        answer: The text that broke it.
        repeats: The id of the kept row that it is a duplicate of.
        good: The row with its answer, where that is good.
    """

    row: Row
    words: str | None
    reason: str | None
    answer: str | None = None
    repeats: str | None = None
    good: Row | None = None
    asked: str | None = None


@dataclass
class Spent:
    """Requests to the teacher, and the tokens of its answers."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, answer: ChatAnswer, requests: int = 1) -> None:
        self.requests += requests
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens


class Factory:
    """Makes candidates until enough are good.

    Args:
        prompts: Given ones, or commissions of them.
        journal: Has the answers of earlier runs, gets the new ones.

    Attributes:
        kept: Good rows in the order of their numbers, at most as many as wanted.
        rejected: The other candidates before the last of them, by number.
        identity: The teacher; None as long as nothing is asked of it.
        new_rows: Of those kept, the ones that this run paid for.
        spent: What this run paid for.
        earlier: What it found in the journal.
    """

    def __init__(self, settings: Generate, recipe: Recipe, prompts: Commissions | Sequence[Draft], journal: Journal):
        self.settings = settings
        self.recipe = recipe
        self.prompts = prompts
        self.journal = journal
        self.wanted = settings.train_samples + settings.eval_samples
        self.kept: list[Row] = []
        self.rejected: dict[int, Candidate] = {}
        self.identity: TeacherIdentity | None = None
        self.refusal = ""
        self.new_rows = 0
        self.spent = Spent()
        self.earlier = Spent()
        for record in journal.records.values():
            self.earlier.add(ChatAnswer(**record))
        self.began = time.monotonic()
        self._duplicates = Duplicates(self.near_duplicates)
        self._asked: set[int] = set()
        self._identifying = asyncio.Lock()
        self._refused = self._answered = 0
        self._made: dict[int, Candidate] = {}
        self._hopeful = 0  # of those made: good, and not settled
        self.client = TeacherClient(
            settings.base_url,
            settings.model,
            api_key=settings.api_key,
            max_concurrency=settings.vllm_server_max_concurrency or min(MOST_AT_ONCE, connections_at_most()),
            adapts=True,
            patience=settings.teacher_patience,
        )

    @property
    def near_duplicates(self) -> float | None:
        """The similarity from which on a candidate is rejected: a user's own prompts only where that is asked for."""
        rejects = isinstance(self.prompts, Commissions) or self.settings.reject_near_duplicates
        return self.recipe.near_duplicates if rejects else None

    @property
    def limit(self) -> int:
        """Numbers at most."""
        return CANDIDATES_PER_ROW * self.wanted if isinstance(self.prompts, Commissions) else len(self.prompts)

    @property
    def settled(self) -> int:
        """Numbers that are kept or rejected."""
        return len(self.kept) + len(self.rejected)

    async def run(self, progress: Progress) -> None:
        """Work until enough candidates are good, or none is left.

        A candidate is begun only if it is needed even where all before it are good. What is paid for in vain is the
        answer to a prompt that is begun before the one which it repeats is answered.

        Raises:
            TeacherError: the teacher is gone or unfit.
        """
        async with self.client:

            async def work(number: int) -> None:
                self._made[number] = candidate = await self._make(number)
                self._hopeful += candidate.reason is None
                self._settle()
                progress.reach(len(self.kept), self._details(), earlier=len(self.kept) - self.new_rows)

            await run_bounded(work, range(self.limit), self._room)

    async def _identify(self) -> None:
        """Know the teacher before the first request to it; a run that finds all in its journal needs none."""
        async with self._identifying:
            if self.identity is not None:
                return
            identity = await identify(self.client)
            self._require_room(identity)
            self.identity = identity

    def _require_room(self, identity: TeacherIdentity) -> None:
        window, tokens = identity.max_model_len, self.max_tokens
        if window is not None and window <= tokens:
            raise TeacherError(
                f"the teacher's context has {window} tokens, which leaves no room for a prompt beside the {tokens} of "
                "an answer. Pass a smaller --max_tokens."
            )

    def _details(self) -> str:
        seconds = max(time.monotonic() - self.began, 1e-9)
        return (
            f"{self.spent.completion_tokens / seconds:.0f} tokens/s, "
            f"{len(self.kept) / max(self.settled, 1):.0%} accepted, {self.client.retries} retries"
        )

    def _room(self) -> int:
        """How many candidates may be in work: more than slots, so that none is idle."""
        return min(2 * self.client.pace.limit, self.wanted - len(self.kept) - self._hopeful)

    def _settle(self) -> None:
        """Keep or reject, in the order of numbers, all candidates that have none unmade before them."""
        while len(self.kept) < self.wanted and (candidate := self._made.pop(self.settled, None)) is not None:
            self._hopeful -= candidate.reason is None
            self._forget(self.settled)
            again = None if candidate.words is None else self._duplicates.of(candidate.words, candidate.asked)
            if again is not None:
                rule, former = again
                self.rejected[self.settled] = Candidate(candidate.row, None, rule, repeats=former)
            elif candidate.good is None:
                self.rejected[self.settled] = candidate
            else:
                self._duplicates.add(candidate.row.id, candidate.words or "", candidate.asked)
                self.new_rows += self.settled in self._asked
                self.kept.append(candidate.good)

    def _forget(self, number: int) -> None:
        """Drop what the journal holds of a settled number from memory."""
        places = range(self.settings.best_of)
        for stage in ("request", *(f"{stage}/{place}" for stage in ("answer", "grade") for place in places)):
            self.journal.records.pop(f"{number}/{stage}", None)

    # ---- one candidate

    async def _make(self, number: int) -> Candidate:
        prompt = self.prompts[number]
        if isinstance(prompt, Commission):
            written = await self._request(number, prompt)
            if isinstance(written, Candidate):
                return written
            prompt = written
        if self._duplicates.of(prompt.words, prompt.asked) is not None:  # of a kept row: rejected, whatever the answer
            return _rejected(prompt, "duplicate")
        return await self._answer(number, prompt)

    async def _request(self, number: int, commission: Commission) -> Draft | Candidate:
        """The prompt that the teacher wrote, or why it is of no use."""
        row = Row(commission.id, commission.messages, extra=commission.about)
        answer = await self._ask(f"{number}/request", commission.messages, self.max_tokens, self.temperature)
        if answer is None:
            return Candidate(row, None, "request_refused")
        found = Answered(commission.messages, commission.messages, answer, self.recipe.language)
        rule = broken(found, [name for name in self.recipe.checks if name in PROMPT_CHECKS])
        request = without_quotes(answer.text.strip())
        if rule is not None or not request:
            return Candidate(row, None, f"request_{rule or 'empty'}", answer.text)
        return commission.draft(request)

    async def _answer(self, number: int, draft: Draft) -> Candidate:
        """The best of the good answers; where none is good, the best graded of the others, else the first."""
        places = range(self.settings.best_of)
        tries = [self._graded_answer(number, draft, place) for place in places]
        if len(tries) == 1 or all(f"{number}/answer/{place}" in self.journal.records for place in places):
            # Nothing to wait for, so that a repeated run settles each number before the next, and asks for nothing new.
            graded = [await each for each in tries]
        else:
            graded = await all_of(tries)
        return max(graded, key=lambda found: (found[1].reason is None, found[0]))[1]  # the first of equal ones

    async def _graded_answer(self, number: int, draft: Draft, place: int) -> tuple[int, Candidate]:
        """The answer's grade, 0 where it has none, and the candidate."""
        candidate = await self._good_answer(number, draft, place)
        if candidate.reason is not None or (self.settings.judge is None and self.settings.best_of == 1):
            return 0, candidate
        return await self._graded(number, draft, candidate, place)

    async def _good_answer(self, number: int, draft: Draft, place: int) -> Candidate:
        shown, place_asked = [*draft.row.prompt], place_of_request(draft.row.prompt)
        request = shown[place_asked]
        shown[place_asked] = {**request, "content": self.recipe.answer.format(prompt=content_of(request))}
        key, tools = f"{number}/answer/{place}", draft.row.tools
        answer = await self._ask(key, shown, self.max_tokens, self.temperature, tools=tools)
        if answer is None:
            return _rejected(draft, "refused")
        found = Answered(draft.row.prompt, shown, answer, self.recipe.language, draft.tools, tools)
        rule = broken(found, self.recipe.checks) or broken_without_a_recipe(draft.row, found)
        if rule is not None:
            return _rejected(draft, rule, answer.with_calls)
        good = answered(draft, found)
        return Candidate(draft.row, draft.words, None, good=good, asked=draft.asked)

    # ---- grades

    async def _graded(self, number: int, draft: Draft, candidate: Candidate, place: int) -> tuple[int, Candidate]:
        """A good candidate with the teacher's grade; rejected below the floor."""
        assert candidate.good is not None
        text = plain_golden(candidate.good) or ""
        request = content_of(draft.row.prompt[place_of_request(draft.row.prompt)])
        asked = self.recipe.grading.format(prompt=request, answer=text)
        messages: list[Message] = [{"role": "user", "content": asked}]
        answer = await self._ask(f"{number}/grade/{place}", messages, GRADING_TOKENS, 0.0, thinks=False)
        grade = parse_grade(answer.text) if answer is not None else None
        if grade is None:
            return 0, _rejected(draft, "ungraded", text)
        if grade < (self.settings.judge or 0):
            return grade, _rejected(draft, "low_grade", text)
        good = dataclasses.replace(candidate.good, extra={**candidate.good.extra, "judge_grade": grade})
        return grade, dataclasses.replace(candidate, good=good)

    # ---- one request

    @property
    def max_tokens(self) -> int:
        return self.settings.max_tokens or self.recipe.max_tokens

    @property
    def temperature(self) -> float:
        return self.recipe.temperature if self.settings.temperature is None else self.settings.temperature

    async def _ask(
        self,
        key: str,
        messages: list[Message],
        max_tokens: int,
        temperature: float,
        *,
        tools: list[Tool] | None = None,
        thinks: bool = True,
    ) -> ChatAnswer | None:
        """The answer to a request, out of the journal or into it; None where the server refuses it.

        A refusal is not kept: to ask again costs nothing.

        Raises:
            TeacherError: the teacher is gone or unfit, or refuses everything.
        """
        known = self.journal.records.get(key)
        if known is not None:
            return ChatAnswer(**known)
        if self.identity is None:
            await self._identify()
        number, _, stage = key.partition("/")
        self._asked.add(int(number))
        self.spent.requests += 1
        try:
            answer = await self.client.chat(
                messages,
                tools,
                max_tokens=max_tokens,
                temperature=temperature,
                seed=row_seed(self.settings.seed, int(number), stage),
                enable_thinking=self.settings.enable_thinking and thinks,
            )
        except RequestRefused as refusal:
            self._count(refusal)
            return None
        self.journal.add(key, {**vars(answer)})
        self.spent.add(answer, requests=0)
        self._answered += 1
        return answer

    def _count(self, refusal: RequestRefused) -> None:
        """Raise a refusal where the teacher refused all requests so far, and these were many."""
        self.refusal = self.refusal or str(refusal)
        self._refused += 1
        if self._refused >= ALL_REFUSED and not self._answered and not self.earlier.requests:
            raise TeacherError(f"{refusal} So were all of the first {self._refused}.") from refusal


def connections_at_most() -> int:
    """How many the process may have open; its soft limit is raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return MOST_AT_ONCE if soft == resource.RLIM_INFINITY else max(1, soft - OTHER_FILES)


def _rejected(draft: Draft, rule: str, answer: str | None = None) -> Candidate:
    return Candidate(draft.row, draft.words, rule, answer, asked=draft.asked)


def answered(draft: Draft, found: Answered) -> Row:
    """The row with its demonstration; where it offers tools, with the actions that it takes.

    An answer without calls to a row that brought its own tools is one in words, and no statement that none is right.
    """
    text, calls = found.answer.text.strip(), found.answer.tool_calls
    row = dataclasses.replace(draft.row, golden_response=(text or None) if calls else text, golden_calls=calls or None)
    in_words = not found.actions and draft.row.tools is not None
    if not draft.tools or row.golden_answer is not None or in_words:
        return row
    actions = [{"Action": action.name, "Action_Input": _writable(action.input)} for action in found.actions]
    return dataclasses.replace(row, golden_answer=actions)


def _writable(value: Any) -> Any:
    """An action's input; as JSON text where decoded it is what no file holds, such as half of a surrogate pair."""
    return value if unfit_value(value) is None else json.dumps(value)


def broken_without_a_recipe(row: Row, found: Answered) -> str | None:
    """The rule that an answer breaks, whatever the recipe checks.

    Returns:
        `bad_arguments`: a call that no row can hold; `contradiction`: other actions than the row's `golden_answer`.
    """
    if unwritable_call(found):
        return BAD_ARGUMENTS
    return "contradiction" if contradicts(row, found) else None


def contradicts(row: Row, found: Answered) -> bool:
    """Whether an answer takes other actions than the row's `golden_answer`."""
    if row.golden_answer is None:
        return False
    golden = golden_actions(row.golden_answer)
    return not (same_sequence(found.actions, golden) and same_inputs(found.actions, golden))


def parse_grade(text: str) -> int | None:
    """The last grade, from 1 to 10, that a text gives; None where it gives none."""
    found = GRADE.findall(text)
    return int(found[-1]) if found else None


def without_quotes(text: str) -> str:
    """`text` without a pair of quotation marks around all of it."""
    inner = text[1:-1]
    enclosed = text[:1] + text[-1:] in ('""', "“”") and not set(inner) & set('"“”')
    return inner.strip() if enclosed else text
