"""`generate`: train and eval data in the data format, written by the served teacher.

A candidate is a prompt, from the user's file or by the teacher itself, and the teacher's answer to it. Candidates
are numbered; what number N becomes depends on the seed and N alone, and the first good ones in the order of their
numbers are kept. So neither concurrency nor an interruption changes the files.
"""

import dataclasses
import hashlib
import itertools
import os
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trainer.atomic import write_json
from trainer.config import Generate
from trainer.dataset import Row, load_rows, parse_row
from trainer.demonstrations import REFUSED, reason_to_reject
from trainer.errors import TeacherError, UsageError
from trainer.journal import Journal
from trainer.preflight import identify
from trainer.progress import Progress
from trainer.resolve import Resolved
from trainer.teachers.batch import row_seed, run_bounded, run_until_stopped
from trainer.teachers.client import ChatAnswer, RequestRefused, TeacherClient

JOURNAL, TRAIN_FILE, EVAL_FILE = "generate.journal.jsonl", "train_data.json", "eval_data.json"
CANDIDATES_PER_ROW = 4

TOPICS = (
    "a bicycle repair shop", "a small bakery", "a school timetable", "a family budget", "a vegetable garden",
    "a train journey", "a weather station", "a public library", "a football league", "a film archive",
    "a hospital ward", "a rented flat", "an online shop", "a web server's log file", "a chess club",
    "a museum exhibition", "a hiking trip", "a language course", "a recipe collection", "a music festival",
    "a city's bus network", "a chemistry lesson", "a solar power plant", "a novel's plot",
)  # fmt: skip
TASKS = (
    "explain how something works", "compare two options and recommend one", "plan a sequence of steps",
    "solve a calculation", "extract facts from a short text and list them", "write a short Python function",
    "find the mistake in a statement or a piece of work", "summarise a short text",
    "write a polite message", "turn loose notes into a JSON object",
)  # fmt: skip
DIFFICULTIES = ("easy", "fairly hard", "hard")
COMMISSION = (
    "Write one {difficulty} request that a person could send to an AI assistant. It is about {topic}, and the "
    "assistant is asked to {task}. State every fact, number or text that the answer needs. "
    "Reply with the request alone: no title, no quotation marks, no answer."
)


@dataclass(frozen=True)
class Candidate:
    """A row, answered if it is good, and why it isn't kept (None: it is)."""

    row: Row
    reason: str | None


def run(resolved: Resolved) -> int:
    """Entry of `generate`; 0 when both files hold as many rows as asked.

    Raises:
        UsageError: bad or too few prompts, a folder that isn't ours or isn't writable.
        TeacherError: the teacher is gone or unfit, or too few candidates were good (the good ones are written).
        Stopped: SIGINT or SIGTERM; finished rows are in the journal.
    """
    settings: Generate = resolved.settings
    prompts = prompts_of(settings)
    folder = claim_folder(settings.out_dir)
    with Journal(folder / JOURNAL, decides(settings, prompts)) as journal:
        factory = Factory(settings, prompts, journal)
        stopped = f"stopped; {journal.path} keeps the finished rows, the same command continues."
        try:
            run_until_stopped(factory.run(), stopped)
        except TeacherError as error:
            kept = f" {len(journal.records)} finished rows are kept in {journal.path}; the same command continues."
            raise TeacherError(f"{error}{kept if journal.records else ''}") from error
        rows = factory.kept()
        write_files(folder, rows, settings.eval_samples)
    print(factory.summary(), f"wrote {folder / TRAIN_FILE} and {folder / EVAL_FILE}", sep="\n")
    if len(rows) < factory.wanted:
        raise TeacherError(factory.shortage())
    return 0


def prompts_of(settings: Generate) -> list[Row] | None:
    """The different prompts of `--prompts` in a seeded order; None if the teacher writes them.

    A golden response in the file is not shown to the teacher: the teacher's answer takes its place.

    Raises:
        UsageError: bad data, or fewer prompts than rows asked for.
    """
    if settings.prompts is None:
        return None
    wanted = settings.train_samples + settings.eval_samples
    rows = load_rows(settings.prompts, needs_golden=False)
    different = list({identity_of(row): row for row in reversed(rows)}.values())[::-1]
    if len(different) < wanted:
        raise UsageError(
            f"{settings.prompts} has {len(rows)} rows with {len(different)} different prompts; expected {wanted} "
            f"(--train_samples {settings.train_samples} + --eval_samples {settings.eval_samples}). Lower one of them."
        )
    random.Random(settings.seed).shuffle(different)
    return different


