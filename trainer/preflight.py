"""Is the teacher there, and fit? `check` asks everything and prints it; `train` asks before anything expensive."""

import importlib.metadata
import platform
from dataclasses import dataclass

from trainer.config import Check, Train
from trainer.errors import TeacherError, UsageError
from trainer.resolve import Resolved
from trainer.teachers.batch import run_until_stopped
from trainer.teachers.client import ServedModel, TeacherClient, unknown_model

OK, FAIL, NOTE = "ok", "FAIL", "note"


@dataclass(frozen=True)
class TeacherIdentity:
    """Who answers there: as it goes into `environment.json` and `summary.json`.

    Attributes:
        engine_version: vLLM's; None for another server.
        max_model_len: Context window in tokens; None where the server doesn't say.
        tokenizer_route: How it scores the student's tokens, `token` or `byte`; None where it scores none.
        tokenizer_evidence: Why that is the route.
    """

    base_url: str
    model: str
    engine_version: str | None
    max_model_len: int | None
    tokenizer_route: str | None = None
    tokenizer_evidence: str | None = None


@dataclass(frozen=True)
class Finding:
    """One line of `check`: a mark, what was looked at, and what was found (with the mend, where it failed)."""

    mark: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.mark:<4}  {self.subject:<18}  {self.text}"


def run(resolved: Resolved) -> int:
    """Entry of `check`: one line per check; 0 if the teacher is fit, else 3. `--headroom` then also measures.

    Raises:
        UsageError: no teacher URL, and nothing to measure; wrong data.
        TeacherError: the teacher is gone in the middle of it.
        Stopped: SIGINT or SIGTERM.
    """
    settings: Check = resolved.settings
    client = client_for(settings) if settings.vllm_server_base_url or settings.headroom is None else None
    print(_environment(), flush=True)
    if client is not None:
        findings = run_until_stopped(_check(client, settings), "stopped before the checks were done.")
        if any(finding.mark == FAIL for finding in findings):
            return TeacherError.exit_code
    if settings.headroom is not None:
        from trainer import headroom  # with torch, which the checks above do without

        headroom.check(settings)
    return 0


def require_teacher(settings: Train | Check) -> TeacherIdentity:
    """The teacher behind `settings`, once it is healthy, serves the model and has room for prompt and completion.

    Raises:
        TeacherError: it is unreachable or unfit; says how to mend that.
        UsageError: no teacher URL.
    """

    async def ask() -> TeacherIdentity:
        async with client_for(settings) as client:
            identity = await identify(client)
        complaint = context_complaint(identity.max_model_len, settings)
        if complaint:
            raise TeacherError(f"the teacher at {identity.base_url}: {complaint}")
        return identity

    return run_until_stopped(ask(), "stopped before the teacher was checked; nothing was begun.")


def client_for(settings: Train | Check) -> TeacherClient:
    """A client for the teacher that `settings` names.

    Raises:
        UsageError: they name none.
    """
    if not settings.vllm_server_base_url:
        raise UsageError(
            "no teacher is named. Pass its base URL, e.g. `python -m trainer check http://localhost:8000`, "
            "or set SDFT_VLLM_SERVER_BASE_URL."
        )
    return TeacherClient(
        settings.vllm_server_base_url,
        settings.vllm_server_model,
        api_key=settings.vllm_server_api_key,
        max_concurrency=settings.vllm_server_max_concurrency,
        patience=settings.teacher_patience,
    )


async def identify(client: TeacherClient) -> TeacherIdentity:
    """Wait for health and look the model up.

    Raises:
        TeacherError: unreachable, or the model isn't served (lists what is).
    """
    await client.health()
    version = await client.version()
    model = find_model(client, await client.models())
    return TeacherIdentity(client.base_url, client.model, version, model.max_model_len)


def find_model(client: TeacherClient, served: list[ServedModel]) -> ServedModel:
    """The served model that `client` asks for; TeacherError if there is none of that name."""
    for model in served:
        if model.name == client.model:
            return model
    raise unknown_model(client.base_url, client.model, [model.name for model in served])


def context_complaint(max_model_len: int | None, settings: Train | Check) -> str | None:
    """What is wrong with a context window of `max_model_len` tokens and how to mend it; None if it suffices."""
    wanted = settings.max_prompt_length + settings.max_completion_length
    if max_model_len is None or max_model_len >= wanted:
        return None
    return (
        f"its context has {max_model_len} tokens, expected {wanted} (--max_prompt_length "
        f"{settings.max_prompt_length} + --max_completion_length {settings.max_completion_length}). "
        f"Lower one of them, or start vLLM with `--max-model-len {wanted}`."
    )


async def _check(client: TeacherClient, settings: Check) -> list[Finding]:
    """All findings, each printed as soon as it is known. Without health or the model the rest can't be asked."""
    findings: list[Finding] = []

    def say(mark: str, subject: str, text: str) -> None:
        findings.append(Finding(mark, subject, text))
        print(findings[-1], flush=True)

    async with client:
        subject = "teacher reachable"
        try:
            await client.health()
            version = await client.version()
            say(OK, subject, f"{client.base_url} is healthy, {f'vLLM {version}' if version else 'no vLLM version'}")
            subject = "model served"
            model = find_model(client, await client.models())
            say(OK, subject, client.model)
            say(*_context(model.max_model_len, settings))
            subject = "chat"
            say(OK, subject, await _chat(client, settings))
        except TeacherError as error:
            say(FAIL, subject, str(error))
            return findings
        say(*await _logprobs(client))
    return findings


def _context(max_model_len: int | None, settings: Check) -> tuple[str, str, str]:
    subject = "context"
    if max_model_len is None:
        return NOTE, subject, "the server doesn't say how long its context is"
    complaint = context_complaint(max_model_len, settings)
    if complaint:
        return FAIL, subject, complaint
    wanted = settings.max_prompt_length + settings.max_completion_length
    return OK, subject, f"{max_model_len} tokens, {wanted} wanted for prompt and completion"


async def _chat(client: TeacherClient, settings: Check) -> str:
    answer = await client.chat(
        [{"role": "user", "content": "Say hello."}],
        max_tokens=16,
        temperature=0.0,
        seed=0,
        enable_thinking=settings.enable_thinking,
    )
    return f"wrote {answer.completion_tokens} tokens after a prompt of {answer.prompt_tokens}"


async def _logprobs(client: TeacherClient) -> tuple[str, str, str]:
    """Only `--objective served` needs them, so a server without them is only a note."""
    subject = "log-probabilities"
    try:
        return OK, subject, f"the {await client.max_logprobs()} likeliest tokens per position (vLLM: --max-logprobs)"
    except TeacherError as error:
        return NOTE, subject, f"not to be had; `--objective served` needs them. {error}"


def _environment() -> Finding:
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "transformers", "trl"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} missing")
    return Finding(NOTE, "environment", ", ".join(versions) + "; the GPU: `python scripts/check_env.py`")
