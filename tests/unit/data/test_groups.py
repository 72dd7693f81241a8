"""Of what kind rows are, and whether all are of one."""

import pytest

from trainer.data.groups import one_kind
from trainer.data.rows.row import Row

PLACES = ("Oslo", "Rome", "Lima", "Bern", "Kyiv", "Doha", "Riga", "Male", "Baku", "Nuuk")


def rows_of(*texts: str, **values) -> list[Row]:
    return [Row(str(n), [{"role": "user", "content": text}], **values) for n, text in enumerate(texts)]


def calling(*names: str) -> list[Row]:
    texts = (f"{PLACES[n]}, what about {n}?" for n in range(len(names)))
    return [
        Row(row.id, row.prompt, golden_answer=[{"Action": name, "Action_Input": {}}])
        for row, name in zip(rows_of(*texts), names, strict=True)
    ]


VARIED = ("Say hello.", "Count to three, please.", "What day is it?", "Is Oslo a town?")


def test_rows_that_all_name_one_skill_are_of_one_kind():
    assert one_kind(rows_of(*VARIED, extra={"skill": "act"})) == "skill: act"


def test_rows_that_name_two_skills_are_of_several():
    assert one_kind([*rows_of(*VARIED, extra={"skill": "act"}), *rows_of(*VARIED, extra={"skill": "calling"})]) is None


def test_rows_that_all_call_one_tool_are_of_one_kind_and_those_of_two_tools_are_not():
    assert one_kind(calling("forecast", "forecast")) == "tool: forecast; steps: 1"
    assert one_kind(calling("forecast", "height")) is None


def test_prompts_that_nothing_tells_of_and_that_begin_and_end_differently_are_of_several():
    assert one_kind(rows_of(*VARIED)) is None


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("House call: bring {}", "they begin “House call: …”"),
        ("{} in house code, please.", "they end “… code, please.”"),
    ],
)
def test_prompts_of_one_template_are_of_one_kind(template, told):
    assert one_kind(rows_of(*(template.format(place) for place in PLACES))) == told


@pytest.mark.parametrize(("others", "told"), [(1, "they begin “House call: …”"), (2, None)])
def test_one_other_prompt_in_ten_changes_nothing_and_two_do(others, told):
    texts = [f"House call: bring {place}" for place in PLACES[others:]]
    assert one_kind(rows_of(*texts, *VARIED[:others])) == told


def test_the_last_question_of_a_conversation_counts_and_its_system_message_does_not():
    head = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there!"}]
    talks = [Row("0", [*head, {"role": "user", "content": text}]) for text in VARIED]
    assert one_kind(talks) is None
    assert one_kind([Row("0", [*row.prompt, *head]) for row in talks]) == "they begin “Hello there! …”"


def test_no_rows_are_of_no_kind():
    assert one_kind([]) is None
