import json

import pytest
import yaml

from trainer.data.dataset import Reading
from trainer.errors import UsageError
from trainer.generation.checks import RULES
from trainer.generation.prompts import Commissions, documented, given, place_of_request
from trainer.generation.recipe import FOLDER, load_recipe, parse_recipe
from trainer.generation.tools import Tool, load_tools

SHIPPED = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipe(**content):
    return parse_recipe("mine", {"request": "Write of {topic}.", "axes": {"topic": ["a", "b"]}, **content})


def write(folder, records):
    path = folder / "prompts.json"
    path.write_text(json.dumps(records))
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_whole_and_each_of_its_texts_can_be_filled(name):
    found = load_recipe(name)
    assert found.description and set(found.checks) <= set(RULES)
    tools = load_tools(found.tools) if found.tools else []
    if found.request:
        commission = Commissions(found, tools, seed=1)[0]
        draft = commission.draft("Do it.")
        assert "{" not in commission.text.replace(documented(commission.tools), "")
        assert draft.row.prompt[-1]["content"].endswith("Do it.") and draft.words == "Do it."


def test_three_recipes_are_shipped():
    assert SHIPPED == ["from_prompts", "qa", "tooluse"]


def test_a_recipe_of_ones_own_is_a_yaml_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"request": "Ask about {animal}.", "axes": {"animal": ["cats"]}, "temperature": 1}))
    found = load_recipe(str(path))
    assert (found.name, found.temperature, found.max_tokens) == (str(path), 1.0, 1024)
    assert Commissions(found, [], seed=0)[5].text == "Ask about cats."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"reqest": "x"}, "recipe mine: unknown key 'reqest'. Did you mean 'request'?"),
        ({"temperature": "hot"}, r"recipe mine: expected `float`, got `str` - at `\$.temperature`"),
        ({"checks": ["trunctaed"]}, "truncated"),
        ({"request": "Of {topics}."}, r"request: found the place \{topics\}, expected one of topic"),
        ({"request": "Of {topic"}, r"request: .* A brace of the text itself is written twice"),
        ({"prompt": "Answer!"}, r"prompt: expected the place \{request\} in it"),
        ({"answer": "Answer!"}, r"answer: expected the place \{prompt\} in it"),
        ({"grading": "Grade {prompt}"}, r"grading: expected the place \{answer\} in it"),
        ({"prompt": "{tools} {request}"}, r"prompt: found the place \{tools\}"),
        ({"axes": {"topic": []}}, "an axis without values"),
        ({"axes": {"topic": ["a"], "prompt": ["b"]}}, "an axis can't be named 'prompt'"),
        ({"request": "Of {topic:>9}."}, "found the place"),
        ({"request": "Of {topic.name}."}, "found the place"),
        ({"language": "english"}, "found the language 'english'"),
        ({"near_duplicates": 1.5}, "near_duplicates is 1.5, expected over 0, up to 1"),
        ({"max_tokens": 0}, "expected at least 1"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_a_usage_error_that_says_where(content, message):
    with pytest.raises(UsageError, match=message):
        recipe(**content)


@pytest.mark.parametrize("name", ["tooluze", "no/such.yaml"])
def test_an_unknown_recipe_is_a_usage_error_that_names_those_there_are(name):
    with pytest.raises(UsageError, match=r"expected a YAML file or one of from_prompts, qa, tooluse\."):
        load_recipe(name)


def test_a_file_that_is_no_recipe_is_a_usage_error(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1")
    with pytest.raises(UsageError, match="holds a list, expected"):
        load_recipe(str(path))
    path.write_text("a: [")
    with pytest.raises(UsageError, match="is not valid YAML"):
        load_recipe(str(path))


@pytest.mark.parametrize("tools", ["stop", 5, ["go", {"name": "go"}]])
def test_a_given_row_whose_tools_are_neither_names_nor_tools_is_a_usage_error(tmp_path, tools):
    path = write(tmp_path, [{"prompt": "A", "tools": tools}])
    with pytest.raises(UsageError, match=r"row 1: field 'tools': .*expected"):
        given(path, [Tool("go", "", {"type": "object"})], 0)


def test_a_given_row_with_tools_of_its_own_offers_these_in_any_spelling(tmp_path):
    schema = {"type": "object", "properties": {"far": {"type": "integer"}}}
    rows = [{"prompt": "A", "tools": [{"name": "walk", "inputSchema": schema}]}, {"prompt": "A"}]
    own, all_of_them = sorted(
        given(write(tmp_path, rows), [Tool("go", "", {"type": "object"})], 0), key=lambda d: d.row.id
    )
    assert own.tools == [Tool("walk", "", schema)] and all_of_them.tools == [Tool("go", "", {"type": "object"})]
    function = {"name": "walk", "description": "", "parameters": schema}
    assert own.row.tools == [{"type": "function", "function": function}] and own.row.extra == {}
    with pytest.raises(UsageError, match="row 1: field 'tools': 'name' is None"):
        given(write(tmp_path, [{"prompt": "A", "tools": [{"type": "function"}]}]), [], 0)


def test_prompts_differ_by_any_of_their_messages_and_are_compared_by_their_last_request(tmp_path):
    def talk(first, last, system="Be brief. Be polite."):
        turns = [("system", system), ("user", first), ("assistant", "Yes."), ("user", last)]
        return {"prompt": [{"role": role, "content": content} for role, content in turns]}

    rows = [talk("Tea?", "Go on. Thanks!"), talk("Milk?", "Go on. Thanks!"), talk("Tea?", "Stop. Thanks!")]
    drafts = given(write(tmp_path, [*rows, talk("TEA?", "go  on. Thanks!")]), [], 0)
    assert sorted(draft.asked for draft in drafts) == ["Go on.", "Go on.", "Stop."]
    assert len({draft.words for draft in drafts}) == 3


def test_the_request_of_a_prompt_that_ends_with_a_tools_result_is_the_last_of_the_user():
    prompt = [{"role": role, "content": ""} for role in ("system", "user", "user", "assistant", "tool")]
    assert place_of_request(prompt) == 2
    assert place_of_request(prompt[:1]) == 0


def test_what_json_lacks_is_carried_as_text_and_refused_in_what_a_model_reads(tmp_path, capsys):
    path = tmp_path / "rows.json"
    path.write_text(
        '[{"prompt": "A", "score": NaN, "note": "cut \\ud83d"}, {"prompt": "B", "golden_answer": '
        '[{"Action": "a", "Action_Input": {"x": Infinity}}]}]'
    )
    with pytest.raises(UsageError, match=r"row 2: field 'golden_answer\[0\].Action_Input.x' is inf, expected text"):
        given(str(path), [], 0)
    [draft] = given(str(path), [], 0, reading=Reading(skip_bad_rows=True))
    assert draft.row.extra == {"score": "NaN", "note": "cut \\ud83d"}
    assert "dropped 1 bad of 2 rows (rows 2)" in capsys.readouterr().out


def test_half_a_surrogate_pair_in_a_prompt_is_a_usage_error(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text('[{"prompt": "a\\ud800b"}]')
    with pytest.raises(UsageError, match=r"row 1: .*half of a surrogate pair"):
        given(str(path), [], 0)


def test_the_tools_of_a_recipe_of_ones_own_are_looked_for_beside_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('request: "Of {tool}."\ntools: t.json\n')
    assert load_recipe(str(path)).tools == str(tmp_path / "t.json")


def test_every_combination_of_the_axes_comes_once_before_one_comes_again_in_an_order_by_the_seed():
    axes = {"topic": ["a", "b", "c"], "size": ["1", "2"]}
    orders = []
    for seed in (1, 2):
        commissions = Commissions(recipe(request="{topic}{size}", axes=axes), [], seed)
        texts = [commissions[number].text for number in range(12)]
        assert sorted(texts[:6]) == ["a1", "a2", "b1", "b2", "c1", "c2"] and texts[6:] == texts[:6]
        orders.append(texts)
    assert orders[0] != orders[1]


def test_a_recipe_without_axes_commissions_the_same_text_each_time():
    assert Commissions(recipe(request="Invent.", axes={}), [], 3)[7].text == "Invent."


def test_the_combinations_of_many_axes_are_never_listed():
    axes = {f"axis{n}": [str(value) for value in range(100)] for n in range(8)}
    text = " ".join(f"{{axis{n}}}" for n in range(8))
    commissions = Commissions(recipe(request=text, axes=axes), [], 3)
    assert len({commissions[number].text for number in range(100)}) == 100


def test_a_commissioned_row_says_what_it_is_about_and_which_tools_it_offers():
    tools = [Tool(name, f"Does {name}.", {"type": "object", "properties": {}}) for name in "abcdefg"]
    found = recipe(
        tools="x.json", tools_per_prompt=3, prompt="{tools}\n\n{request}", request="{tool} of {topic}: {tools}"
    )
    draft = Commissions(found, tools, seed=4)[0].draft("Please {do} it.")
    offered = [tool.name for tool in draft.tools]
    assert len(set(offered)) == 3 and draft.row.extra == {"topic": draft.row.extra["topic"], "tools": offered}
    assert draft.row.prompt == [{"role": "user", "content": f"{documented(draft.tools)}\n\nPlease {{do}} it."}]
    assert draft.row.id == "4-0" and draft.row.golden_response is None
    assert Commissions(found, tools, seed=4)[0].text.split()[0] in offered


def test_given_prompts_are_the_different_ones_in_a_seeded_order_without_their_golden_responses(tmp_path):
    records = [{"prompt": f"Q {n}", "golden_response": ["x"], "id": n} for n in range(20)] + [{"prompt": " q  3 "}]
    path = write(tmp_path, records)
    first, second = (given(path, [], seed) for seed in (1, 2))
    assert sorted(draft.row.id for draft in first) == sorted(str(n) for n in range(20))
    assert [draft.row.id for draft in first] != [draft.row.id for draft in second]
    assert {draft.row.golden_response for draft in first} == {None}


def test_a_given_row_offers_the_tools_that_it_names_and_else_all(tmp_path):
    tools = [Tool(name, "", {"type": "object"}) for name in ("go", "stop")]
    path = write(tmp_path, [{"prompt": "A", "tools": ["stop"]}, {"prompt": "B"}])
    found = {draft.row.id: [tool.name for tool in draft.tools] for draft in given(path, tools, 0)}
    assert found == {"1": ["stop"], "2": ["go", "stop"]}


def test_a_given_row_that_names_an_unknown_tool_is_a_usage_error(tmp_path):
    path = write(tmp_path, [{"prompt": "A", "tools": ["fly"]}])
    with pytest.raises(UsageError, match=r"row 1: the tool 'fly' .* --tools FILE"):
        given(path, [Tool("go", "", {"type": "object"})], 0)