def identity_of(row: Row) -> str:
    """What makes two prompts the same: all their words, whatever the case and the whitespace."""
    return "\n".join(f"{m['role']}: {' '.join(m['content'].casefold().split())}" for m in row.prompt)


def claim_folder(out_dir: str) -> Path:
    """The output folder, made where missing.

    Raises:
        UsageError: it can't be made or written, or holds data that `generate` did not make.
    """
    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the folder {folder}: {error.strerror}. Pass a writable --out_dir.") from error
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise UsageError(f"the folder {folder} isn't writable. Pass a writable --out_dir.")
    for name in (TRAIN_FILE, EVAL_FILE):
        if (folder / name).exists() and not (folder / JOURNAL).exists():
            raise UsageError(
                f"{folder / name} exists and was not made by `generate` (no {JOURNAL} beside it); it would be "
                "overwritten. Pass another --out_dir, or move the file away."
            )
    return folder


def decides(settings: Generate, prompts: list[Row] | None) -> dict[str, object]:
    """Everything that a candidate depends on; the numbers of rows aren't among it, so they can be raised later."""
    source = repr([COMMISSION, TOPICS, TASKS, DIFFICULTIES] if prompts is None else prompts)
    return {
        "prompts": hashlib.sha256(source.encode()).hexdigest(),
        "model": settings.model,
        "seed": settings.seed,
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "enable_thinking": settings.enable_thinking,
    }


