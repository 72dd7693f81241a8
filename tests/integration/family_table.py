"""Takes every family of `tests/families.py` through training and into vLLM, and prints the table of docs/models.md.

    .venv/bin/python tests/integration/family_table.py FOLDER [FAMILY…]

FOLDER keeps what was found, so that the same command goes on after a cut; without families it is all of them.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from families import FAMILIES, Family, save_tiny  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

WORLD = ROOT / "data" / "tiny_world"
VLLM_PYTHON = os.environ.get("TEACHER_PYTHON", str(ROOT / ".venv-teacher/bin/python"))
IDS = [2 + 7 * n % 500 for n in range(24)]
SAME = 1e-3  # nats between two libraries' log-probabilities of one token; what they leave out is far above
SMALL = [
    "--num_prompts_per_batch", "2", "--max_steps", "2", "--save_steps", "1", "--max_completion_length", "8",
    "--max_prompt_length", "32", "--use_cpu", "true", "--learning_rate", "1e-3", "--warmup_steps", "0",
    "--local_files_only",
]  # fmt: skip
HEAD = "| family | class | `generate` | `continuous` | 2 steps, resumed | vLLM on a CPU |\n|---|---|---|---|---|---|"


@dataclasses.dataclass
class Found:
    """What became of a family; each attribute is `yes` or what was said instead.

    Attributes:
        vllm: The largest difference in nats of the log-probabilities of the checkpoint in vLLM and in transformers.
    """

    name: str
    kind: str
    generate: str
    continuous: str
    resumed: str
    vllm: str = ""


def trained(name: str, family: Family, folder: Path) -> Found:
    """Train a tiny model of the family with either engine, lose the last step, and do it again."""
    student = folder / "student"
    save_tiny(family, student, WORLD / "student")
    rows = [{"prompt": f"Room {n}, please.", "golden_response": [f"ROOM {n};"]} for n in range(4)]
    (folder / "rows.json").write_text(json.dumps(rows))
    said = {engine: train(folder, engine) for engine in ("generate", "continuous")}
    kind = json.loads((student / "config.json").read_text())["architectures"][0]
    return Found(name, kind, **said, resumed=said["generate"] and resumed(folder))


def train(folder: Path, engine: str) -> str:
    """`yes`, or the error's line."""
    command = [sys.executable, "-m", "trainer", "train", "--model_name_or_path", folder / "student", *SMALL,
               "--train_data_path", folder / "rows.json", "--output_dir", folder / engine,
               "--rollout_engine", engine]  # fmt: skip
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(map(str, command), cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "yes" if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")


def resumed(folder: Path) -> str:
    """Whether a run that lost its last step ends with the same bits."""
    run = folder / "generate"
    before = load_file(run / "checkpoint-2" / "model.safetensors")
    shutil.rmtree(run / "checkpoint-2")
    (run / "summary.json").unlink()
    said = train(folder, "generate")
    if said != "yes":
        return said
    after = load_file(run / "checkpoint-2" / "model.safetensors")
    same = all(torch.equal(weight, after[key]) for key, weight in before.items())
    return "yes" if same else "other bits"


@torch.no_grad()
def transformers_scores(folder: Path) -> list[float]:
    """Log-probabilities of all ids but the first."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logps = model(torch.tensor([IDS])).logits[0].log_softmax(-1)
    return [float(logps[place, token]) for place, token in enumerate(IDS[1:])]


def compared(checkpoints: Iterable[Path], work: Path) -> Iterable[str]:
    """For each checkpoint the largest difference in nats between vLLM and transformers, or what vLLM says."""
    folders = [str(folder) for folder in checkpoints]
    (work / "ids.json").write_text(json.dumps(IDS))
    script = Path(__file__).with_name("vllm_scores.py")
    with (
        (work / "vllm.log").open("w") as log,
        subprocess.Popen(
            [VLLM_PYTHON, str(script), str(work / "ids.json"), *folders], stdout=subprocess.PIPE, stderr=log, text=True
        ) as vllm,
    ):
        assert vllm.stdout is not None
        for folder, line in zip(folders, vllm.stdout, strict=True):
            yield difference(json.loads(line), folder)


def difference(answer: dict[str, Any], folder: str) -> str:
    if "error" in answer:
        return answer["error"]
    pairs = zip(answer["logps"], transformers_scores(Path(folder)), strict=True)
    return f"{max(abs(theirs - ours) for theirs, ours in pairs):.1g}"


def main(work: Path, names: list[str]) -> None:
    results = work / "found"
    results.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = results / f"{name}.json"
        if not path.exists():
            shutil.rmtree(work / name, ignore_errors=True)
            (work / name).mkdir()
            path.write_text(json.dumps(dataclasses.asdict(trained(name, FAMILIES[name], work / name))))
            print(f"{name}: trained", file=sys.stderr)
    found = {name: Found(**json.loads((results / f"{name}.json").read_text())) for name in names}
    unknown = [name for name in names if not found[name].vllm and found[name].generate == "yes"]
    folders = [work / name / "generate" / "checkpoint-2" for name in unknown]
    for name, said in zip(unknown, compared(folders, work) if unknown else [], strict=True):
        found[name].vllm = said
        (results / f"{name}.json").write_text(json.dumps(dataclasses.asdict(found[name])))
        print(f"{name}: {said}", file=sys.stderr)
    print(HEAD)
    for row in found.values():
        print("| " + " | ".join(dataclasses.astuple(row)) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or [*FAMILIES])
