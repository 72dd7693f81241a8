"""Tools against a real vLLM: they stand in its prompts, and the calls that it reads reach data, scores and targets."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hermes_model
import pytest
from faulty_proxy import FaultyProxy
from running import healthy
from transformers import AutoTokenizer

from trainer.__main__ import main
from trainer.data.chat_template import ChatTemplate
from trainer.data.dataset import load_rows
from trainer.teachers.served.chat_messages import ChatAnswer
from trainer.teachers.served.client import TeacherClient

READS_CALLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--max-model-len", "512")
LENGTHS = ["--max_prompt_length", "256", "--max_completion_length", "64"]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model that calls the tool it is shown, and its tokenizer."""
    folder = tmp_path_factory.mktemp("hermes")
    assert hermes_model.make(folder) < hermes_model.SURE
    return folder


@pytest.fixture(scope="module")
def url(serve, model: Path, tmp_path_factory) -> Iterator[str]:
    """The base URL of a vLLM that serves it and reads its calls."""
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with serve(0, log, *READS_CALLS, model=model) as server:
        yield healthy(server, log)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """The rows without their answers."""
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{**row, "golden_answer": None} for row in hermes_model.rows()]))
    return path


def ask(url: str, question: Callable[[TeacherClient], Any]) -> Any:
    async def asking() -> Any:
        async with TeacherClient(url, "glm-4.7") as client:
            return await question(client)

    return asyncio.run(asking())


def chat(row: dict[str, Any]) -> Callable[[TeacherClient], Any]:
    """The answer of at most 64 tokens to a row's prompt with its tools."""
    return lambda client: client.chat(asked(row), row["tools"], max_tokens=64, temperature=0.0, seed=0)


