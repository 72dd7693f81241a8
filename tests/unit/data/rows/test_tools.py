"""A tool in any spelling becomes the one that chat templates and servers take, and none loses its arguments."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.rows.row import BadRow
from trainer.data.rows.schemas import as_sent
from trainer.data.rows.tool_files import load_tools
from trainer.data.rows.tools import as_openai, tools_in
from trainer.errors import UsageError

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}, "days": {"type": "integer"}},
    "required": ["city"],
}
HEAD = {"name": "get_weather", "description": "Weather of a city."}
EXPECTED = {"type": "function", "function": {**HEAD, "parameters": SCHEMA}}
CITY, DAYS = {"type": "string", "description": "Where"}, {"type": "integer"}
SPELLINGS = {
    "openai": EXPECTED,
    "openai, strict": {"type": "function", "function": {**HEAD, "parameters": SCHEMA, "strict": True}},
    "openai, bare": {**HEAD, "parameters": SCHEMA},
    "openai, responses": {"type": "function", **HEAD, "parameters": SCHEMA, "strict": None},
    "arguments beside the function": {"type": "function", "function": HEAD, "parameters": SCHEMA},
    "mcp": {
        **HEAD,
        "title": "W",
        "inputSchema": SCHEMA,
        "outputSchema": {"type": "object"},
        "annotations": {"a": True},
    },
    "anthropic": {**HEAD, "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}},
    "an empty key beside a full one": {**HEAD, "parameters": {}, "inputSchema": SCHEMA},
    "bedrock": {"toolSpec": {**HEAD, "inputSchema": {"json": SCHEMA}}},
    "gemini": {
        **HEAD,
        "parameters": {
            "type": "OBJECT",
            "properties": {"city": {"type": "STRING", "description": "Where"}, "days": {"type": "INTEGER"}},
            "required": ["city"],
        },
    },
    "bfcl": {**HEAD, "parameters": {**SCHEMA, "type": "dict"}},
    "without its type": {**HEAD, "parameters": {"properties": SCHEMA["properties"], "required": ["city"]}},
    "required with the field": {
        **HEAD,
        "parameters": {"type": "object", "properties": {"city": {**CITY, "required": True}, "days": DAYS}},
    },
    "by name": {**HEAD, "parameters": {"city": {**CITY, "required": True}, "days": {"type": "int, optional"}}},
    "by name, cohere": {
        **HEAD,
        "parameter_definitions": {"city": {**CITY, "type": "str", "required": True}, "days": DAYS},
    },
    "a list": {
        **HEAD,
        "parameters": [{"name": "city", **CITY, "required": True}, {"name": "days", "type": "int", "required": False}],
    },
    "a list of schemas": {
        **HEAD,
        "parameters": [{"name": "city", "required": True, "schema": CITY}, {"name": "days", "schema": DAYS}],
    },
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_becomes_the_same_tool(spelling):
    assert as_openai(SPELLINGS[spelling]) == EXPECTED


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("List[str]", {"type": "array", "items": {"type": "string"}}),
        ("list[List[float]], optional", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("Optional[bool]", {"type": "boolean"}),
        ("Tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}),
        ("array<STRING>", {"type": "array", "items": {"type": "string"}}),
        ("dict", {"type": "object"}),
        ("any", {}),
        ("strin", {"type": "strin"}),
        (["STRING", "null"], {"type": ["string", "null"]}),
    ],
)
def test_types_become_those_of_json_schema_and_unknown_ones_stay(kind, schema):
    tool = as_openai({"name": "a", "parameters": {"type": {"type": kind, "default": "x"}}})
    assert tool["function"]["parameters"] == {"type": "object", "properties": {"type": {**schema, "default": "x"}}}


def test_types_within_values_and_names_of_arguments_stay():
    schema = {
        "type": "object",
        "properties": {"type": {"enum": ["str", "int"], "default": {"type": "float"}}, "items": {"const": "dict"}},
    }
    assert as_openai({"name": "a", "parameters": schema})["function"]["parameters"] == schema


@pytest.mark.parametrize("parameters", [None, {}, [], {"type": "object", "properties": {}}])
def test_a_tool_without_arguments_says_so(parameters):
    tool = as_openai({"name": "ping", "parameters": parameters})
    assert tool["function"]["description"] == ""
    assert tool["function"]["parameters"].get("properties", {}) == {}
    assert tool["function"]["parameters"]["type"] == "object"


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (3, "the entry is 3, expected an object"),
        ({"function": "a"}, "'function' is 'a', expected an object"),
        ({"titel": "a", "args": 1}, r"'name' is None, expected a text .* \(its keys: titel, args\)"),
        ({"name": "a", "args": {"x": 1}}, "a: found the keys name, args, expected the arguments as 'parameters'"),
        ({"name": "a", "parameters": {"type": "array"}}, "a: 'parameters' has the type 'array', expected 'object'"),
        ({"name": "a", "inputSchema": "x"}, "a: 'inputSchema' is 'x', expected an object"),
        ({"name": "a", "parameters": ["x"]}, "a: argument 1 of 'parameters' is 'x', expected an object"),
        ({"name": "a", "parameters": [{"type": "str"}]}, r"a: argument 1 of 'parameters' has the keys \['type'\]"),
        ({"name": "a", "description": ["x"]}, r"a: 'description' is \['x'\], expected a text"),
    ],
)
def test_an_unknown_shape_is_told_with_what_was_found(tool, message):
    with pytest.raises(BadRow, match=message):
        as_openai(tool)


def test_tools_are_found_in_whatever_holds_them():
    one, two = {"name": "a"}, {"name": "b"}
    holders = [
        [one, two],
        {"tools": [one, two]},
        {"result": {"tools": [one, two]}},
        {"functions": [one, two]},
        [{"functionDeclarations": [one, two]}],
        {"toolConfig": {"tools": [one, two]}},
        '{"tools": [{"name": "a"}, {"name": "b"}]}',
    ]
    assert all(tools_in(holder) == [one, two] for holder in holders)
    assert tools_in(one) == [one] and tools_in({"type": "function", "function": one}) != []
    for bad in ({"x": 1}, "a", "3", None):
        with pytest.raises(BadRow, match="expected a list of tools"):
            tools_in(bad)


words = st.sampled_from(
    [
        "name",
        "description",
        "parameters",
        "inputSchema",
        "function",
        "type",
        "properties",
        "required",
        "items",
        "x",
        "json",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "object", "str", "List[int]", ""])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4))


@given(values, st.dictionaries(words, values, max_size=4))
def test_whatever_comes_is_a_tool_or_refused_in_words_and_a_tool_stays_as_it_is(value, more):
    for tool in (value, {"name": "a", **more}):
        try:
            found = as_openai(tool)
        except BadRow as error:
            assert "expected" in str(error)
        else:
            assert found["function"].keys() == {"name", "description", "parameters"}
            assert as_openai(found) == found


names = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)


@given(st.dictionaries(names, st.sampled_from(["string", "integer"]), min_size=1, max_size=5))
def test_no_spelling_loses_an_argument(kinds):
    fields = {name: {"type": kind} for name, kind in kinds.items()}
    schema = {"type": "object", "properties": fields}
    listed = [{"name": name, "type": kind} for name, kind in kinds.items()]
    for key, told in [
        ("parameters", schema),
        ("inputSchema", schema),
        ("input_schema", schema),
        ("parameters", listed),
    ]:
        assert as_openai({"name": "a", key: told})["function"]["parameters"] == schema


@pytest.mark.parametrize("name", ["api.json", "api.yaml"])
def test_an_openapi_document_is_a_file_of_tools_for_rows(tmp_path, name):
    path = tmp_path / name
    parameters = [{"name": "city", "in": "path", "required": True, "schema": {"type": "string", "nullable": True}}]
    operation = {"operationId": "get_weather", "summary": "Tells.", "parameters": parameters, "responses": {}}
    document = {"openapi": "3.0.0", "info": {}, "paths": {"/weather/{city}": {"get": operation}}}
    path.write_text(json.dumps(document))  # which is YAML too
    schema = {"type": "object", "properties": {"city": {"type": ["string", "null"]}}, "required": ["city"]}
    function = {"name": "get_weather", "description": "Tells.", "parameters": schema}
    assert load_tools(str(path)) == ({"type": "function", "function": function},)


@pytest.mark.parametrize(
    ("content", "words"),
    [("[]", "holds no tools"), ("{}", "expected a list of tools"), ('{"swagger": "2.0"}', "expected OpenAPI 3")],
)
def test_a_file_without_tools_says_what_was_found(tmp_path, content, words):
    path = tmp_path / "tools.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=words):
        load_tools(str(path))


def test_a_name_of_a_required_field_that_is_no_text_is_no_end_of_reading():
    schema = {"type": "object", "properties": {"a": {"readOnly": True}, "b": {}}, "required": [["a"], "a", "b"]}
    assert as_sent("", schema)["required"] == [["a"], "b"]
