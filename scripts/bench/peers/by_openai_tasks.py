"""The usual second script: tasks over the OpenAI SDK's asynchronous client, and a semaphore."""

import asyncio

import openai
from job import Job, given


async def answered(job: Job) -> list[tuple[str, str]]:
    slots = asyncio.Semaphore(job.concurrency)
    async with openai.AsyncOpenAI(base_url=f"{job.url}/v1", api_key="none") as client:

        async def answer(prompt: str) -> tuple[str, str]:
            messages = [{"role": "user", "content": prompt}]
            async with slots:
                completion = await client.chat.completions.create(
                    model=job.model, messages=messages, extra_body=job.further, **job.sampling
                )
            return prompt, completion.choices[0].message.content or ""

        return await asyncio.gather(*map(answer, job.prompts))


if __name__ == "__main__":
    job = given()
    job.hand_in(asyncio.run(answered(job)))
