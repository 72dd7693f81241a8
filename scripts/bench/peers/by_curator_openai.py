"""Bespoke Labs' Curator by its backend for OpenAI's own server, on aiohttp: the fastest way found to use it."""

from by_curator import answered
from job import given

if __name__ == "__main__":
    job = given()
    job.hand_in(answered(job, job.model, "openai", job.further))
