"""What a side of the benchmark is asked to do, and how it hands in its answers; needs nothing but Python."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Prompts to have answered, one request each.

    Attributes:
        url: Base URL of the server, without `/v1`.
        prompts: Of one user message each.
        answers: JSON Lines file for what was answered.
        scratch: An empty folder for whatever a tool wants to keep.
        concurrency: Requests in flight at most.
        sampling: Further fields of each request's body that the OpenAI API knows, `max_tokens` among them.
        further: Fields that it doesn't know and vLLM does.
    """

    url: str
    model: str
    prompts: list[str]
    answers: str
    scratch: str
    concurrency: int
    sampling: dict
    further: dict

    def hand_in(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write prompts with their answers, in any order."""
        lines = (json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in pairs)
        Path(self.answers).write_text("".join(lines), encoding="utf-8")

    def body(self, prompt: str) -> dict:
        """A whole request."""
        messages = [{"role": "user", "content": prompt}]
        return {"model": self.model, "messages": messages, **self.sampling, **self.further}


def given() -> Job:
    """The job in the JSON file that the command line names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
