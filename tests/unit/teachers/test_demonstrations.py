import asyncio
import dataclasses
import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_teacher import FakeTeacher, Fault, echo, error
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_none

from trainer.data.rows.row import Row
from trainer.errors import TeacherError, UsageError
from trainer.run.progress import Progress
from trainer.settings.options import Train
from trainer.teachers.demonstrations import DemonstrationFeed, Demonstrator, open_journal, write_demonstrations
from trainer.teachers.preflight import client_for
from trainer.teachers.served import retries as retries_module
from trainer.teachers.served.batch import row_seed, run_bounded

GOLDEN_ANSWER = [{"Action": "go", "Action_Input": {"to": "Rome"}}]
GOLDEN = 'Action: go\nAction_Input: {"to": "Rome"}'


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "BACKOFF", wait_none())


def row(number: int, golden: str | None = GOLDEN, answer: list[dict[str, Any]] | None = None) -> Row:
    return Row(f"r{number}", [{"role": "user", "content": f"Question {number}?"}], golden, answer)


def settings(url: str | None, **changes: Any) -> Train:
    return dataclasses.replace(Train(vllm_server_base_url=url, max_completion_length=77, seed=5), **changes)


def test_the_teacher_is_shown_the_golden_response_by_the_template_where_there_is_one(tmp_path: Path):
    with FakeTeacher() as teacher:
        template = "{prompt} LIKE {demonstration} NOW"
        wanted = settings(teacher.url, teacher_prompt_template=template, vllm_server_api_key="k")
        write_demonstrations([row(0), row(1, golden=None)], wanted, tmp_path / "j")
    contents = sorted(request.body["messages"][0]["content"] for request in teacher.chats)
    assert contents == [f"Question 0? LIKE {GOLDEN} NOW", "Question 1?"]
    assert {(r.body["max_tokens"], r.body["temperature"], r.authorization) for r in teacher.chats} == {
        (77, 0.0, "Bearer k")
    }
    assert {r.body["seed"] for r in teacher.chats} == {row_seed(5, 0), row_seed(5, 1)}


def test_wrong_empty_cut_and_refused_answers_are_replaced_or_dropped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    answers: dict[str, Any] = {
        "Question 0?": f"Thought: I go.\n{GOLDEN}\n",
        "Question 1?": 'Action: go\nAction_Input: {"to": "Paris"}',
        "Question 2?": "",
        "Question 3?": ("cut", "length"),
        "Question 4?": Fault(400, error("too long", 400)),
        "Question 5?": None,
        "Question 6?": "free words",
        "Question 7?": "Action: stay\nAction_Input: {}",
    }
    rows = [row(n, answer=GOLDEN_ANSWER if n in (0, 1) else None) for n in range(5)]
    rows += [row(5, golden=None), row(6, golden=None), row(7, golden=None, answer=GOLDEN_ANSWER)]
    with FakeTeacher(lambda body: answers[body["messages"][0]["content"].split("\n")[0]]) as teacher:
        result = write_demonstrations(rows, settings(teacher.url), tmp_path / "j")
    assert result.texts == [f"Thought: I go.\n{GOLDEN}", GOLDEN, GOLDEN, GOLDEN, GOLDEN, None, "free words", None]
    assert (result.written, result.replaced, result.dropped) == (2, 4, 2)
    assert result.reasons == {"contradicting golden_answer": 2, "empty": 2, "truncated": 1, "refused": 1}
    said = capsys.readouterr()
    assert "2 written by the teacher, 4 replaced by the golden response, 2 dropped" in said.out
    assert "row r4: " in said.err and "too long" in said.err


def test_an_interrupted_run_does_not_ask_again_for_what_it_has(tmp_path: Path):
    rows = [row(n) for n in range(12)]

    def dying(body: dict[str, Any]) -> Any:
        return Fault(503, "dead") if len(teacher.chats) > 8 else echo(body)

    with FakeTeacher(dying) as teacher, pytest.raises(TeacherError, match="503 dead"):
        write_demonstrations(rows, settings(teacher.url, teacher_patience=0.05), tmp_path / "j")
    with FakeTeacher() as teacher:
        continued = write_demonstrations(rows, settings(teacher.url), tmp_path / "j")
        assert len(teacher.chats) < 12
        again = write_demonstrations(rows, settings(teacher.url), tmp_path / "j")
        asked = len(teacher.chats)
        unbroken = write_demonstrations(rows, settings(teacher.url, vllm_server_max_concurrency=1), tmp_path / "other")
        assert len(teacher.chats) == asked + 12
    assert continued == again == unbroken


