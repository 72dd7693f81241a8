"""What README and docs/ tell to type is typed: each block of shell that can run here, with the tiny models.

A page is read at a desk of its own: a checkout, the files of a user, and the run `outputs/mine` unless the page trains
it.
Settings of the environment make everything small. The commands stand as they are, but for the port of the server.
"""

import glob
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from documentation import ROOT, Block, shell_blocks
from made_runs import make_run
from running import ENVIRONMENT, WORLD

RUN_HERE = [block for block in shell_blocks() if not block.marks]
PAGES = {page: [*its] for page, its in itertools.groupby(RUN_HERE, key=lambda block: block.page)}
COMMANDS = ("train", "generate", "eval", "check", "report", "export", "compare")
OWN = ("data", "outputs")  # folders that commands write into
TINY = {
    "SDFT_MODEL_NAME_OR_PATH": "data/tiny_world/student",
    "SDFT_LOCAL_FILES_ONLY": "true",
    "SDFT_MAX_PROMPT_LENGTH": "256",
    "SDFT_MAX_COMPLETION_LENGTH": "48",
    "SDFT_MAX_EVAL_SAMPLES": "4",
    "SDFT_NUM_PROMPTS_PER_BATCH": "4",
    "SDFT_MAX_TOKENS": "64",
}
SECONDS = 300  # for one command; others may use the machine


def files_of_a_user() -> dict[str, object]:
    """The files that the pages name, a few rows each."""
    train, evaluation = (json.loads((WORLD / f"{name}_data.json").read_text()) for name in ("train", "eval"))
    texts = [{"prompt": row["prompt"], "golden_response": row["golden_response"]} for row in evaluation[:4]]
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "forecast", "description": "The weather of tomorrow.", "parameters": parameters}
    return {
        "my.json": train[:8],
        "more.json": train[8:16],
        "my_eval.json": evaluation[:4],
        "my_prompts.json": [{"prompt": row["prompt"]} for row in train[:8]],
        "texts.json": texts,
        "tools.json": [{"type": "function", "function": function}],
        "questions.csv": "topic,question,answer\n" + 8 * 'the sea,"What is a tide?",The sea rises and falls.\n',
        "handbook.txt": (WORLD / "context" / "context.txt").read_text(),
    }


def desk(folder: Path) -> Path:
    """A checkout, as links, with the files of a user and folders of its own to write into."""
    for path in ROOT.iterdir():
        if path.name not in OWN and path.name != ".git":
            (folder / path.name).symlink_to(path)
    for name in OWN:
        (folder / name).mkdir()
    for path in (ROOT / "data").iterdir():
        (folder / "data" / path.name).symlink_to(path)
    for name, content in files_of_a_user().items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


Typing = Callable[[list[str], Path], tuple[int | None, str]]


@pytest.fixture(scope="module")
def type_in(tmp_path_factory: pytest.TempPathFactory) -> Typing:
    """Runs the words of a command at a desk; the exit code, and what it printed."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([f"trainer.commands.{name}" for name in COMMANDS])
    logs = tmp_path_factory.mktemp("logs")
    numbers = itertools.count()

    def typed(words: list[str], folder: Path) -> tuple[int | None, str]:
        log = logs / f"{next(numbers)}.log"
        if words[0] == "sdft":
            process = server.Process(target=of_ours, args=(words[1:], folder, log))
            process.start()
            process.join(SECONDS)
            return process.exitcode, log.read_text(errors="replace")
        run = "source" if words[0] == "source" else "exec"
        environment = os.environ | {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
        command = ["bash", "-c", f'{run} "$@"', "bash", *(words[1:] if run == "source" else words)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, done.stdout + done.stderr

    return typed


def of_ours(arguments: list[str], folder: Path, log: Path) -> None:
    """What the process of one of our commands does; all is imported there already."""
    import torch

    from trainer.__main__ import main

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.update(ENVIRONMENT | TINY)
    torch.set_num_threads(1)
    sys.exit(main(arguments))


@pytest.fixture(scope="module")
def finished(type_in: Typing, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `outputs/mine`, as README says to make it."""
    folder = desk(tmp_path_factory.mktemp("finished"))
    data = ["--train_data_path", "my.json", "--eval_data_path", "my_eval.json"]
    code, said = type_in(["sdft", "train", *data, "--output_dir", "outputs/mine"], folder)
    assert code == 0, said
    return folder / "outputs" / "mine"


def trains(page: list[Block], run: str) -> bool:
    """Whether a page makes this run itself."""
    return any(words[:2] == ["sdft", "train"] and words[-1] == run for block in page for words in block.commands)


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_tells_to_type_works(page, type_in, finished, teacher_url, tmp_path):
    folder, port = desk(tmp_path), teacher_url.removeprefix("http://")
    if not trains(PAGES[page], "outputs/mine"):
        shutil.copytree(finished, folder / "outputs" / "mine")
    make_run(folder / "outputs" / "quickstart-20261127-045200" / "run", steps=2)
    for block in PAGES[page]:
        for line in block.commands:
            words = [each for word in line for each in sorted(glob.glob(word, root_dir=folder)) or [word]]
            code, said = type_in([word.replace("localhost:8000", port) for word in words], folder)
            assert code == 0, f"{block.name}: {' '.join(line)} ended with {code}:\n{said[-3000:]}"
