"""Bespoke Labs' Curator as its guide for vLLM servers says, through LiteLLM, with rate limits out of reach."""

from typing import Any

import litellm.litellm_core_utils.default_encoding  # noqa: F401  points tiktoken to a vocabulary that it would fetch
from bespokelabs import curator
from job import Job, given

UNLIMITED = 10**9  # a minute


class Answers(curator.LLM):
    def prompt(self, row: dict) -> str:
        return row["prompt"]

    def parse(self, row: dict, response: str) -> dict:
        return {"prompt": row["prompt"], "answer": response}


def answered(job: Job, model: str, backend: str, further: dict[str, Any]) -> list[tuple[str, str]]:
    limits = {"max_requests_per_minute": UNLIMITED, "max_tokens_per_minute": 10**4 * UNLIMITED}
    server = {"base_url": f"{job.url}/v1", "api_key": "none", "max_concurrent_requests": job.concurrency}
    writer = Answers(
        model_name=model,
        backend=backend,
        generation_params=job.sampling | further,
        backend_params=server | limits,
    )
    response = writer([{"prompt": prompt} for prompt in job.prompts], working_dir=job.scratch)
    return [(row["prompt"], row["answer"]) for row in response.dataset]


if __name__ == "__main__":
    job = given()
    job.hand_in(answered(job, f"hosted_vllm/{job.model}", "litellm", {"extra_body": job.further}))