def asked(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": row["prompt"]}]


def call_of(row: dict[str, Any]) -> dict[str, Any]:
    """The call that a row takes, as the rows and the client have it."""
    (action,) = row["golden_answer"]
    return {"name": action["Action"], "arguments": action["Action_Input"]}


def test_the_server_is_shown_what_the_student_is_shown_and_its_call_is_read_with_its_arguments(url, model):
    template = ChatTemplate(AutoTokenizer.from_pretrained(model))
    for row in hermes_model.rows()[:4]:
        text = template.text(asked(row), row["tools"])
        assert json.dumps(row["tools"][0]) in text
        tokens = ask(url, lambda client, row=row: client.render(asked(row), row["tools"])).ids
        assert tokens == template.tokenizer(text)["input_ids"]
        answer: ChatAnswer = ask(url, chat(row))
        assert answer.tool_calls == [call_of(row)] and answer.text == ""
        assert answer.prompt_tokens == len(tokens)


def test_results_of_calls_go_back_to_the_server_in_its_template(url, model):
    row = hermes_model.rows()[0]
    messages = [*asked(row), hermes_model.answer_to(row), {"role": "tool", "content": "Rain."}]
    template = ChatTemplate(AutoTokenizer.from_pretrained(model))
    text = template.text(messages, row["tools"])
    assert f"<tool_call>\n{json.dumps(call_of(row))}\n</tool_call><|im_end|>\n<|im_start|>tool\nRain." in text
    assert ask(url, lambda client: client.render(messages, row["tools"])).ids == template.tokenizer(text)["input_ids"]


def test_generate_writes_rows_whose_demonstration_is_the_call(url, prompts, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("checks: [truncated, empty, template_echo, no_action, unknown_tool, bad_arguments]\n")
    rows = {row["id"]: row for row in hermes_model.rows()}
    sizes = ["--train_samples", str(len(rows) - 2), "--eval_samples", "2", "--temperature", "0", "--max_tokens", "64"]
    flags = ["--base_url", url, "--prompts", prompts, "--out_dir", tmp_path / "out", "--recipe", recipe, *sizes]
    assert main(["generate", *map(str, flags)]) == 0
    written = [row for name in ("train", "eval") for row in load_rows(str(tmp_path / "out" / f"{name}_data.json"))]
    assert {row.id for row in written} == rows.keys()
    for row in written:
        assert row.golden_calls == [call_of(rows[row.id])] and row.golden_response is None
        assert row.golden_answer == rows[row.id]["golden_answer"] and row.tools == rows[row.id]["tools"]


def test_a_served_model_is_scored_by_the_calls_that_the_server_reads(url, tmp_path):
    wrong = hermes_model.rows()
    for row in wrong[:3]:  # the tool that is shown stays the one that is called
        row["golden_answer"][0]["Action"] = "roselo"
    path, output = tmp_path / "rows.json", tmp_path / "scores.json"
    path.write_text(json.dumps(wrong))
    flags = ["--served", url, "--eval_data_path", path, "--output_file", output, *LENGTHS]
    assert main(["eval", *map(str, flags)]) == 0
    found = json.loads(output.read_text())["scores"]["new_skill"]
    assert found["accuracy"] == 1 - 3 / len(wrong) and found["format_errors"] == 0


def test_a_call_that_the_teacher_demonstrates_is_learnt_as_the_student_itself_writes_it(
    finish, url, model, prompts, tmp_path
):
    """The teacher is the student: what it is taught costs it nothing, down to the end of the turn."""
    arguments = ["--objective", "seqkd", "--model_name_or_path", model, "--train_data_path", prompts, *LENGTHS]
    run = finish(url, tmp_path / "run", *arguments, "--num_prompts_per_batch", "4", "--max_steps", "1")
    lines = [json.loads(line) for line in (run.run / "demonstrations.jsonl").read_text().splitlines()]
    answers = {line["key"]: line["record"] for line in lines if "key" in line}
    rows = hermes_model.rows()
    assert {key: answer["tool_calls"] for key, answer in answers.items()} == {
        str(number): [call_of(row)] for number, row in enumerate(rows)
    }
    assert run.json("summary.json")["demonstrations"] == {"written": len(rows), "replaced": 0, "dropped": 0}
    assert 0 <= run.losses[0] < 2 * hermes_model.SURE


# ---- a server that reads no calls


def test_with_tool_choice_none_the_model_is_still_shown_the_tools_and_writes_its_call_as_text(url):
    row = hermes_model.rows()[0]
    with FaultyProxy(url) as proxy:
        proxy.question = lambda path, body: {**body, "tool_choice": "none"} if path == CHAT else body
        answer = ask(proxy.url, chat(row))
    assert answer.tool_calls == [] and answer.text == f"<tool_call>\n{json.dumps(call_of(row))}\n</tool_call>"


def test_a_server_without_a_parser_refuses_tools_and_is_asked_to_read_no_calls_which_is_said_once(teacher_url, capsys):
    """The tiny teacher's template has no place for tools, so its answer is that to the bare prompt."""
    row, bodies = {"prompt": "What is the velora of Katolo?", "tools": [hermes_model.tool("tamiko", "height")]}, []

    async def three(client: TeacherClient) -> list[ChatAnswer]:
        return [await chat(row)(client) for _ in range(2)] + [await chat({**row, "tools": []})(client)]

    with FaultyProxy(teacher_url) as proxy:
        proxy.question = lambda path, body: bodies.append(body) or body
        *with_tools, without = ask(proxy.url, three)
    assert [body.get("tool_choice") for body in bodies] == [None, "none", "none", None]
    assert all(body["tools"] == row["tools"] for body in bodies[:3]) and "tools" not in bodies[3]
    assert without.text.startswith("Thought: I need the velora: call tamiko.\nAction: tamiko")
    assert [answer.text for answer in with_tools] == [without.text] * 2
    said = capsys.readouterr().err
    assert said.count("reads no tool calls: they stay as the model writes them") == 1
    assert "--enable-auto-tool-choice --tool-call-parser NAME" in said
