"""NVIDIA's NeMo Data Designer: a seed data set of prompts and one text column that the model writes."""

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner
from job import Job, given


def answered(job: Job) -> list[tuple[str, str]]:
    designer = DataDesigner(job.scratch, model_providers=[provider(job)])
    designer.set_run_config(
        dd.RunConfig(
            disable_early_shutdown=True,
            otel_metrics_port=None,
            jinja_rendering_engine=dd.JinjaRenderingEngine.NATIVE,  # the lighter one of two
        )
    )
    columns = dd.DataDesignerConfigBuilder(model_configs=[model(job)])
    columns.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"question": job.prompts})))
    columns.add_column(dd.LLMTextColumnConfig(name="answer", model_alias="teacher", prompt="{{ question }}"))
    rows = designer.create(columns, num_records=len(job.prompts)).load_dataset()
    return list(zip(rows["question"], rows["answer"], strict=True))


def provider(job: Job) -> dd.ModelProvider:
    return dd.ModelProvider(name="bench", endpoint=f"{job.url}/v1", provider_type="openai", api_key="none")


def model(job: Job) -> dd.ModelConfig:
    parameters = dd.ChatCompletionInferenceParams(
        max_parallel_requests=job.concurrency,
        extra_body={key: value for key, value in job.sampling.items() if key == "seed"} | job.further,
        **{key: value for key, value in job.sampling.items() if key != "seed"},
    )
    return dd.ModelConfig(
        alias="teacher", model=job.model, provider="bench", inference_parameters=parameters, skip_health_check=True
    )


if __name__ == "__main__":
    job = given()
    job.hand_in(answered(job))
