"""The list of what a server serves, `/v1/models`: as vLLM has it, and as others do."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from ...errors import TeacherError
from .failures import Failure, Healing, expecting

# How servers call the tokens of a model's context; the first is vLLM's.
WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx")
TRIES = 3  # of a list that the server fails to make


@dataclass(frozen=True)
class ServedModel:
    """A name that the server answers to, and its context window in tokens (None where the server doesn't say)."""

    name: str
    max_model_len: int | None


def read_models(answer: Any, url: str, secrets: Iterable[str]) -> list[ServedModel]:
    """The models of an answer; TeacherError where it is no list of them."""
    with expecting("a list of models", answer, url, secrets):
        listed = answer if isinstance(answer, list) else answer["data" if "data" in answer else "models"] or []
        known = dict(map(_named, listed))
        if not all(isinstance(name, str) for name in known):
            raise TypeError("a name that is no text")
        return [ServedModel(name, _window(model, known)) for name, model in known.items()]


def is_meant(listed: str, name: str) -> bool:
    """Whether a server that lists one name answers to another.

    So do routers to patterns (`openai/*`) and to a provider behind the name (`NAME:PROVIDER`), Gemini's API to a name
    without `models/`, and Ollama to one without its tag.
    """
    behind = listed == name.rpartition(":")[0]
    return behind or listed in (name, f"models/{name}", f"{name}:latest") or ("*" in listed and fnmatch(name, listed))


def lists(names: Iterable[str], name: str) -> bool:
    """Whether a server with a list of these names answers to a name."""
    return any(is_meant(listed, name) for listed in names)


def missing_where_it_fails(
    ask: Callable[[str], Awaitable[list[ServedModel]]],
) -> Callable[[str], Awaitable[list[ServedModel]]]:
    """`ask`, to which a list that ends in 500 at each of a few tries counts as one that the server doesn't have."""
    failed = Counter[str]()

    async def models_of(url: str) -> list[ServedModel]:
        try:
            return await ask(url)
        except Failure as failure:
            failed[url] += failure.status == 500
            if failed[url] < TRIES:
                raise
            raise Failure(failure.words, 501, healing=Healing.NEVER, asked=failure.asked) from failure

    return models_of


def served_by_all(served: list[list[ServedModel]]) -> list[ServedModel]:
    """What each of the replicas serves, with the smallest context window that any of them says it has."""
    return [
        ServedModel(model.name, min((found.max_model_len for found in same if found.max_model_len), default=None))
        for model in served[0]
        if len(same := [found for models in served for found in models if found.name == model.name]) == len(served)
    ]


def unknown_model(base_url: str, model: str, served: list[str]) -> TeacherError:
    """The error for a name that the server doesn't know."""
    return TeacherError(
        f"the teacher at {base_url} does not serve {model!r}; it serves {', '.join(served)}. "
        "Pass --vllm_server_model NAME (--model NAME for `generate`), or start vLLM with "
        f"`--served-model-name {model}`."
    )


def _named(model: Any) -> tuple[Any, dict[str, Any]]:
    """The name of a listed model, and what else is told of it."""
    if isinstance(model, str):
        return model, {}
    return next(model[key] for key in ("id", "model", "name") if key in model), model


def _window(model: dict[str, Any], known: dict[str, dict[str, Any]]) -> int | None:
    """The context of a listed model; a LoRA that doesn't say its own has its parent's. llama.cpp has it in `meta`."""
    parent = known.get(model.get("parent") or "", {})
    places = [place for listed in (model, parent) for place in (listed, listed.get("meta")) if isinstance(place, dict)]
    told = [place.get(name) for place in places for name in WINDOWS]
    return next((tokens for tokens in told if type(tokens) is int and tokens > 0), None)
