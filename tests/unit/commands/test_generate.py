import json
import math
import os
import random
import re
import signal
import threading
import time as clock
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from fake_teacher import FakeTeacher, Fault, echo, error
from tenacity import wait_none

from trainer.commands.generate import run
from trainer.data.actions.answers import Action, golden_actions, parse_actions
from trainer.data.dataset import load_rows
from trainer.data.rows.row import Row
from trainer.errors import Stopped, TeacherError, UsageError
from trainer.generation.factory import parse_grade
from trainer.generation.files import write_rows
from trainer.settings.resolve import resolve
from trainer.teachers.served import retries as retries_module
from trainer.teachers.served.pace import START

FILES = ("train_data.json", "eval_data.json")
ALL_FILES = (*FILES, "rejected.jsonl", "README.md")


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "BACKOFF", wait_none())


def generate(url: str, out_dir: Path, **flags: Any) -> int:
    flags = {"base_url": url, "out_dir": out_dir, "train_samples": 12, "eval_samples": 4, **flags}
    return run(resolve("generate", [word for key, value in flags.items() for word in (f"--{key}", str(value))], {}))


def prompt_file(folder: Path, count: int = 24, **extra: Any) -> Path:
    rows = [{"prompt": f"Question {n}?", "id": f"q{n}", **extra} for n in range(count)]
    path = folder / "prompts.json"
    path.write_text(json.dumps(rows))
    return path


def written(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ALL_FILES]


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((folder / name).read_text())


def imaginative(body: dict[str, Any]) -> Any:
    """Writes one of 40 prompts, in changing case and spacing, cuts some answers, and takes its time."""
    clock.sleep(random.random() / 200)
    asked = body["messages"][-1]["content"]
    if asked.startswith("Write one "):
        number = body["seed"] % 40
        return f'"Tell   me about THING {number}."' if body["seed"] % 2 else f"Tell me about thing {number}."
    return (echo(body), "length") if body["seed"] % 5 == 0 else f"First line of {asked.split()[-1]}\n{body['seed']}"


def test_both_files_have_the_asked_numbers_of_rows_in_the_data_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with FakeTeacher(imaginative) as teacher:
        assert generate(teacher.url, tmp_path) == 0
    said = capsys.readouterr()
    assert said.out.startswith("16 rows, ")
    assert said.err.splitlines()[-1].startswith("generate: 16/16 rows")
    assert [len(load_rows(str(tmp_path / name))) for name in FILES] == [12, 4]
    row = rows_of(tmp_path, "train_data.json")[0]
    assert row["golden_response"][0].startswith("First line")
    assert {"topic", "task", "difficulty"} <= row.keys()


def test_no_prompt_occurs_twice_within_or_across_the_files_whatever_its_case_and_spacing(tmp_path: Path):
    with FakeTeacher(imaginative) as teacher:
        assert generate(teacher.url, tmp_path) == 0
    prompts = [
        " ".join(row.prompt[0]["content"].casefold().split())
        for name in FILES
        for row in load_rows(str(tmp_path / name))
    ]
    assert len(set(prompts)) == len(prompts) == 16


def judging(body: dict[str, Any]) -> Any:
    """As `imaginative`, and grades."""
    return "Grade: 9" if body["messages"][-1]["content"].startswith("Grade the") else imaginative(body)


@pytest.mark.parametrize("flags", [{}, {"judge": 5, "best_of": 2}])
def test_the_files_are_the_same_bytes_at_any_concurrency_and_when_repeated(tmp_path: Path, flags: dict[str, Any]):
    with FakeTeacher(judging) as teacher:
        for concurrency in (1, 3, 16, 16):
            out = tmp_path / str(concurrency)
            assert generate(teacher.url, out, vllm_server_max_concurrency=concurrency, **flags) == 0
    assert written(tmp_path / "1") == written(tmp_path / "3") == written(tmp_path / "16")


@pytest.mark.parametrize("survived", [1, 20])
def test_a_run_continued_after_its_teacher_died_gives_the_files_of_an_unbroken_run(tmp_path: Path, survived: int):
    with FakeTeacher(imaginative) as teacher:
        generate(teacher.url, tmp_path / "unbroken")
        whole = len(teacher.chats)

    answered = []

    def dying(body: dict[str, Any]) -> Any:
        answered.append(1)
        return Fault(503, "dead") if len(answered) > survived else imaginative(body)

    with FakeTeacher(dying) as teacher, pytest.raises(TeacherError, match="503 dead"):
        generate(teacher.url, tmp_path / "broken", teacher_patience=0.05)
    with FakeTeacher(imaginative) as teacher:
        assert generate(teacher.url, tmp_path / "broken") == 0
        # What was in flight when the teacher died may be asked again, nothing else.
        assert len(teacher.chats) <= whole - survived + START
    assert written(tmp_path / "broken") == written(tmp_path / "unbroken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_exit_code_4_and_the_same_command_continues(
    tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
):
    prompts = prompt_file(tmp_path)
    before = signal.getsignal(number)

    def interrupting(body: dict[str, Any]) -> str:
        if len(teacher.chats) == 8:
            os.kill(os.getpid(), number)
        return echo(body)

    with FakeTeacher(interrupting) as teacher:
        with pytest.raises(Stopped, match="the same command continues") as raised:
            generate(teacher.url, tmp_path / "out", prompts=prompts, vllm_server_max_concurrency=2)
        assert raised.value.exit_code == 4
        assert signal.getsignal(number) == before
        assert not (tmp_path / "out" / "train_data.json").exists()
        assert generate(teacher.url, tmp_path / "out", prompts=prompts, vllm_server_max_concurrency=2) == 0
        assert len(teacher.chats) <= 16 + 2
        generate(teacher.url, tmp_path / "unbroken", prompts=prompts)
    assert written(tmp_path / "out") == written(tmp_path / "unbroken")
    assert "answers from the journal" in capsys.readouterr().out