def test_other_rows_or_another_template_are_asked_anew(tmp_path: Path):
    with FakeTeacher() as teacher:
        write_demonstrations([row(0)], settings(teacher.url), tmp_path / "j")
        write_demonstrations([row(0, golden="new")], settings(teacher.url), tmp_path / "j")
        changed = settings(teacher.url, teacher_prompt_template="{prompt} {demonstration}")
        write_demonstrations([row(0, golden="new")], changed, tmp_path / "j")
    assert len(teacher.chats) == 3


def test_not_one_usable_row_is_a_teacher_error(tmp_path: Path):
    with FakeTeacher(lambda body: "") as teacher, pytest.raises(TeacherError, match="any of 2 rows"):
        write_demonstrations([row(0, None), row(1, None)], settings(teacher.url), tmp_path / "j")


def feeding(
    teacher: FakeTeacher,
    rows: list[Row],
    path: Path,
    work: Callable[[DemonstrationFeed], Any],
    ahead: int = 3,
    at_once: int = 2,
):
    """What `work` makes of a feed of the rows, for steps of four prompts."""

    async def within() -> Any:
        wanted = settings(teacher.url, num_prompts_per_batch=4, teacher_patience=0.05)
        async with client_for(wanted) as client:
            with open_journal(path, rows, wanted) as journal:
                feed = DemonstrationFeed(Demonstrator(client, rows, wanted, journal), ahead=ahead, at_once=at_once)
                return await work(feed)

    return asyncio.run(within())


def test_a_feed_asks_ahead_in_the_order_of_training_and_no_further(tmp_path: Path):
    rows, order = [row(n, golden=None) for n in range(12)], [5, 3, 5, 0, 7, 1, 2]

    async def work(feed: DemonstrationFeed) -> list[str | None]:
        await feed.follow(order)
        return [await feed.text(5), await feed.text(3)]

    with FakeTeacher() as teacher:
        texts = feeding(teacher, rows, tmp_path / "j", work, at_once=1)
    asked = [request.body["messages"][0]["content"] for request in teacher.chats]
    assert asked == [f"Question {n}?" for n in (5, 3, 0, 7, 1)][: len(asked)]
    with FakeTeacher() as teacher:
        expected = write_demonstrations(rows, settings(teacher.url), tmp_path / "all").texts
    assert texts == [expected[5], expected[3]]


def test_a_row_whose_request_failed_ahead_of_its_need_is_asked_for_again(tmp_path: Path):
    async def work(feed: DemonstrationFeed) -> str | None:
        teacher.faults = [Fault(500, "away") for _ in range(40)]
        await feed.follow([0])
        await asyncio.sleep(0.5)
        teacher.faults = []
        return await feed.text(0)

    with FakeTeacher() as teacher:
        assert feeding(teacher, [row(0)], tmp_path / "j", work)


def test_a_feed_ends_where_a_step_of_answers_has_none_that_is_usable_whoever_answers_last(tmp_path: Path):
    def slow(body: dict[str, Any]) -> str:
        time.sleep(0.3 if "Question 1?" in body["messages"][0]["content"] else 0)
        return ""

    async def work(feed: DemonstrationFeed) -> None:
        await feed.follow(range(12))
        for number in range(8):
            await feed.text(number)

    with FakeTeacher(slow) as teacher, pytest.raises(TeacherError, match="no usable demonstration"):
        feeding(teacher, [row(n, golden=None) for n in range(12)], tmp_path / "j", work)


