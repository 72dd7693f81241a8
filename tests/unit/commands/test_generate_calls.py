"""`generate` for rows with tools: the teacher is sent them, and its calls become the demonstration."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_teacher import FakeTeacher, Fault, error

from trainer.commands.generate import run
from trainer.data.actions.answers import Action, golden_actions
from trainer.data.dataset import load_rows
from trainer.data.rows.row import Row
from trainer.errors import TeacherError
from trainer.settings.resolve import resolve

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CITIES = ["Oslo", "Lima", "Rome", "Cairo"]
FORMATS = ("json", "jsonl", "parquet")


def generate(url: str, prompts: Path, out: Path, **flags: Any) -> int:
    flags = {"base_url": url, "prompts": prompts, "out_dir": out, "train_samples": 3, "eval_samples": 1, **flags}
    return run(resolve("generate", [word for key, value in flags.items() for word in (f"--{key}", str(value))], {}))


def asking(folder: Path, tools: Any = (WEATHER,), **more: Any) -> Path:
    """A file of a question for each city."""
    rows = [
        {"prompt": f"Weather in {city}?", **({"tools": [*tools]} if tools else {}), **more.get(city, {})}
        for city in CITIES
    ]
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def city_of(body: dict[str, Any]) -> str:
    return next(city for city in CITIES if city in body["messages"][-1]["content"])


def calls(*arguments: str, name: str = "get_weather", content: str | None = None) -> dict[str, Any]:
    """The assistant's message with a call for each text of arguments."""
    made = [{"id": "c", "type": "function", "function": {"name": name, "arguments": each}} for each in arguments]
    return {"role": "assistant", "content": content, "tool_calls": made}


def calling(body: dict[str, Any]) -> dict[str, Any]:
    return calls(json.dumps({"city": city_of(body), "days": 2}), content="I look." if "Lima" in str(body) else None)


def rows_of(out: Path, format: str = "json") -> list[Row]:
    return [
        row
        for name in ("train_data", "eval_data")
        for row in load_rows(str(out / f"{name}.{format}"), needs_golden=False)
    ]


def rejected(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("recipe", ["from_prompts", "tooluse"])
def test_the_tools_of_a_row_are_in_the_request_and_the_calls_of_the_answer_in_the_row(tmp_path: Path, recipe: str):
    found = {}
    with FakeTeacher(calling) as teacher:
        for format in FORMATS:
            out = tmp_path / format
            assert generate(teacher.url, asking(tmp_path), out, recipe=recipe, format=format) == 0
            found[format] = rows_of(out, format)
    assert all(chat.body["tools"] == [WEATHER] for chat in teacher.chats) and len(teacher.chats) == 4 * len(FORMATS)
    for rows in found.values():
        assert sorted(row.prompt[0]["content"] for row in rows) == sorted(f"Weather in {city}?" for city in CITIES)
        for row in rows:
            call = {"city": row.prompt[0]["content"][11:-1], "days": 2}
            assert row.golden_calls == [{"name": "get_weather", "arguments": call}]
            assert golden_actions(row.golden_answer or []) == [Action("get_weather", call)]
            assert row.golden_response == ("I look." if call["city"] == "Lima" else None)
            assert row.tools == [WEATHER]


def test_a_row_of_calls_is_written_as_the_assistants_message(tmp_path: Path):
    with FakeTeacher(lambda body: calls('{"city": "Málaga"}', "")) as teacher:
        generate(teacher.url, asking(tmp_path), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "train_data.json").read_text(encoding="utf-8"))[0]
    functions = [{"name": "get_weather", "arguments": arguments} for arguments in ({"city": "Málaga"}, {})]
    made = [{"type": "function", "function": function} for function in functions]
    assert record["golden_response"] == [{"role": "assistant", "content": None, "tool_calls": made}]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert '{"name": "get_weather", "arguments": {"city": "Málaga"}}' in card


@pytest.mark.parametrize(
    ("recipe", "answer", "rule", "said"),
    [
        ("tooluse", calls('{"city": "Oslo"}', name="weather"), "unknown_tool", '"name": "weather"'),
        ("tooluse", calls('{"city": 7}'), "bad_arguments", '"city": 7'),
        ("tooluse", calls(""), "bad_arguments", '"arguments": {}'),
        ("tooluse", "It rains, I think.", "no_action", "It rains, I think."),
        ("from_prompts", calls('{"city": '), "bad_arguments", '"{\\"city\\": "'),
        ("from_prompts", calls('["Oslo"]'), "bad_arguments", "Oslo"),
        ("from_prompts", calls('{"city": "\\ud83d"}'), "bad_arguments", "get_weather"),
        ("from_prompts", calls(), "empty", ""),
    ],
)
def test_calls_that_break_a_rule_are_rejected_with_what_was_called(
    tmp_path: Path, recipe: str, answer: Any, rule: str, said: str
):
    with (
        FakeTeacher(lambda body: answer if city_of(body) == "Oslo" else calling(body)) as teacher,
        pytest.raises(TeacherError, match=f"1 {rule}"),
    ):
        generate(teacher.url, asking(tmp_path), tmp_path / "out", recipe=recipe)
    assert len(rows_of(tmp_path / "out")) == 3
    (found,) = rejected(tmp_path / "out")
    assert found["rule"] == rule and said in found["answer"]


