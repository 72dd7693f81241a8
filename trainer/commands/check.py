"""The `check` subcommand: is the teacher reachable and fit? is there anything to learn?"""

import importlib.metadata
import platform
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TeacherError, UsageError, abridged
from ..evaluation.scorer import load_scorer
from ..run.machine import Report, describe_machine
from ..settings.options import THINKING, Check, Train
from ..settings.resolve import Resolved, made_by_program
from ..teachers.preflight import client_for, context_complaint, find_model, say_hello, unlisted
from ..teachers.served.batch import run_until_stopped
from ..teachers.served.chat_messages import SILENT
from ..teachers.served.client import TeacherClient
from ..teachers.served.failures import NO_SUCH_PLACE, ServerRefused

if TYPE_CHECKING:
    from ..evaluation.headroom import HeadroomResult

OK, FAIL, NOTE = "ok", "FAIL", "note"
NO_VERSION = "no vLLM version"
SOON, CLOCKS_DIFFER = 7.0, 60.0  # days that a run may last, seconds that the way of an answer can't explain


@dataclass(frozen=True)
class Finding:
    """One line of `check`: a mark, what was looked at, and what was found (with the mend, where it failed)."""

    mark: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.mark:<4}  {self.subject:<18}  {self.text}"


def run(resolved: Resolved) -> int:
    """Entry of `check`; 0 if the teacher is fit, else 3. `--headroom` then also measures."""
    settings: Check = resolved.settings
    load_scorer(settings.scorer)  # before anything is asked
    if any(finding.mark == FAIL for finding in check(settings)):
        return TeacherError.exit_code
    if settings.headroom is not None:
        headroom(settings)
    return 0


def headroom(settings: Check) -> "HeadroomResult":
    """Do what `check --headroom` does: is there anything to learn, who can teach it, and how is it best shown?

    Raises:
        UsageError, TeacherError: see `trainer.errors`.
        Stopped: SIGINT or SIGTERM.
    """
    from ..evaluation.headroom import measured  # with torch, which the other checks do without

    settings = made_by_program(Check, settings).settings
    if settings.headroom is None:
        raise UsageError("on how many rows is not said. Pass CheckSettings(headroom=24, …).")
    return measured(settings)


def check(settings: Check) -> list[Finding]:
    """Do what the command `check` does without `--headroom`: each finding is printed, a line, as soon as it is known.

    Raises:
        UsageError: no teacher URL, and nothing to measure.
        TeacherError: the teacher is gone in the middle of it.
        Stopped: SIGINT or SIGTERM.
    """
    settings = made_by_program(Check, settings).settings
    client = client_for(settings) if settings.vllm_server_base_url or settings.headroom is None else None
    thinking = [Finding(NOTE, "thinking", THINKING)] if settings.enable_thinking else []
    findings = [_environment(), *_machine(), *thinking]
    print(*findings, sep="\n", flush=True)
    if client is not None:
        findings += run_until_stopped(_check(client, settings), "stopped before the checks were done.")
    if all(finding.mark != FAIL for finding in findings):
        findings.append(_student(settings))
        print(findings[-1], flush=True)
    return findings


async def _check(client: TeacherClient, settings: Check) -> list[Finding]:
    """All findings, each printed as soon as it is known. Without health or the model the rest can't be asked."""
    findings: list[Finding] = []

    def say(mark: str, subject: str, text: str) -> None:
        findings.append(Finding(mark, subject, abridged(text)))
        print(findings[-1], flush=True)

    async with client:
        subject = "teacher reachable"
        try:
            state = "is healthy" if await client.health() else "answers and has no /health"
            version = await client.version()
            say(OK, subject, f"{client.base_url} {state}, {await _maker(client, version)}")
            for finding in await _between(client):
                say(*finding)
            subject = "model served"
            served = await client.models()
            model = await unlisted(client) if served is None else find_model(client, served)
            say(
                OK,
                subject,
                client.model if served is not None else f"{client.model} answers; no list of models is to be had",
            )
            say(*_context(model.max_model_len, settings))
            subject = "chat"
            say(*await _chat(client, settings))
        except TeacherError as error:
            say(FAIL, subject, str(error))
            return findings
        scores = [await _tokens(client), await _logprobs(client)]
        for finding in [*_left_out(client), *scores, _fit_for(all(mark == OK for mark, *_ in scores))]:
            say(*finding)
    return findings


async def _between(client: TeacherClient) -> list[tuple[str, str, str]]:
    """What lies between this machine and the teacher, and would hurt later: proxies, certificates, clocks."""
    found = [
        (NOTE, "proxy", f"requests go by {proxy}; NO_PROXY=HOST lets them go past it")
        for proxy in dict.fromkeys(client.proxies)
    ]
    days = await client.days_of_certificate()
    if days is not None and days < SOON:
        found.append(
            (NOTE, "certificate", f"the server's runs out in {days:.1f} days, and ends a run that lasts longer")
        )
    ahead = client.clock_ahead
    if ahead is not None and abs(ahead) > CLOCKS_DIFFER:
        found.append((NOTE, "clock", _apart(ahead)))
    return found