class Factory:
    """Asks for candidates until enough are good.

    Args:
        prompts: Rows whose prompts are answered; None lets the teacher write them.
        journal: Has the candidates of earlier runs, gets the new ones.
    """

    def __init__(self, settings: Generate, prompts: list[Row] | None, journal: Journal):
        self.settings = settings
        self.prompts = prompts
        self.journal = journal
        self.wanted = settings.train_samples + settings.eval_samples
        self.limit = CANDIDATES_PER_ROW * self.wanted if prompts is None else len(prompts)
        self.candidates: dict[int, Candidate] = {}
        self.first_of: dict[str, int] = {}
        self.remembered: set[int] = set()
        self.requests = 0
        self.tokens = Counter[str]()
        self.refusal = ""
        self.began = time.monotonic()

    async def run(self) -> None:
        """Work until `wanted` different candidates are good or `limit` are used up.

        A candidate is begun only while those in flight, were all of them good, would not be enough. What is
        begun is therefore always 0…M with the smallest M that suffices: no request is wasted.

        Raises:
            TeacherError: the teacher is gone or unfit.
        """
        settings = self.settings
        client = TeacherClient(
            settings.base_url,
            settings.model,
            api_key=settings.api_key,
            max_concurrency=settings.max_concurrency,
            patience=settings.teacher_patience,
        )
        async with client:
            identity = await identify(client)
            if identity.max_model_len is not None and identity.max_model_len <= settings.max_tokens:
                raise TeacherError(
                    f"the teacher's context has {identity.max_model_len} tokens, which leaves no room for a prompt "
                    f"beside --max_tokens {settings.max_tokens}. Lower --max_tokens."
                )
            with Progress(self.wanted, "generate") as progress:

                async def work(number: int) -> None:
                    candidate = self._remembered(number) or await self._made(client, number)
                    before = len(self.first_of)
                    self._settle(number, candidate)
                    progress.advance(len(self.first_of) - before)

                await run_bounded(work, range(self.limit), self._room)

    def _room(self) -> int:
        return min(self.settings.max_concurrency, self.wanted - len(self.first_of))

    def _settle(self, number: int, candidate: Candidate) -> None:
        self.candidates[number] = candidate
        if candidate.reason is None:
            identity = identity_of(candidate.row)
            self.first_of[identity] = min(number, self.first_of.get(identity, number))

    def _remembered(self, number: int) -> Candidate | None:
        record = self.journal.records.get(str(number))
        if record is None:
            return None
        self.remembered.add(number)
        return Candidate(parse_row(record["row"], number, needs_golden=False), record["reason"])

    async def _made(self, client: TeacherClient, number: int) -> Candidate:
        """Candidate `number`, in the journal; a refused one is not, since asking again costs nothing."""
        row = self.prompts[number] if self.prompts is not None else self._commission(number)
        try:
            candidate = await (self._write if self.prompts is None else self._answer)(client, number, row)
        except RequestRefused as refusal:
            self.refusal = self.refusal or str(refusal)
            return Candidate(row, REFUSED)
        self.journal.add(str(number), {"row": candidate.row.to_json(), "reason": candidate.reason})
        return candidate

    def _commission(self, number: int) -> Row:
        """The request to write prompt `number`, as a row whose further keys say what it is to be about."""
        kinds = list(itertools.product(TOPICS, TASKS, DIFFICULTIES))
        random.Random(self.settings.seed).shuffle(kinds)
        topic, task, difficulty = kinds[number % len(kinds)]
        text = COMMISSION.format(topic=topic, task=task, difficulty=difficulty)
        extra = {"topic": topic, "task": task, "difficulty": difficulty}
        return Row(f"{self.settings.seed}-{number}", [{"role": "user", "content": text}], extra=extra)

    async def _write(self, client: TeacherClient, number: int, commission: Row) -> Candidate:
        """Let the teacher write a prompt, then answer it."""
        written = await self._chat(client, commission, row_seed(self.settings.seed, number, "prompt"))
        reason = reason_to_reject(written, commission)
        prompt = without_quotes(written.text.strip())
        if reason or not prompt:
            return Candidate(commission, f"{reason or 'empty'} prompt")
        row = dataclasses.replace(commission, prompt=[{"role": "user", "content": prompt}])
        # Only a good candidate with a lower number decides this one's fate, whichever of them came first.
        if self.first_of.get(identity_of(row), number) < number:
            return Candidate(row, "duplicate")
        return await self._answer(client, number, row)

    async def _answer(self, client: TeacherClient, number: int, row: Row) -> Candidate:
        answer = await self._chat(client, row, row_seed(self.settings.seed, number))
        reason = reason_to_reject(answer, row)
        text = answer.text.strip() if reason is None else None
        return Candidate(dataclasses.replace(row, golden_response=text), reason)

    async def _chat(self, client: TeacherClient, row: Row, seed: int) -> ChatAnswer:
        self.requests += 1
        answer = await client.chat(
            row.prompt,
            max_tokens=self.settings.max_tokens,
            temperature=self.settings.temperature,
            seed=seed,
            enable_thinking=self.settings.enable_thinking,
        )
        self.tokens.update(prompt=answer.prompt_tokens, completion=answer.completion_tokens)
        return answer

    def kept(self) -> list[Row]:
        """The good rows, by number, at most `wanted`."""
        return [self.candidates[number].row for number in sorted(self.first_of.values())[: self.wanted]]

    def dropped(self) -> Counter[str]:
        """How many candidates each reason cost."""
        reasons = Counter(candidate.reason for candidate in self.candidates.values() if candidate.reason)
        good = sum(candidate.reason is None for candidate in self.candidates.values())
        return reasons + Counter(duplicate=good - len(self.first_of))

    def summary(self) -> str:
        """One line: rows, what was dropped and why, requests, tokens, speed."""
        seconds = time.monotonic() - self.began
        rows, dropped = len(self.kept()), self.dropped()
        new = len(set(self.first_of.values()) - self.remembered)
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        return (
            f"{rows} rows, {dropped.total()} dropped{f' ({why})' if why else ''}, {len(self.remembered)} from the "
            f"journal, {self.requests} requests, {self.tokens['prompt']} prompt and {self.tokens['completion']} "
            f"completion tokens, {new / max(seconds, 1e-9):.1f} rows/s, {seconds:.1f} s"
        )

    def shortage(self) -> str:
        """The message for too few good candidates."""
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped().items())) or "none dropped"
        mend = "more prompts in the file" if self.prompts is not None else "a higher --temperature"
        return (
            f"{len(self.kept())} rows were good and are written, expected {self.wanted}; {len(self.candidates)} "
            f"candidates are used up ({why}). {self.refusal + ' ' if self.refusal else ''}"
            f"Try {mend}, a higher --max_tokens, or fewer --train_samples."
        )


def without_quotes(text: str) -> str:
    """`text` without a pair of quotation marks around all of it."""
    inner = text[1:-1]
    enclosed = text[:1] + text[-1:] in ('""', "“”") and not set(inner) & set('"“”')
    return inner.strip() if enclosed else text


def write_files(folder: Path, rows: list[Row], eval_samples: int) -> None:
    """The first rows become eval data, so that a later, larger run of the same seed leaves them as they are."""
    try:
        write_json(folder / EVAL_FILE, [row.to_json() for row in rows[:eval_samples]])
        write_json(folder / TRAIN_FILE, [row.to_json() for row in rows[eval_samples:]])
    except OSError as error:
        raise UsageError(f"can't write to {folder}: {error.strerror}. Expected a writable folder with room.") from error