def test_a_finished_run_is_repeated_without_a_request_and_may_be_enlarged(tmp_path: Path):
    prompts = prompt_file(tmp_path)
    with FakeTeacher() as teacher:
        generate(teacher.url, tmp_path / "out", prompts=prompts)
        first = [rows_of(tmp_path / "out", name) for name in FILES]
        generate(teacher.url, tmp_path / "out", prompts=prompts)
        assert len(teacher.chats) == 16
        generate(teacher.url, tmp_path / "out", prompts=prompts, train_samples=20)
        assert len(teacher.chats) == 24
    assert rows_of(tmp_path / "out", "eval_data.json") == first[1]
    assert rows_of(tmp_path / "out", "train_data.json")[:12] == first[0]


def test_another_seed_sets_the_journal_aside_and_gives_other_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    prompts = prompt_file(tmp_path)
    with FakeTeacher() as teacher:
        generate(teacher.url, tmp_path / "out", prompts=prompts, seed=1)
        first = written(tmp_path / "out")
        generate(teacher.url, tmp_path / "out", prompts=prompts, seed=2)
        assert written(tmp_path / "out") != first
        assert "made with another prompts, seed; set aside as generate.journal.1.jsonl" in capsys.readouterr().out
        asked = len(teacher.chats)
        generate(teacher.url, tmp_path / "out", prompts=prompts, seed=1)
        assert "going on with generate.journal.1.jsonl, made with these" in capsys.readouterr().out
        assert len(teacher.chats) == asked and written(tmp_path / "out") == first


def test_a_finished_run_needs_no_teacher_to_be_written_again_in_another_format(tmp_path: Path):
    with FakeTeacher(imaginative) as teacher:
        generate(teacher.url, tmp_path)
    assert generate(teacher.url, tmp_path, format="jsonl", teacher_patience=0) == 0
    assert len(load_rows(str(tmp_path / "train_data.jsonl"))) == 12


def test_a_busy_server_gets_fewer_requests_at_once_and_a_quick_one_more(tmp_path: Path):
    def at_most(limit: int) -> Any:
        def reply(body: dict[str, Any]) -> Any:
            with lock:
                state["now"] += 1
                state["most"] = max(state["most"], state["now"])
                busy = state["now"] > limit
            clock.sleep(0.005)
            with lock:
                state["now"] -= 1
            return Fault(429, "busy") if busy else echo(body)

        return reply

    lock, found = threading.Lock(), {}
    for limit in (4, 1000):
        state = {"now": 0, "most": 0}
        with FakeTeacher(at_most(limit)) as teacher:
            prompts = prompt_file(tmp_path, count=300)
            generate(teacher.url, tmp_path / str(limit), prompts=prompts, train_samples=300, eval_samples=0)
        report = json.loads((tmp_path / str(limit) / "generation_report.json").read_text())
        found[limit] = state["most"], report["this_run"]["highest_concurrency"], report["this_run"]["retries"]
    assert found[4][0] <= found[4][1] == START and found[4][2] > 0
    assert found[1000][1] >= 2 * START and found[1000][2] == 0