@pytest.mark.parametrize(
    ("answer", "mend", "wrong"),
    [
        (("cut", "length"), "raise --max_completion_length", "refusal"),
        ("", "hold nothing besides thinking", "The first refusal"),
        (("half of it", "content_filter"), "a filter of the server's took these", "raise --max_completion_length"),
        ("<reflection>I think.</reflection>Action: go", "turn its thinking off", "--demonstrations golden"),
        ("Action: go <think>why", "raise --max_completion_length", "refusal"),
        (Fault(400, error("maximum context length is 64", 400)), "maximum context length is 64", "raise --max_c"),
        ("Action: stay\nAction_Input: {}", "--demonstrations golden", "--max_completion_length"),
    ],
)
def test_what_makes_demonstrations_usable_is_told_by_why_they_are_not(tmp_path: Path, answer, mend, wrong):
    rows = [row(n, golden=None, answer=GOLDEN_ANSWER) for n in range(3)]
    with FakeTeacher(lambda body: answer) as teacher, pytest.raises(TeacherError) as raised:
        write_demonstrations(rows, settings(teacher.url), tmp_path / "j")
    assert mend in str(raised.value) and wrong not in str(raised.value)


def test_no_teacher_url_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="no teacher is named"):
        write_demonstrations([row(0)], settings(None), tmp_path / "j")


@given(seed=st.integers(), number=st.integers(min_value=0, max_value=10**9))
def test_a_row_seed_is_fixed_31_bits_long_and_differs_by_row_and_stage(seed: int, number: int):
    assert 0 <= row_seed(seed, number) < 2**31
    assert row_seed(seed, number) == row_seed(seed, number)
    assert len({row_seed(seed, number), row_seed(seed, number + 1), row_seed(seed, number, "prompt")}) == 3


def test_work_begins_in_order_and_never_exceeds_its_room():
    begun, running, most = [], set(), []

    async def work(number: int) -> None:
        begun.append(number)
        running.add(number)
        most.append(len(running))
        await asyncio.sleep(random.random() / 500)
        running.remove(number)

    asyncio.run(run_bounded(work, range(50), lambda: 4))
    assert begun == list(range(50))
    assert max(most) == 4


def test_the_first_failure_cancels_the_rest_and_is_raised():
    cancelled = []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(0.01 if number == 1 else 60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        raise TeacherError("gone")

    began = time.monotonic()
    with pytest.raises(TeacherError, match="gone"):
        asyncio.run(run_bounded(work, range(9), lambda: 3))
    assert sorted(cancelled) == [0, 2]
    assert time.monotonic() - began < 5


def test_progress_off_a_terminal_is_a_plain_line_for_every_tenth(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress(200, "demonstrations") as progress:
        for _ in range(200):
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("demonstrations: 20/200 rows, ")
    assert lines[-1].startswith("demonstrations: 200/200 rows, ")


def test_a_row_with_tools_is_asked_with_them_and_a_call_becomes_the_demonstration(tmp_path: Path):
    tool = {"type": "function", "function": {"name": "go", "description": "d", "parameters": {"type": "object"}}}
    calls = [{"id": "1", "type": "function", "function": {"name": "go", "arguments": '{"to": "Rome"}'}}]
    replies = [{"role": "assistant", "content": None, "tool_calls": calls}, "I stay."]
    rows = [dataclasses.replace(row(number, golden=None), tools=[tool]) for number in range(2)]
    rows += [dataclasses.replace(row(2, golden=None), privileged_context="a hint")]

    def reply(body: dict[str, Any]) -> Any:
        return replies[0] if "Question 0?" in body["messages"][0]["content"] else replies[1]

    def write(answered: Row) -> str | None:
        return f"{answered.golden_response} {answered.golden_calls}" if answered.golden_calls else None

    with FakeTeacher(reply) as teacher:
        for _ in range(2):  # the second time out of the journal
            found = write_demonstrations(rows, settings(teacher.url), tmp_path / "j", write=write)
            expected = "None [{'name': 'go', 'arguments': {'to': 'Rome'}}]"
            assert found.texts == [expected, "I stay.", "I stay."]
    assert sorted(str(request.body.get("tools")) for request in teacher.chats) == sorted([str([tool])] * 2 + ["None"])
    shown = [request.body["messages"][0]["content"] for request in teacher.chats]
    assert any("a hint" in text for text in shown)