def test_calls_other_than_the_golden_answer_are_a_contradiction_and_the_same_ones_are_none(tmp_path: Path):
    golden = {
        city: {"golden_answer": [{"Action": "get_weather", "Action_Input": {"city": city, "days": days}}]}
        for city, days in [("Oslo", 2), ("Lima", 3)]
    }
    with FakeTeacher(calling) as teacher, pytest.raises(TeacherError, match="1 contradiction"):
        generate(teacher.url, asking(tmp_path, **golden), tmp_path / "out")
    assert [found["row"]["prompt"] for found in rejected(tmp_path / "out")] == ["Weather in Lima?"]
    assert {row.prompt[0]["content"] for row in rows_of(tmp_path / "out")} >= {"Weather in Oslo?"}


def test_calls_that_the_server_leaves_as_text_are_checked_and_scored_as_the_model_wrote_them(tmp_path: Path, capsys):
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'

    def reply(body: dict[str, Any]) -> Any:
        if body.get("tool_choice") != "none":
            return Fault(400, error(words, 400))
        days = "two" if city_of(body) == "Oslo" else 2
        call = json.dumps({"name": "get_weather", "arguments": {"city": city_of(body), "days": days}})
        return f"<tool_call>\n{call}\n</tool_call>"

    flags = {"recipe": "tooluse", "vllm_server_max_concurrency": 4}
    with FakeTeacher(reply) as teacher, pytest.raises(TeacherError, match="1 bad_arguments"):
        generate(teacher.url, asking(tmp_path), tmp_path / "out", **flags)
    assert capsys.readouterr().err.count("reads no tool calls: they stay as the model writes them") == 1
    for row in rows_of(tmp_path / "out"):
        city = row.prompt[0]["content"][11:-1]
        assert row.golden_answer == [{"Action": "get_weather", "Action_Input": {"city": city, "days": 2}}]
        assert row.golden_calls is None and str(row.golden_response).startswith("<tool_call>\n")


def test_a_repeated_run_finds_the_calls_in_its_journal(tmp_path: Path):
    prompts, out = asking(tmp_path), tmp_path / "out"
    with FakeTeacher(calling) as teacher:
        generate(teacher.url, prompts, out)
    first = [(out / f"{name}.json").read_bytes() for name in ("train_data", "eval_data")]
    assert generate(teacher.url, prompts, out) == 0  # the teacher is gone
    assert first == [(out / f"{name}.json").read_bytes() for name in ("train_data", "eval_data")]


def test_answers_of_a_journal_without_tools_are_not_taken_for_answers_with_them(tmp_path: Path):
    out = tmp_path / "out"
    with FakeTeacher(calling) as teacher:
        generate(teacher.url, asking(tmp_path, tools=None), out)
        generate(teacher.url, asking(tmp_path), out)
    assert ["tools" in chat.body for chat in teacher.chats] == [False] * 4 + [True] * 4


def test_a_judge_is_shown_the_calls_and_offered_no_tools(tmp_path: Path):
    def grading(body: dict[str, Any]) -> Any:
        return "Grade: 8" if body["messages"][-1]["content"].startswith("Grade the answer") else calling(body)

    with FakeTeacher(grading) as teacher:
        assert generate(teacher.url, asking(tmp_path), tmp_path / "out", judge=5) == 0
    grades = [chat.body for chat in teacher.chats if chat.body["temperature"] == 0]
    assert len(grades) == 4 and all("tools" not in body for body in grades)
    for body in grades:
        call = {"name": "get_weather", "arguments": {"city": city_of(body), "days": 2}}
        assert json.dumps(call) in body["messages"][-1]["content"]


def test_rows_without_tools_are_asked_without_them(tmp_path: Path):
    with FakeTeacher(lambda body: "Rain.") as teacher:
        generate(teacher.url, asking(tmp_path, tools=None), tmp_path / "out")
    assert all("tools" not in chat.body for chat in teacher.chats)
    assert all(row.golden_response == "Rain." and row.golden_answer is None for row in rows_of(tmp_path / "out"))