def test_the_teacher_is_shown_the_recipes_instruction_and_rows_hold_the_prompt_alone(tmp_path: Path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text('request: "Ask of {x}."\naxes: {x: [tea]}\nanswer: "{prompt} Be brief."\nmax_tokens: 77\n')

    def quoting(body: dict[str, Any]) -> str:
        return f'"What is tea {body["seed"]}?"' if body["messages"][0]["content"] == "Ask of tea." else "A leaf."

    with FakeTeacher(quoting) as teacher:
        generate(teacher.url, tmp_path / "out", recipe=recipe)
        shown = {chat.body["messages"][0]["content"] for chat in teacher.chats} - {"Ask of tea."}
        assert {chat.body["max_tokens"] for chat in teacher.chats} == {77}
    rows = [row for name in FILES for row in rows_of(tmp_path / "out", name)]
    assert {f"{row['prompt']} Be brief." for row in rows} == shown
    assert all(re.fullmatch(r"What is tea \d+\?", row["prompt"]) for row in rows)


def test_requests_that_the_teacher_wrote_badly_are_rejected_before_they_are_answered(tmp_path: Path):
    def writing(body: dict[str, Any]) -> Any:
        if not body["messages"][0]["content"].startswith("Write one"):
            return f"Answer {body['seed']}."
        bad = {0: "I'm sorry, but I can't help with that.", 1: ("Tell me", "length"), 2: " "}
        return bad.get(body["seed"] % 6, f"Tell me of {words(body['seed'])}.")

    with FakeTeacher(writing) as teacher:
        generate(teacher.url, tmp_path, train_samples=30)
        answered = [chat for chat in teacher.chats if not chat.body["messages"][0]["content"].startswith("Write one")]
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert {row["rule"] for row in rejected} == {"request_refusal", "request_truncated", "request_empty"}
    assert len(answered) == 34


def test_requests_that_are_nearly_the_same_are_rejected_and_name_the_one_they_repeat(tmp_path: Path):
    def writing(body: dict[str, Any]) -> Any:
        asked, seed = body["messages"][0]["content"], body["seed"]
        if not asked.startswith("Write one"):
            return f"Answer {seed}."
        return f"{words(seed % 40)} {'kindly' if seed % 2 else 'please'}."

    with FakeTeacher(writing) as teacher:
        generate(teacher.url, tmp_path, train_samples=10, eval_samples=2)
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    kept = {row["id"] for name in FILES for row in rows_of(tmp_path, name)}
    assert {row["rule"] for row in rejected} <= {"duplicate", "near_duplicate"}
    assert all(row["repeats"] in kept for row in rejected)


def test_further_keys_of_a_prompt_file_are_carried_and_its_golden_responses_replaced(tmp_path: Path):
    golden = [{"Action": "look_up", "Action_Input": {"city": "Rome"}}]
    prompts = prompt_file(tmp_path, golden_answer=golden, golden_response=["old"], level={"deep": [1]})
    with FakeTeacher(lambda body: 'Thought: x\nAction: look_up\nAction_Input: {"city": "Rome"}') as teacher:
        assert generate(teacher.url, tmp_path / "out", prompts=prompts) == 0
    for row in rows_of(tmp_path / "out", "train_data.json"):
        assert row["golden_answer"] == golden
        assert row["level"] == {"deep": [1]}
        assert row["prompt"] == f"Question {row['id'][1:]}?"
        assert row["golden_response"] == ["Thought: x", "Action: look_up", 'Action_Input: {"city": "Rome"}']


def test_answers_that_contradict_are_empty_cut_or_refused_are_rejected_counted_and_kept_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    prompts = prompt_file(tmp_path, count=24, golden_answer=[{"Action": "go", "Action_Input": "north"}])
    bad: dict[str, Any] = {
        "Question 0?": "Action: go\nAction_Input: south",
        "Question 1?": "Action: stay\nAction_Input: north",
        "Question 2?": "<think>Action: go",
        "Question 3?": ("Action: go\nAction_Input: north", "length"),
        "Question 4?": Fault(400, error("prompt too long", 400)),
    }
    with FakeTeacher(
        lambda body: bad.get(body["messages"][0]["content"], "Action: go\nAction_Input: north")
    ) as teacher:
        assert generate(teacher.url, tmp_path / "out", prompts=prompts, train_samples=15, eval_samples=4) == 0
        ids = {row["id"] for name in FILES for row in rows_of(tmp_path / "out", name)}
        assert ids == {f"q{n}" for n in range(5, 24)}
        said = capsys.readouterr().out
        assert "19 rows, 5 rejected (1 truncated, 1 empty, 2 contradiction, 1 refused); 24 requests" in said

        with pytest.raises(
            TeacherError, match=r"19 rows were good and are written, expected 20;.*prompt too long"
        ) as raised:
            generate(teacher.url, tmp_path / "out", prompts=prompts, train_samples=16, eval_samples=4)
        assert raised.value.exit_code == 3
        assert [len(rows_of(tmp_path / "out", name)) for name in FILES] == [15, 4]


def test_a_teacher_that_refuses_everything_ends_the_run_after_a_few_requests_with_its_own_words(tmp_path: Path):
    with FakeTeacher(lambda body: Fault(400, error("no such template", 400))) as teacher:
        with pytest.raises(TeacherError, match=r"no such template\. So were all of the first 32\."):
            generate(teacher.url, tmp_path, train_samples=500)
        assert len(teacher.chats) <= 32 + 2 * START
    assert not (tmp_path / "train_data.json").exists()


def test_a_run_without_one_good_row_says_why_and_leaves_the_data_that_is_there(tmp_path: Path):
    with FakeTeacher(imaginative) as teacher:
        generate(teacher.url, tmp_path)
        before = written(tmp_path)
        teacher.reply = lambda body: ""
        with pytest.raises(TeacherError, match="0 rows were good") as raised:
            generate(teacher.url, tmp_path, seed=3)
        with pytest.raises(TeacherError, match="0 rows were good"):
            generate(teacher.url, tmp_path / "new", prompts=prompt_file(tmp_path))
    assert raised.value.exit_code == 3
    assert [(tmp_path / name).read_bytes() for name in (*FILES, "README.md")] == [before[0], before[1], before[3]]
    for folder, rule, count in ((tmp_path, "request_empty", 64), (tmp_path / "new", "empty", 24)):
        rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
        assert [row["rule"] for row in rejected] == [rule] * count
        report = json.loads((folder / "generation_report.json").read_text())
        assert report["rows"] == {"train": 0, "eval": 0} and report["rejected"][rule] == count
    assert not any((tmp_path / "new" / name).exists() for name in (*FILES, "README.md"))


@pytest.mark.parametrize(
    ("answer", "mend"),
    [
        (("cut", "length"), "Try a higher --max_tokens than 100,"),
        (
            Fault(400, error("This model's maximum context length is 64 tokens.", 400)),
            "a smaller --max_tokens than 100",
        ),
        ("", "The teacher's answers hold no text. If the model thinks, let it answer without"),
        ("I'm sorry, but I can't help with that.", "Try more prompts in the file,"),
    ],
)
def test_what_brings_more_rows_is_told_by_why_candidates_were_rejected(tmp_path: Path, answer: Any, mend: str):
    prompts = prompt_file(tmp_path)
    with FakeTeacher(lambda body: answer) as teacher, pytest.raises(TeacherError) as raised:
        generate(teacher.url, tmp_path / "out", prompts=prompts, max_tokens=100)
    assert mend in str(raised.value)


def test_a_teacher_without_imagination_ends_in_exit_code_3_after_a_bounded_number_of_requests(tmp_path: Path):
    with FakeTeacher(lambda body: "always the same") as teacher:
        with pytest.raises(
            TeacherError, match="1 rows were good and are written, expected 16; 64 candidates"
        ) as raised:
            generate(teacher.url, tmp_path)
        assert raised.value.exit_code == 3
        assert len(teacher.chats) <= 128
    assert len(rows_of(tmp_path, "eval_data.json")) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"train_samples": 30}, "has 24 different prompts; expected 34"),
        ({"prompts": "missing.json"}, "no data at missing.json"),
        ({"base_url": "ftp://x"}, "expected one like"),
    ],
)
def test_impossible_settings_are_usage_errors_before_any_request(tmp_path: Path, flags: dict[str, Any], message: str):
    with FakeTeacher() as teacher:
        with pytest.raises(UsageError, match=message):
            generate(**{"url": teacher.url, "out_dir": tmp_path / "out", "prompts": prompt_file(tmp_path), **flags})
        assert teacher.requests == []


