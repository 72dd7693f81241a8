"""Loads models with vLLM on the CPU, each in a process of its own, and writes what it says of the same token ids.

    .venv-teacher/bin/python tests/integration/vllm_scores.py IDS.json FOLDER…

A line of JSON a folder: `{"folder", "logps"}`, the log-probabilities of the second id and of those behind it; or
`{"folder", "error"}`, what vLLM says where it can't. The process that forks has imported vLLM, which saves half of each
start.
"""

import json
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
SECONDS = 240  # that a model may take


def main(ids_file: str, *folders: str) -> None:
    os.environ.update(ENVIRONMENT)
    ids = json.loads(Path(ids_file).read_text())
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what vLLM prints is no line of ours
    import vllm  # noqa: F401  # pyright: ignore[reportMissingImports]

    for folder in folders:
        print(json.dumps({"folder": folder, **in_a_fork(folder, ids)}), file=lines, flush=True)


def in_a_fork(folder: str, ids: list[int]) -> dict[str, Any]:
    """What `score` finds, whatever vLLM does to its process."""
    forking = multiprocessing.get_context("fork")
    here, there = forking.Pipe(duplex=False)
    process = forking.Process(target=send_scores, args=(folder, ids, there))
    process.start()
    there.close()
    try:
        found = here.recv() if here.poll(SECONDS) else {"error": f"nothing within {SECONDS} seconds"}
    except EOFError:
        process.join(5)
        found = {"error": f"its process ended with the code {process.exitcode}"}
    process.kill()
    process.join()
    return found


def send_scores(folder: str, ids: list[int], there: Connection) -> None:
    try:
        there.send({"logps": score(folder, ids)})
    except Exception as error:
        there.send({"error": " ".join(str(error).split()) or type(error).__name__})


def score(folder: str, ids: list[int]) -> list[float]:
    from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]

    model = LLM(folder, dtype="float32", enforce_eager=True, max_model_len=128, max_num_seqs=4, seed=0)
    asked = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=1)
    (answer,) = model.generate({"prompt_token_ids": ids}, asked, use_tqdm=False)
    positions = zip(answer.prompt_logprobs[1:], ids[1:], strict=True)
    return [position[token].logprob for position, token in positions]


if __name__ == "__main__":
    main(*sys.argv[1:])
