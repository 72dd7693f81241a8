"""Bespoke Labs' Curator, by its backend for OpenAI-compatible servers (on aiohttp), with rate limits out of reach."""

import litellm.litellm_core_utils.default_encoding  # noqa: F401  points tiktoken to a vocabulary that it would fetch
from bespokelabs import curator
from job import Job, given

UNLIMITED = 10**9  # a minute


class Answers(curator.LLM):
    def prompt(self, row: dict) -> str:
        return row["prompt"]

    def parse(self, row: dict, response: str) -> dict:
        return {"prompt": row["prompt"], "answer": response}


def answered(job: Job) -> list[tuple[str, str]]:
    limits = {"max_requests_per_minute": UNLIMITED, "max_tokens_per_minute": 10**4 * UNLIMITED}
    backend = {"base_url": f"{job.url}/v1", "api_key": "none", "max_concurrent_requests": job.concurrency, **limits}
    model = Answers(
        model_name=job.model,
        backend="openai",
        generation_params=job.sampling | job.further,
        backend_params=backend,
    )
    response = model([{"prompt": prompt} for prompt in job.prompts], working_dir=job.scratch)
    return [(row["prompt"], row["answer"]) for row in response.dataset]


if __name__ == "__main__":
    job = given()
    job.hand_in(answered(job))