def test_a_prompt_that_occurs_twice_in_the_file_counts_once(tmp_path: Path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"prompt": "What is  IT?"}, {"prompt": "what is it?"}, {"prompt": "Why?"}]))
    with FakeTeacher() as teacher, pytest.raises(UsageError, match="2 different prompts; expected 3"):
        generate(teacher.url, tmp_path / "out", prompts=path, train_samples=2, eval_samples=1)


def test_a_folder_that_cannot_be_made_is_a_usage_error_before_any_request(tmp_path: Path):
    (tmp_path / "file").touch()
    with FakeTeacher() as teacher:
        with pytest.raises(UsageError, match=r"Not a directory.*pass --out_dir FOLDER"):
            generate(teacher.url, tmp_path / "file" / "out")
        assert teacher.requests == []


def test_a_folder_that_is_not_writable_is_a_usage_error_before_any_request():
    with FakeTeacher() as teacher:
        with pytest.raises(UsageError, match="can't write to the folder"):
            generate(teacher.url, Path("/sys"))  # where not even root can make a file
        assert teacher.requests == []


@pytest.mark.parametrize("name", FILES)
def test_data_that_generate_did_not_make_is_never_overwritten(tmp_path: Path, name: str):
    (tmp_path / name).write_text("[]")
    with FakeTeacher() as teacher:
        with pytest.raises(UsageError, match="was not made by `generate`"):
            generate(teacher.url, tmp_path)
        assert teacher.requests == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_context_without_room_for_a_prompt_is_a_teacher_error_before_any_chat(tmp_path: Path):
    with FakeTeacher(max_model_len=512) as teacher:
        with pytest.raises(TeacherError, match="a smaller --max_tokens"):
            generate(teacher.url, tmp_path, max_tokens=512)
        assert teacher.chats == []


def test_the_sampling_settings_reach_the_teacher_and_each_request_has_a_seed_of_its_own(tmp_path: Path):
    with FakeTeacher() as teacher:
        flags = {
            "prompts": prompt_file(tmp_path),
            "temperature": 0.25,
            "max_tokens": 99,
            "api_key": "k",
            "model": "glm-4.7",
        }
        generate(teacher.url, tmp_path / "out", **flags)
    assert {(r.body["temperature"], r.body["max_tokens"], r.authorization) for r in teacher.chats} == {
        (0.25, 99, "Bearer k")
    }
    assert len({r.body["seed"] for r in teacher.chats}) == 16


