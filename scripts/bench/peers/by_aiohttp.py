"""A bare load generator on aiohttp: as many workers as requests may be in flight; answers are decoded at the end."""

import asyncio
import json
from collections.abc import Iterator

import aiohttp
from job import Job, given


async def answered(job: Job) -> dict[str, bytes]:
    bodies = iter([(prompt, json.dumps(job.body(prompt)).encode()) for prompt in job.prompts])
    answers: dict[str, bytes] = {}
    connector = aiohttp.TCPConnector(limit=job.concurrency)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:
        await asyncio.gather(*(work(session, job.url, bodies, answers) for _ in range(job.concurrency)))
    return answers


async def work(session: aiohttp.ClientSession, url: str, bodies: Iterator, answers: dict[str, bytes]) -> None:
    for prompt, body in bodies:
        async with session.post(f"{url}/v1/chat/completions", data=body) as response:
            answers[prompt] = await response.read()
            if response.status != 200:
                raise RuntimeError(f"found status {response.status}: {answers[prompt][:200]!r}")


def text_of(answer: bytes) -> str:
    return json.loads(answer)["choices"][0]["message"]["content"]


if __name__ == "__main__":
    job = given()
    job.hand_in((prompt, text_of(answer)) for prompt, answer in asyncio.run(answered(job)).items())
