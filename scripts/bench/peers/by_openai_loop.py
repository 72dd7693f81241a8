"""The usual first script: a loop over the OpenAI SDK, one request after the other."""

import openai
from job import Job, given


def answered(job: Job) -> list[tuple[str, str]]:
    client = openai.OpenAI(base_url=f"{job.url}/v1", api_key="none")
    return [(prompt, answer(client, job, prompt)) for prompt in job.prompts]


def answer(client: openai.OpenAI, job: Job, prompt: str) -> str:
    messages = [{"role": "user", "content": prompt}]
    completion = client.chat.completions.create(
        model=job.model, messages=messages, extra_body=job.further, **job.sampling
    )
    return completion.choices[0].message.content or ""


if __name__ == "__main__":
    job = given()
    job.hand_in(answered(job))