def words(seed: int, count: int = 30) -> str:
    """So many made-up words that depend on the seed."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("aeioubdfglmnprst", k=5)) for _ in range(count))


CATALOGUE = [
    {
        "name": name,
        "description": f"Goes {name}.",
        "parameters": {"type": "object", "properties": {"steps": {"type": "integer"}}, "required": ["steps"]},
    }
    for name in ("north", "south", "east")
]


def tool_caller(body: dict[str, Any]) -> Any:
    """Writes requests, and calls of which some name no tool, have wrong arguments or are none at all."""
    asked, seed = body["messages"][-1]["content"], body["seed"]
    if "Write one request" in asked:
        return f"Walk {seed} steps to the harbour, please, and then tell me of ship {seed}."
    calls = {0: "I would walk.", 1: "Action: up\nAction_Input: {}", 2: 'Action: north\nAction_Input: {"steps": "two"}'}
    return calls.get(seed % 6, 'Thought: walk.\nAction: north\nAction_Input: {"steps": 2}')


@pytest.fixture
def walking(tmp_path: Path) -> Path:
    """The folder that `generate --recipe tooluse` fills with walks."""
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(CATALOGUE))
    with FakeTeacher(tool_caller) as teacher:
        assert generate(teacher.url, tmp_path / "out", recipe="tooluse", tools=tools, train_samples=30) == 0
    return tmp_path / "out"


def test_calls_that_no_tool_of_the_prompt_accepts_are_rejected_by_name_and_the_others_become_golden_answers(walking):
    rejected = [json.loads(line) for line in (walking / "rejected.jsonl").read_text().splitlines()]
    assert {row["rule"] for row in rejected} == {"no_action", "unknown_tool", "bad_arguments"}
    assert all(row["answer"] and row["row"]["prompt"] and "golden_response" not in row["row"] for row in rejected)
    for row in load_rows(str(walking / "train_data.json")):
        assert row.golden_answer == [{"Action": "north", "Action_Input": {"steps": 2}}]
        assert sorted(row.extra["tools"]) == ["east", "north", "south"]
        assert all(f"\n{tool['name']}: Goes {tool['name']}.\n" in row.prompt[0]["content"] for tool in CATALOGUE)


def test_the_report_counts_every_candidate_once(walking):
    report = json.loads((walking / "generation_report.json").read_text())
    rejected = len((walking / "rejected.jsonl").read_text().splitlines())
    assert report["rows"] == {"train": 30, "eval": 4}
    assert report["candidates"] == 34 + rejected == 34 + sum(report["rejected"].values())
    assert report["yield"]["no_action"] == round(1 - report["rejected"]["no_action"] / report["candidates"], 4)
    assert report["rejected"]["truncated"] == 0 and report["yield"]["truncated"] == 1
    assert report["total"] == {key: report["this_run"][key] for key in report["total"]}
    assert report["total"]["requests"] >= 2 * report["candidates"] and report["total"]["completion_tokens"] > 0
    assert report["this_run"]["new_rows"] == 34 and report["this_run"]["rows_per_second"] > 0


def test_the_data_card_says_what_the_data_is_and_shows_three_rows(walking):
    card = (walking / "README.md").read_text()
    assert "`tooluse`" in card and "30 to train on, 4 to evaluate on" in card and "| no_action |" in card
    for row in load_rows(str(walking / "train_data.json"))[:3]:
        assert f"**{row.id}**" in card and row.golden_response in card


def test_a_repeated_run_pays_nothing_and_writes_the_same_files(tmp_path: Path):
    with FakeTeacher(imaginative) as teacher:
        generate(teacher.url, tmp_path)
        first = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "generation_report.json"}
        asked = len(teacher.chats)
        generate(teacher.url, tmp_path)
        assert len(teacher.chats) == asked
    assert first == {name: (tmp_path / name).read_bytes() for name in first}
    report = json.loads((tmp_path / "generation_report.json").read_text())
    assert report["total"]["requests"] == asked and report["this_run"]["requests"] == 0
    assert report["this_run"]["new_rows"] == 0


@pytest.mark.parametrize("format", ["json", "jsonl", "parquet"])
def test_every_format_holds_the_same_rows(tmp_path: Path, format: str):
    golden = [{"Action": "go", "Action_Input": {"to": {"city": "Rome"}}}]
    answer = 'Thought: x\nAction: go\nAction_Input: {"to": {"city": "Rome"}}'
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Multi?"}]
    rows = [{"prompt": "One?", "golden_answer": golden}, {"prompt": messages, "golden_answer": golden, "level": "3"}]
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(rows))
    flags = {"prompts": path, "train_samples": 2, "eval_samples": 0, "format": format}
    with FakeTeacher(lambda body: answer) as teacher:
        generate(teacher.url, tmp_path / "out", **flags)
    found = {row.id: row for row in load_rows(str(tmp_path / "out" / f"train_data.{format}"))}
    assert found["2"].prompt == messages and found["2"].extra == {"level": "3"} and found["1"].extra == {}
    for row in found.values():
        assert row.golden_response == answer and golden_actions(row.golden_answer) == golden_actions(golden)


LONG_RULES = " ".join(f"Rule {n}: never do what clause {n} of the house rules forbids." for n in range(120))


def questions(folder: Path, asked: list[str], where: str) -> Path:
    """Rows that differ in a question alone, below a long text that stands in the system prompt or around it."""
    path = folder / f"{where}.jsonl"
    shown = {
        "system": lambda text: [{"role": "system", "content": LONG_RULES}, {"role": "user", "content": text}],
        "page": lambda text: f"{LONG_RULES}\n\nRequest: {text}\n\nKeep to the rules.",
    }
    path.write_text("".join(json.dumps({"prompt": shown[where](text)}) + "\n" for text in asked))
    return path


@pytest.mark.parametrize("where", ["system", "page"])
@pytest.mark.parametrize("rejects", [False, True])
def test_different_questions_below_one_long_text_are_all_kept(tmp_path: Path, where: str, rejects: bool):
    prompts = questions(tmp_path, [f"Where is {words(n, 4)}?" for n in range(12)], where)
    flags = {"prompts": prompts, "train_samples": 10, "eval_samples": 2, "reject_near_duplicates": rejects}
    with FakeTeacher(lambda body: "In the harbour.") as teacher:
        assert generate(teacher.url, tmp_path / "out", **flags) == 0
    assert (tmp_path / "out" / "rejected.jsonl").read_text() == ""


@pytest.mark.parametrize("where", ["system", "page"])
def test_prompts_of_ones_own_that_ask_nearly_the_same_are_kept_unless_asked_to_reject_them(tmp_path: Path, where: str):
    same = words(1, 60)
    prompts = questions(
        tmp_path, [f"{same}, please?", f"{same}, thanks?", *(f"Is it {words(n, 4)}?" for n in range(6))], where
    )
    flags = {"prompts": prompts, "train_samples": 8, "eval_samples": 0}
    with FakeTeacher(lambda body: "In the harbour.") as teacher:
        assert generate(teacher.url, tmp_path / "kept", **flags) == 0
        with pytest.raises(TeacherError, match=r"7 rows were good.*1 near_duplicate"):
            generate(teacher.url, tmp_path / "out", **flags, reject_near_duplicates=True)
    report = json.loads((tmp_path / "kept" / "generation_report.json").read_text())
    assert "near_duplicate" not in report["rejected"]


def test_rejecting_near_duplicates_needs_a_recipe_that_says_how_near(tmp_path: Path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("checks: [empty]\n")
    flags = {"recipe": recipe, "prompts": prompt_file(tmp_path), "reject_near_duplicates": True}
    with FakeTeacher() as teacher:
        with pytest.raises(
            UsageError, match=r"--reject_near_duplicates: the recipe .* Add a line `near_duplicates: 0.9`"
        ):
            generate(teacher.url, tmp_path / "out", **flags)
        assert teacher.requests == []


def parquet_of_odd_values(folder: Path) -> Path:
    """Rows with values that JSON lacks, as columnar files have them."""
    columns = {
        "prompt": [f"What is {n} plus {n}?" for n in range(6)],
        "made": [datetime(2026, 1, 1 + n, tzinfo=UTC) for n in range(6)],
        "price": [Decimal("1.50")] * 6,
        "raw": [b"\x00\xff"] * 6,
        "score": [math.nan, math.inf, 0.5, 1.0, 2.0, 3.0],
        "seen": [{"on": date(2026, 1, 1), "at": [time(1, 2)]}] * 6,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "odd.parquet")
    return folder / "odd.parquet"


@pytest.mark.parametrize("format", ["json", "jsonl", "parquet"])
def test_values_that_json_lacks_are_carried_as_texts_into_every_format(tmp_path: Path, format: str):
    flags = {"prompts": parquet_of_odd_values(tmp_path), "train_samples": 6, "eval_samples": 0, "format": format}
    with FakeTeacher(lambda body: "Fine.") as teacher:
        assert generate(teacher.url, tmp_path / "out", **flags) == 0
    rows = {row.id: row.extra for row in load_rows(str(tmp_path / "out" / f"train_data.{format}"))}
    assert rows["1"] == {
        "made": "2026-01-01T00:00:00+00:00",
        "price": "1.50",
        "raw": "AP8=",
        "score": "NaN",
        "seen": {"on": "2026-01-01", "at": ["01:02:00"]},
    }
    assert rows["2"]["score"] == "Infinity" and rows["3"]["score"] == ("0.5" if format == "parquet" else 0.5)


def test_half_a_character_in_a_call_of_the_teachers_is_kept_in_every_format(tmp_path: Path):
    tools = [{"name": "say", "parameters": [{"name": "text", "type": "str"}]}]
    answer = 'Action: say\nAction_Input: {"text": "\\ud83d"}'
    flags = {"prompts": prompt_file(tmp_path, tools=tools), "train_samples": 2, "eval_samples": 0}
    with FakeTeacher(lambda body: answer) as teacher:
        for format in ("json", "jsonl", "parquet"):
            assert generate(teacher.url, tmp_path / "out", format=format, **flags) == 0
            for row in load_rows(str(tmp_path / "out" / f"train_data.{format}")):
                assert golden_actions(row.golden_answer) == parse_actions(answer)


GO = {"type": "object", "properties": {"to": {"type": "string"}, "steps": {"type": "integer"}}, "required": ["to"]}


def test_rows_with_tools_of_their_own_keep_them_and_their_calls_are_checked_by_them(tmp_path: Path):
    rows = [
        {"prompt": f"Go to {n}.", "tools": [{"name": name, "description": "Goes.", "inputSchema": GO}], "level": n}
        for n, name in enumerate(["go", "go", "walk", "go"])
    ]
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(rows))

    def going(body: dict[str, Any]) -> str:
        far = "two" if "3" in body["messages"][-1]["content"] else 2
        return f"Action: go\nAction_Input: {json.dumps({'to': 'Rome', 'steps': far})}"

    flags = {"prompts": path, "recipe": "tooluse", "train_samples": 2, "eval_samples": 0}
    written_rows = []
    with FakeTeacher(going) as teacher:
        for format in ("json", "jsonl", "parquet"):
            try:
                generate(teacher.url, tmp_path / "out", format=format, **{**flags, "train_samples": 3})
            except TeacherError as error:
                assert "1 unknown_tool, 1 bad_arguments" in str(error)
            written_rows.append(load_rows(str(tmp_path / "out" / f"train_data.{format}"), needs_golden=False))
    function = {"name": "go", "description": "Goes.", "parameters": GO}
    for found in written_rows:
        assert len(found) == 2
        for row in found:
            record = row.to_json()
            assert record["tools"] == [{"type": "function", "function": function}]
            assert golden_actions(record["golden_answer"]) == [Action("go", {"to": "Rome", "steps": 2})]


def test_rows_of_many_kinds_read_back_as_the_same_ones_from_every_format(tmp_path: Path):
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    extras: list[dict[str, Any]] = [
        {"meta": {"deep": [{"a": 1}, {"b": "x"}]}, "tags": ["x"], "n": 1, "ok": True},
        {"meta": {"deep": []}, "tags": [], "n": 2, "ok": False},
        {"meta": {"other": 2.5}, "tags": ["y", "z"]},
    ]
    tools = [{"type": "function", "function": {"name": "go", "description": "", "parameters": GO}}]
    rows = [Row(f"r{n}", prompt, "One\nTwo", [], extra, tools if n else None) for n, extra in enumerate(extras)]
    for format in ("json", "jsonl", "parquet"):
        write_rows(tmp_path / f"rows.{format}", rows)
        found = load_rows(str(tmp_path / f"rows.{format}"))
        assert [row.to_json() for row in found] == [row.to_json() for row in rows]


def test_calls_in_messages_have_their_arguments_as_texts_in_parquet_where_null_is_a_value(tmp_path: Path):
    calls = [{"name": "go", "arguments": {"to": None, "steps": 2}}]
    called = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": calls[0]}]}
    prompt = [{"role": "user", "content": "Go."}, called, {"role": "tool", "content": "Gone."}]
    rows = [Row("1", prompt, "Done."), Row("2", prompt[:1], None, golden_calls=calls)]
    write_rows(tmp_path / "rows.parquet", rows)
    one, two = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert one["prompt"][1]["tool_calls"][0]["function"] == {"name": "go", "arguments": '{"to": null, "steps": 2}'}
    assert one["golden_response"] == [{"role": "assistant", "content": "Done.", "tool_calls": None}]
    assert two["golden_response"][0]["tool_calls"][0]["function"]["arguments"] == '{"to": null, "steps": 2}'


def test_values_without_a_common_type_become_their_json_texts_in_parquet_and_prompts_never_do(tmp_path: Path):
    tools = [{"name": f"t{n}", "parameters": {"properties": {f"p{n}": {"type": "string"}}}} for n in range(400)]
    odd: list[Any] = [{"a": 1}, "x", 2**70, {}]
    rows = [Row(str(n), [{"role": "user", "content": "?"}], "!", None, {"odd": o}, tools) for n, o in enumerate(odd)]
    write_rows(tmp_path / "rows.parquet", rows)
    found = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["odd"] for row in found] == ['{"a": 1}', "x", str(2**70), "{}"]
    assert all(json.loads(row["tools"]) == tools for row in found)
    mixed = [{"role": "user", "content": "?", "meta": value} for value in (1, "x")]
    with pytest.raises(UsageError, match=r"no type for the values of 'prompt' together\. Pass --format jsonl"):
        write_rows(tmp_path / "rows.parquet", [Row("1", mixed, "!")])


def test_an_answer_in_words_to_a_row_with_tools_is_no_statement_that_no_call_is_right(tmp_path: Path):
    prompts = prompt_file(tmp_path, tools=[{"name": "go", "parameters": GO}])
    with FakeTeacher(lambda body: "There is no need to go.") as teacher:
        assert generate(teacher.url, tmp_path / "out", prompts=prompts) == 0
    assert all("golden_answer" not in row for row in rows_of(tmp_path / "out", "train_data.json"))


def test_a_rows_own_tools_are_in_the_request_and_calls_that_the_server_reads_are_its_demonstration(tmp_path: Path):
    prompts = prompt_file(tmp_path, tools=[{"name": "go", "parameters": GO}])

    def calling(body: dict[str, Any]) -> Any:
        steps = "two" if "Question 3?" in body["messages"][-1]["content"] else 2
        arguments = json.dumps({"to": "Rome", "steps": steps}) if steps == 2 else "no object"
        call = {"id": "c", "type": "function", "function": {"name": "go", "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    with FakeTeacher(calling) as teacher:
        assert generate(teacher.url, tmp_path / "out", prompts=prompts, train_samples=19) == 0
        bodies = [request.body for request in teacher.requests if request.path == "/v1/chat/completions"]
    assert all(body["tools"][0]["function"]["name"] == "go" for body in bodies)
    for row in load_rows(str(tmp_path / "out" / "train_data.json")):
        assert row.golden_calls == [{"name": "go", "arguments": {"to": "Rome", "steps": 2}}]
        assert row.golden_response is None
        assert row.golden_answer == [{"Action": "go", "Action_Input": {"to": "Rome", "steps": 2}}]
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert {each["rule"] for each in rejected} <= {"bad_arguments"}


def grading(body: dict[str, Any]) -> Any:
    """Answers with its seed, and grades an answer by the last digit of that."""
    asked = body["messages"][-1]["content"]
    if asked.startswith("Grade the answer"):
        grade = int(asked.rpartition("answer ")[2].split(".")[0]) % 10
        return f"It is so so.\nGrade: {grade}" if grade else "I would rather not."
    return f"This is the answer {body['seed']}."


def test_the_best_graded_of_several_answers_is_kept_and_its_grade_with_it(tmp_path: Path):
    flags = {"prompts": prompt_file(tmp_path), "best_of": 3, "train_samples": 20}
    with FakeTeacher(grading) as teacher:
        generate(teacher.url, tmp_path / "out", **flags)
        answers, grades = {}, []
        for chat in teacher.chats:
            asked = chat.body["messages"][0]["content"]
            if not asked.startswith("Grade"):
                answers.setdefault(asked, []).append(chat.body["seed"] % 10)
            else:
                grades.append(chat.body["temperature"])
    assert set(grades) == {0.0} and all(len(found) == 3 for found in answers.values())
    for row in rows_of(tmp_path / "out", "train_data.json"):
        assert row["judge_grade"] == max(answers[row["prompt"]]) == int(row["golden_response"][0].split()[-1][:-1]) % 10


def test_answers_graded_below_the_floor_or_not_at_all_are_rejected(tmp_path: Path):
    with FakeTeacher(grading) as teacher, pytest.raises(TeacherError, match="low_grade"):
        generate(teacher.url, tmp_path / "out", prompts=prompt_file(tmp_path), judge=6, train_samples=20)
    rows = rows_of(tmp_path / "out", "train_data.json") + rows_of(tmp_path / "out", "eval_data.json")
    assert rows and all(row["judge_grade"] >= 6 for row in rows)
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert len(rows) + len(rejected) == 24 and {row["rule"] for row in rejected} <= {"low_grade", "ungraded"}


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Fine.\nGrade: 7", 7),
        ("Grade: 10", 10),
        ("grade it? Grade: 3 … no, Grade: **4**", 4),
        ("**Grade**: 8", 8),
        ("grade: 2", 2),
        ("Grade: 8.5", None),
        ("Grade: 0", None),
        ("Grade: 11", None),
        ("Seven.", None),
    ],
)
def test_a_grade_is_the_last_one_from_1_to_10(text: str, grade: int | None):
    assert parse_grade(text) == grade


def test_a_recipe_without_prompts_of_its_own_asks_for_a_file(tmp_path: Path):
    with FakeTeacher() as teacher:
        with pytest.raises(UsageError, match=r"from_prompts makes no prompts\. Pass --prompts FILE"):
            generate(teacher.url, tmp_path, recipe="from_prompts")
        with pytest.raises(UsageError, match="the recipe qa has no tools"):
            generate(teacher.url, tmp_path, tools="tools.json")
        assert teacher.requests == []


def test_lines_of_progress_tell_speed_acceptance_retries_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with FakeTeacher(imaginative) as teacher:
        generate(teacher.url, tmp_path)
    pattern = r"generate: 16/16 rows, [\d.]+ rows/s, \d+ tokens/s, \d+% accepted, 0 retries, 00:00 left"
    assert re.fullmatch(pattern, capsys.readouterr().err.splitlines()[-1])
