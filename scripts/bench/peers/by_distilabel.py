"""Argilla's distilabel: a pipeline of one task; it sends a batch's requests at once and waits for the last of them."""

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from job import Job, given


def answered(job: Job) -> list[tuple[str, str]]:
    parameters = {"max_new_tokens" if key == "max_tokens" else key: value for key, value in job.sampling.items()}
    with Pipeline(name="bench", cache_dir=job.scratch) as pipeline:
        rows = LoadDataFromDicts(data=[{"instruction": prompt} for prompt in job.prompts], batch_size=job.concurrency)
        answers = TextGeneration(
            llm=OpenAILLM(
                model=job.model,
                base_url=f"{job.url}/v1",
                api_key="none",
                generation_kwargs=parameters | {"extra_body": job.further},
            ),
            input_batch_size=job.concurrency,
            add_raw_input=False,
            add_raw_output=False,
        )
        rows >> answers
    written = pipeline.run(use_cache=False)["default"]["train"]
    return [(row["instruction"], row["generation"]) for row in written]


if __name__ == "__main__":
    job = given()
    job.hand_in(answered(job))