def _apart(ahead: float) -> str:
    """What is wrong with clocks of which the teacher's is so many seconds ahead."""
    by, is_behind = timedelta(seconds=round(abs(ahead))), ahead > 0
    return (
        f"this machine's is {by} {'behind' if is_behind else 'ahead of'} the teacher's: certificates and signed links "
        "may be refused. Compare `date -u` on both, and set the wrong one"
    )


async def _maker(client: TeacherClient, version: str | None) -> str:
    """Which server it is."""
    if version:
        return f"vLLM {version}"
    return "SGLang" if await client.is_sglang() else NO_VERSION


def _context(max_model_len: int | None, settings: Check) -> tuple[str, str, str]:
    subject = "context"
    if max_model_len is None:
        return NOTE, subject, "the server doesn't say how long its context is"
    complaint = context_complaint(max_model_len, settings)
    if complaint:
        return FAIL, subject, complaint
    wanted = settings.max_prompt_length + settings.max_completion_length
    return OK, subject, f"{max_model_len} tokens, {wanted} wanted for prompt and completion"


async def _chat(client: TeacherClient, settings: Check) -> tuple[str, str, str]:
    subject = "chat"
    answer = await say_hello(client, enable_thinking=settings.enable_thinking)
    wrote = f"wrote {answer.completion_tokens} tokens after a prompt of {answer.prompt_tokens}"
    if answer.with_calls.strip() or answer.is_cut:  # 16 tokens are few for a model that thinks first
        return OK, subject, wrote
    return NOTE, subject, f"{wrote}, and no text: there is nothing to learn from. {SILENT}"


def _left_out(client: TeacherClient) -> list[tuple[str, str, str]]:
    """What requests to this server lack, and what follows from that."""
    return [(NOTE, f"field {name}", f"refused: {field.without}") for name, field in client.left_out.items()]


async def _tokens(client: TeacherClient) -> tuple[str, str, str]:
    """Only `--objective served` needs them."""
    subject = "tokens"
    try:
        await client.tokenize("Hello world")
        await client.render([{"role": "user", "content": "Say hello."}])
    except TeacherError as error:
        return NOTE, subject, f"not to be had; `--objective served` needs them. {_lack(error, '/tokenize')}"
    return OK, subject, "the server cuts texts into them (/tokenize)"


def _fit_for(scores: bool) -> tuple[str, str, str]:
    subject = "fit for"
    if scores:
        return OK, subject, "--objective sdft, seqkd and served; generate, eval --served"
    return NOTE, subject, "--objective sdft and seqkd, generate, eval --served; not for --objective served"


async def _logprobs(client: TeacherClient) -> tuple[str, str, str]:
    """Only `--objective served` needs them, so a server without them is only a note."""
    subject = "log-probabilities"
    try:
        return OK, subject, f"the {await client.max_logprobs()} likeliest tokens per position (vLLM: --max-logprobs)"
    except TeacherError as error:
        return NOTE, subject, f"not to be had; `--objective served` needs them. {_lack(error, '/v1/completions')}"


def _lack(error: TeacherError, path: str) -> str:
    if isinstance(error, ServerRefused) and error.status in NO_SUCH_PLACE:
        return f"The server has no {path}."
    return str(error)


def _machine() -> list[Finding]:
    """What of this machine would hurt a run."""
    report = Report()
    describe_machine(report, Train.output_dir)
    texts = [*(f"{text} Mend: {mend}" for text, mend in report.problems), *report.notes]
    return [Finding(NOTE, "machine", text) for text in texts]


def _student(settings: Check) -> Finding:
    """How large the student is, and whether there is memory to train it."""
    from ..models.size import parameters_of

    subject, name = "student", settings.model_name_or_path
    parameters = parameters_of(name)
    if parameters is None:
        where = (
            "no model.safetensors" if Path(name).is_dir() else "not on this machine: `train` asks the model hub for it"
        )
        return Finding(NOTE, subject, f"{name}: {where}")
    import torch

    from ..training.needs import memory_complaint

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = Train(model_name_or_path=name, load_in_4bit=settings.load_in_4bit, use_peft=settings.load_in_4bit)
    complaint = memory_complaint(training, parameters, device)
    if complaint:
        return Finding(NOTE, subject, complaint)
    return Finding(OK, subject, f"{name}, {parameters / 1e6:,.1f} million parameters; there is memory to train it")


def _environment() -> Finding:
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "transformers", "trl"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} missing")
    return Finding(NOTE, "environment", ", ".join(versions) + "; GPU and ports: `python scripts/check_env.py`")
