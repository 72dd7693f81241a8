"""Tools from a file, their documentation in prompts, and the rule that an answer's calls break."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trainer.data.actions.answers import Action, golden_actions
from trainer.data.rows.row import BadRow
from trainer.data.rows.schemas import FORMATS
from trainer.errors import UsageError
from trainer.generation.tool_documentation import documentation
from trainer.generation.tools import Tool, broken_rule, load_tools, tools_of_row

LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
DATA = Path(__file__).parents[3] / "data" / "tooluse_data"
CATALOGUE = str(DATA / "tools.json")
PET = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "integer", "format": "int64", "readOnly": True},
        "name": {"type": "string", "description": "What it\nanswers to"},
        "weight": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "nullable": True},
        "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
    },
}
DOCUMENT = {
    "openapi": "3.0.3",
    "paths": {
        "x-notes": "no path",
        "/pets": {
            "summary": "All pets",
            "post": {
                "operationId": "add_pet",
                "summary": "Adds a pet.",
                "description": "Longer.",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
            },
        },
        "/pets/{id}/photos": {
            "parameters": [{"$ref": "#/components/parameters/Id"}, {"name": "page", "in": "query", "schema": {}}],
            "get": {
                "description": "Lists photos.",
                "parameters": [
                    {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}},
                    {"name": "X-Trace", "in": "header", "required": True, "schema": {"type": "string"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                ],
            },
        },
    },
    "components": {
        "schemas": {"Pet": PET},
        "parameters": {
            "Id": {"name": "id", "in": "path", "required": True, "description": "Number", "schema": {"type": "integer"}}
        },
    },
}


def loaded(content, **options):
    """The tools of some content, written as JSON or, where it is a text, as YAML."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("tools.yaml" if isinstance(content, str) else "tools.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return load_tools(str(path), **options)


def tool(properties, **rest):
    return Tool("t", "Does it.", {"type": "object", "properties": properties} | rest)


def operation(operation, **rest):
    return {"openapi": "3.1.0", "paths": {"/x": {"post": {"operationId": "x"} | operation}}} | rest


def body(schema, **rest):
    return {"requestBody": {"content": {"application/json": {"schema": schema}}} | rest}


def shipped_rows():
    return [row for name in ("train", "eval") for row in json.loads((DATA / f"{name}_data.json").read_text("utf-8"))]


# Catalogues


def test_the_documentation_equals_that_in_every_prompt_of_the_shipped_data():
    documents = {tool.name: documentation(tool) for tool in load_tools(CATALOGUE, kept_back=True)}
    shown = [row["prompt"].partition("Tools:\n\n")[2].partition("\n\nRequest: ")[0] for row in shipped_rows()]
    assert shown == ["\n\n".join(map(documents.__getitem__, row["tools"])) for row in shipped_rows()]
    assert {name for row in shipped_rows() for name in row["tools"]} == documents.keys()


def test_every_golden_answer_of_the_shipped_data_breaks_no_rule():
    tools = load_tools(CATALOGUE, kept_back=True)
    broken = [row["id"] for row in shipped_rows() if broken_rule(golden_actions(row["golden_answer"]), tools)]
    assert broken == []


def test_tools_kept_back_for_evaluation_are_left_out_unless_asked_for():
    entries = json.loads(Path(CATALOGUE).read_text("utf-8"))
    assert [tool.name for tool in load_tools(CATALOGUE)] == [e["name"] for e in entries if e["seen"]]
    every = load_tools(CATALOGUE, kept_back=True)
    assert every == [Tool(e["name"], e["description"], e["parameters"]) for e in entries]


def test_openais_two_forms_and_ours_give_the_same_tools():
    ours = {"name": "a", "description": "Does a.", "parameters": {"type": "object", "properties": {"x": {}}}}
    nested = {"type": "function", "function": ours | {"strict": True}}
    expected = [Tool("a", "Does a.", {"type": "object", "properties": {"x": {}}})]
    assert loaded([ours]) == loaded([nested]) == loaded([{"type": "function"} | ours]) == expected


SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
MCP = {
    "name": "a",
    "title": "A",
    "description": "Does a.",
    "inputSchema": SCHEMA,
    "annotations": {"readOnlyHint": True},
}


@pytest.mark.parametrize(
    "content",
    [
        [MCP],
        MCP,
        {"tools": [MCP], "nextCursor": "2"},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP]}},
        {"model": "m", "tools": [{"name": "a", "description": "Does a.", "input_schema": SCHEMA}]},
        [{"name": "a", "description": "Does a.", "parameters": [{"name": "x", "type": "int", "required": True}]}],
        "- name: a\n  description: Does a.\n  inputSchema:\n    type: object\n    required: [x]\n"
        "    properties: {x: {type: integer}}\n",
    ],
)
def test_a_catalogue_keeps_its_arguments_in_every_spelling_and_checks_calls_by_them(content):
    tools = loaded(content)
    assert tools == [Tool("a", "Does a.", SCHEMA)]
    assert broken_rule([Action("a", {"x": 1})], tools) is None
    assert broken_rule([Action("a", {})], tools) == broken_rule([Action("a", {"x": "1"})], tools) == "bad_arguments"


def test_a_catalogue_may_be_json_lines_under_any_name(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text("".join(json.dumps({**MCP, "name": name}) + "\n\n" for name in "abc"))
    assert [tool.name for tool in load_tools(str(path))] == ["a", "b", "c"]


def test_tools_of_a_row_are_checked_as_those_of_a_catalogue():
    assert tools_of_row([MCP]) == [Tool("a", "Does a.", SCHEMA)]
    with pytest.raises(BadRow, match="field 'tools', entry 2: b: 'parameters' is no JSON Schema: at"):
        tools_of_row([MCP, {"name": "b", "parameters": {"type": "object", "required": "x"}}])
    with pytest.raises(BadRow, match="field 'tools', 2 tools are named 'a'"):
        tools_of_row([MCP, MCP])


def test_a_schema_that_is_odd_is_no_reason_to_refuse_a_row_whose_calls_nobody_checks():
    odd = {"type": "object", "properties": {"x": {"type": "strin"}}}
    assert tools_of_row([{"name": "b", "parameters": odd}], checked=False) == [Tool("b", "", odd)]
    with pytest.raises(BadRow, match="field 'tools', entry 1: the entry is 3, expected an object"):
        tools_of_row([3], checked=False)


def test_a_tool_may_lack_a_description_and_parameters():
    tools = loaded([{"name": "ping"}])
    assert tools == [Tool("ping", "", {"type": "object"})]
    assert documentation(tools[0]) == "ping"
    assert broken_rule([Action("ping", "")], tools) is None
    assert broken_rule([Action("ping", {"x": 1})], tools) == "bad_arguments"


def test_yaml_words_and_times_stay_texts_as_json_knows_no_other():
    fields = "{at: {enum: [on, 12:30, 2026-11-22, 010]}, n: {enum: [1, -2.5, true, False, null, 1e3]}}"
    text = f"- name: set\n  parameters:\n    type: object\n    properties: {fields}\n"
    assert loaded(text)[0].parameters["properties"] == {
        "at": {"enum": ["on", "12:30", "2026-11-22", "010"]},
        "n": {"enum": [1, -2.5, True, False, None, 1000.0]},
    }


def test_yaml_anchors_and_merge_keys_are_followed():
    text = "- &a {name: a, parameters: {type: object}}\n- {<<: *a, name: b}\n"
    assert loaded(text) == [Tool("a", "", {"type": "object"}), Tool("b", "", {"type": "object"})]


def with_parameters(parameters):
    return [{"name": "a", "parameters": {"type": "object"}}, {"name": "b", "parameters": parameters}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "found no tools to offer, expected at least one"),
        ([{"name": "a", "seen": False}], 'kept back by "seen": false'),
        ([{"name": "a"}, {"name": "a"}], "2 tools are named 'a', expected different names"),
        (["a"], "entry 1: the entry is 'a', expected an object"),
        ([{"name": "a"}, {"type": "web_search"}], "entry 2: 'name' is None, expected a text on one line"),
        ([{"name": "a\nb"}], r"entry 1: 'name' is 'a\nb', expected a text on one line"),
        ([{"name": "a "}], "entry 1: 'name' is 'a ', expected a text on one line"),
        ([{"name": ""}], "entry 1: 'name' is '', expected a text on one line"),
        ([{"name": "a", "description": 3}], "entry 1: a: 'description' is 3, expected a text"),
        ([{"type": "function", "function": "a"}], "entry 1: 'function' is 'a', expected an object"),
        (with_parameters(3), "entry 2: b: 'parameters' is 3, expected an object"),
        (with_parameters({"type": "array"}), "entry 2: b: 'parameters' has the type 'array', expected 'object'"),
        (
            with_parameters({"type": "object", "properties": {"x": {"type": "strin"}}}),
            "entry 2: b: 'parameters' is no JSON Schema: at $.properties.x.type 'strin' is not valid",
        ),
        (
            with_parameters({"type": "object", "$defs": {"a": {}, "b": {"required": [1]}}}),
            "entry 2: b: 'parameters' is no JSON Schema: at $['$defs']['b'].required[0] 1 is not of type 'string'",
        ),
        (with_parameters({"type": "object", "$defs": {"a": 3}}), "at $['$defs']['a'] 3 is not of type 'object'"),
        (with_parameters({"type": "object", "$defs": 3}), "at $['$defs'] 3 is not of type 'object'"),
        (with_parameters({"type": "object", "pattern": "["}), "at $.pattern '[' is not a 'regex'"),
        (with_parameters({"type": "object", "required": "x"}), "at $.required 'x' is not of type 'array'"),
        (with_parameters({"type": "object", "$ref": "http://x/y"}), "found $ref 'http://x/y', expected one within"),
        (with_parameters({"type": "object", "$ref": "#name"}), "found $ref '#name', expected one within the same file"),
        (with_parameters({"type": "object", "$ref": "#/$defs/x"}), "$ref '#/$defs/x' leads nowhere: there is no"),
        (with_parameters({"type": "object", "x-y": {}, "$ref": "#/x-y"}), "$ref '#/x-y' leads to no schema"),
        (with_parameters({"type": "object", "$ref": "#"}), "entry 2: b: $ref '#' leads back to itself"),
        (with_parameters({"type": "object", "not": {"$ref": "#"}}), "entry 2: b: $ref '#' leads back to itself"),
        (with_parameters({"type": "object", "dependentSchemas": {"x": {"$ref": "#"}}}), "$ref '#' leads back to it"),
        (with_parameters({"type": "object", "$dynamicRef": "#x"}), "entry 2: b: 'parameters' has a $dynamicRef"),
        ({"tools": []}, "found no tools to offer"),
        ({"apis": [1]}, "found an object with the keys ['apis'], expected a list of tools. An OpenAPI document"),
        ([{"name": "a", "arguments": {"x": {}}}], "entry 1: a: found the keys name, arguments, expected the arguments"),
        (3, "found 3, expected a list of tools. An OpenAPI document has the key 'openapi'"),
        ({"swagger": "2.0", "paths": {}}, "found Swagger 2.0, expected OpenAPI 3. Convert it first"),
        ({"openapi": "4.0.0"}, "expected a list of tools, or 'openapi' with 3.x"),
        ({"openapi": "3.1.0", "info": {}}, "found no tools to offer"),
        ({"openapi": "3.1.0", "paths": []}, "'paths' is [], expected an object"),
        ({"openapi": "3.1.0", "paths": {"/x": {"get": 1}}}, "GET /x: the operation is 1, expected an object"),
        ({"openapi": "3.1.0", "paths": {"/x": {"$ref": "x.yaml"}}}, "/x: found $ref 'x.yaml', expected one within"),
        ({"openapi": "3.1.0", "paths": {"/x": {"$ref": "#/paths/~1x"}}}, "$ref '#/paths/~1x' leads back to itself"),
        ({"openapi": "3.1.0", "paths": {"/a": {"get": {}}, "/a/": {"get": {}}}}, "2 tools are named 'GET_a'"),
        (operation({"parameters": [{"in": "query"}]}), "POST /x: found the parameter {'in': 'query'}, expected a name"),
        (operation({"parameters": [{"name": ["a"], "in": "query"}]}), "found the parameter {'name': ['a'], 'in': 'q"),
        (
            operation({"parameters": [{"name": "a", "in": "query", "required": "yes", "schema": {}}]}),
            "'required' of parameter 'a' is 'yes', expected true or false",
        ),
        (operation(body({}, required=1)), "'required' of 'requestBody' is 1, expected true or false"),
        (operation(body({"properties": {"x": {"$ref": {}}}})), "found $ref {}, expected one within the same file"),
        (operation({"parameters": {}}), "POST /x: 'parameters' is {}, expected a list"),
        (
            operation({"parameters": [{"name": "a", "in": "query"}]}),
            "POST /x: 'schema' or 'content' of parameter 'a' is None, expected an object",
        ),
        (operation({"requestBody": {}}), "POST /x: 'schema' or 'content' of 'requestBody' is None, expected an object"),
        (operation(body({"$ref": "#/components/schemas/No"})), "leads nowhere: there is no 'components'"),
        (operation(body({"type": "object", "properties": {"x": {"type": "int"}}})), "x: 'parameters' is no JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_place_found_and_expected(content, message):
    with pytest.raises(UsageError) as error:
        loaded(content)
    assert message in str(error.value)
    assert "tools.json: " in str(error.value)


def test_a_missing_file_and_a_broken_one_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none\.json: there is no such file. Pass the path of a JSON or YAML file"):
        load_tools(str(tmp_path / "none.json"))
    with pytest.raises(UsageError, match=r"can't be read .*; expected JSON, or YAML"):
        load_tools(str(tmp_path))
    with pytest.raises(UsageError, match=r"tools\.yaml: can't be read .*expected ',' or ']'"):
        loaded("[a: b")
    (tmp_path / "no.json").write_text("name: a")
    with pytest.raises(
        UsageError, match=r"no\.json: can't be read \(Expecting value.*; expected JSON, or YAML in a file"
    ):
        load_tools(str(tmp_path / "no.json"))


def test_a_schema_nested_beyond_reason_is_refused():
    schema = {"type": "integer"}
    for _ in range(300):
        schema = {"items": schema}
    with pytest.raises(UsageError, match="nested too deeply to be read"):
        loaded(with_parameters({"type": "object"} | schema))
    with pytest.raises(UsageError, match="nested too deeply to be read"):
        loaded("[" * 9999)


# OpenAPI


def test_an_operation_becomes_a_tool_with_the_arguments_of_path_query_and_body():
    add, photos = loaded(DOCUMENT)
    assert documentation(add).split("\n") == [
        "add_pet: Adds a pet.",
        "  name (string, required): What it answers to",
        "  weight (number | null, optional)",
        "  parents (array of objects, optional)",
        "    name (string, required): What it answers to",
        "    weight (number | null, optional)",
        "    parents (array of objects, optional): Same fields as parents.",
    ]
    assert photos == Tool(
        "GET_pets_id_photos",
        "Lists photos.",
        {
            "type": "object",
            "properties": {"id": {"type": "integer", "description": "Number"}, "page": {"type": "integer"}},
            "required": ["id", "page"],
        },
    )


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"name": "Rex"}, None),
        ({"name": "Rex", "weight": None, "parents": [{"name": "Ada", "parents": []}]}, None),
        ({"name": "Rex", "weight": 0}, "bad_arguments"),
        ({"name": "Rex", "id": 3}, "bad_arguments"),
        ({"name": "Rex", "parents": [{"name": "Ada", "id": 1}]}, "bad_arguments"),
        ({"name": "Rex", "parents": [{}]}, "bad_arguments"),
        ({}, "bad_arguments"),
    ],
)
def test_references_read_only_fields_and_old_keywords_hold_for_the_arguments(arguments, rule):
    assert broken_rule([Action("add_pet", arguments)], loaded(DOCUMENT)) == rule


def test_a_yaml_document_gives_the_same_tools():
    import yaml

    assert loaded(yaml.safe_dump(DOCUMENT, sort_keys=False)) == loaded(DOCUMENT)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        {"type": "object", "properties": {"a": {}}, "minProperties": 1},
        {"type": ["object", "null"], "properties": {"a": {}}},
        {"enum": ["a"]},
        {},
    ],
)
def test_a_body_that_is_no_plain_object_is_one_argument(schema):
    [one] = loaded(operation(body(schema, description="What to send")))
    assert one.parameters["properties"] == {"body": schema | {"description": "What to send"}}
    assert one.parameters["required"] == ["body"]


def test_the_parts_of_a_composed_body_are_merged():
    parts = {
        "A": {"type": "object", "properties": {"a": {"type": "string"}, "n": {"minimum": 1}}, "required": ["a"]},
        "B": {"allOf": [{"$ref": "#/components/schemas/A"}, {"properties": {"n": {"maximum": 3}}}], "required": ["n"]},
    }
    [one] = loaded(operation(body({"$ref": "#/components/schemas/B"}), components={"schemas": parts}))
    assert one.parameters["properties"] == {"a": {"type": "string"}, "n": {"allOf": [{"minimum": 1}, {"maximum": 3}]}}
    assert set(one.parameters["required"]) == {"a", "n"}


def test_only_a_body_said_to_be_optional_has_optional_arguments():
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "additionalProperties": True}
    needed = [loaded(operation(body(schema, **rest)))[0] for rest in ({}, {"required": True}, {"required": False})]
    assert [one.parameters["required"] for one in needed] == [["a"], ["a"], []]
    assert broken_rule([Action("x", {"a": 1, "more": 2})], needed) is None


def test_json_is_preferred_among_the_media_types_of_a_body():
    content = {
        "multipart/form-data": {"schema": {"type": "object", "properties": {"form": {}}}},
        "application/vnd.api+json": {"schema": {"type": "object", "properties": {"json": {}}}},
    }
    [one] = loaded(operation({"requestBody": {"content": content}}))
    assert list(one.parameters["properties"]) == ["json"]
    del content["application/vnd.api+json"]
    [one] = loaded(operation({"requestBody": {"content": content}}))
    assert list(one.parameters["properties"]) == ["form"]


def test_names_that_are_taken_get_their_place_in_front():
    parameters = [{"name": "id", "in": place, "schema": {"type": "integer"}} for place in ("path", "query")]
    fields = body({"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]})
    [one] = loaded(operation({"parameters": parameters} | fields))
    assert one.parameters == {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "query_id": {"type": "integer"}, "body_id": {"type": "string"}},
        "required": ["id", "body_id"],
    }
    parameters[1]["name"] = "body_id"
    with pytest.raises(UsageError, match="has two arguments 'body_id'"):
        loaded(operation({"parameters": parameters} | fields))


def test_definitions_may_have_any_name():
    names = ["Page[Item]", "a/b", "c~d", "50%"]
    schemas = {name: {"type": "object", "properties": {"x": {"const": name}}} for name in names}
    pointers = ["Page%5BItem%5D", "a~1b", "c~0d", "50%25"]
    fields = {str(n): {"$ref": f"#/components/schemas/{pointer}"} for n, pointer in enumerate(pointers)}
    tools = loaded(operation(body({"type": "object", "properties": fields}), components={"schemas": schemas}))
    assert broken_rule([Action("x", {str(n): {"x": name} for n, name in enumerate(names)})], tools) is None
    assert broken_rule([Action("x", {"0": {"x": "a/b"}})], tools) == "bad_arguments"


PATHS = st.from_regex(r"/[a-z]{1,5}(/\{[a-z]{1,3}\})?", fullmatch=True)
KINDS = st.sampled_from(["string", "integer", "number", "boolean", "array", "object"])
FIELD_NAMES = st.text("abcxyz", min_size=1, max_size=3)
PARAMETERS = st.lists(
    st.fixed_dictionaries(
        {
            "name": FIELD_NAMES,
            "in": st.sampled_from(["path", "query", "header", "cookie"]),
            "schema": st.fixed_dictionaries({"type": KINDS}),
        },
        optional={"required": st.booleans(), "description": st.text()},
    ),
    max_size=4,
    unique_by=lambda parameter: parameter["name"],
)
BODIES = st.dictionaries(FIELD_NAMES, st.fixed_dictionaries({"type": KINDS}), max_size=4).map(
    lambda fields: body({"type": "object", "properties": fields, "required": list(fields)[:1]})
)


@LAW
@given(st.dictionaries(PATHS, st.dictionaries(st.sampled_from(["get", "put", "post"]), PARAMETERS), min_size=1), BODIES)
def test_every_operation_of_a_document_becomes_one_tool_with_all_its_arguments(paths, request_body):
    operations = {(path, method): listed for path, item in paths.items() for method, listed in item.items()}
    document = {"openapi": "3.1.0", "paths": {path: {} for path in paths} | {"/always": {"get": {"operationId": "0"}}}}
    for number, ((path, method), listed) in enumerate(operations.items(), start=1):
        document["paths"][path][method] = {"operationId": str(number), "parameters": listed} | request_body
    tools = loaded(document)
    assert sorted(tool.name for tool in tools) == sorted(map(str, range(len(operations) + 1)))
    fields = request_body["requestBody"]["content"]["application/json"]["schema"]["properties"]
    for number, listed in enumerate(operations.values(), start=1):
        [properties] = [tool.parameters["properties"] for tool in tools if tool.name == str(number)]
        sent = [each for each in listed if each["in"] in ("path", "query")]
        assert len(properties) == len(sent) + len(fields)
        assert {each["name"] for each in sent} | fields.keys() <= properties.keys()


WORDS = [
    "openapi", "paths", "/a", "get", "post", "parameters", "requestBody", "content", "application/json", "schema",
    "$ref", "name", "in", "required", "type", "properties", "items", "allOf", "anyOf", "$defs", "function",
    "description", "operationId", "summary", "additionalProperties", "enum", "nullable", "readOnly",
    "exclusiveMinimum", "minimum", "format", "pattern",
]  # fmt: skip
TEXTS = ["3.0.0", "path", "query", "object", "string", "array", "#", "#/paths", "#/paths/~1a", "#/$defs/name", "a", ""]
CONTENTS = st.recursive(
    st.sampled_from(TEXTS) | st.booleans() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


@LAW
@given(CONTENTS, CONTENTS, CONTENTS, CONTENTS)
def test_whatever_a_file_holds_is_loaded_or_refused(entry, parameters, schema, defs):
    described = [{"name": "t", "parameters": {"type": "object", "properties": {"x": schema}, "$defs": defs}}]
    sent = {"parameters": [{"name": "x", "in": "query", "schema": schema}, parameters], **body(entry)}
    for content in (entry, [entry], described, operation(sent), operation(entry if isinstance(entry, dict) else {})):
        try:
            assert all(documentation(one).startswith(one.name) for one in loaded(content))
        except UsageError as error:
            assert "expected" in str(error) or "leads" in str(error)


# Documentation


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"type": "string", "format": "date-time"}, "x (date-time, optional)"),
        ({"type": "integer", "format": "int64", "minimum": 1}, "x (integer, optional)"),
        ({"type": ["string", "null"], "description": "A\n name"}, "x (string | null, optional): A name"),
        ({"enum": ["a", 1, None, True]}, 'x ("a" | 1 | null | true, optional)'),
        ({"type": "string", "const": "ä"}, 'x ("ä", optional)'),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "string"}]}, "x (string | integer, optional)"),
        ({"allOf": [{"description": "Many"}, {"type": "integer"}, {"minimum": 1}]}, "x (integer, optional): Many"),
        ({"$ref": "#/$defs/code"}, "x (string, optional): A code"),
        ({"$ref": "#/$defs/code", "description": "Mine"}, "x (string, optional): Mine"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string", "format": "date"}}},
         "x (array of (array of dates), optional)"),
        ({"type": "array", "items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/code"}]}},
         "x (array of (null | string), optional)"),
        ({"type": "array", "prefixItems": [{}]}, "x (array, optional)"),
        ({"$ref": "#/$defs/tree"}, "x (array of (any value), optional)"),
        ({}, "x (any value, optional)"),
        (True, "x (any value, optional)"),
    ],
)  # fmt: skip
def test_types_beyond_the_catalogue_have_words(schema, line):
    defs = {
        "code": {"type": "string", "description": "A code"},
        "tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
    }
    assert documentation(tool({"x": schema}, **{"$defs": defs})) == f"t: Does it.\n  {line}"


def test_fields_of_alternatives_compositions_and_maps_are_shown():
    alternatives = {
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a", "b"]},
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
            {"type": "null"},
        ]
    }
    kinds = {"oneOf": [{"properties": {"op": {"const": word}}} for word in ("and", "or")]}
    composed = {
        "allOf": [
            {"properties": {"c": {"type": "boolean"}}, "required": ["c"]},
            {"properties": {"d": {"type": "number"}}},
        ]
    }
    counts = {
        "type": "object",
        "patternProperties": {"^x-": {"type": "string"}},
        "additionalProperties": {"type": "integer"},
    }
    one = tool({"one": alternatives, "both": composed, "counts": counts, "kind": kinds}, required=["both"])
    assert documentation(one).split("\n")[1:] == [
        "  one (object | null, optional)",
        "    a (string, required)",
        "    b (any value, optional)",
        "  both (object, required)",
        "    c (boolean, required)",
        "    d (number, optional)",
        "  counts (object, optional)",
        "    <name matching ^x-> (string, optional)",
        "    <any name> (integer, optional)",
        "  kind (object, optional)",
        '    op ("and" | "or", optional)',
    ]


def test_fields_used_again_are_spelled_out_once():
    place = {"type": "object", "properties": {"city": {"type": "string"}, "near": {"$ref": "#/$defs/place"}}}
    whole = {"$ref": "#", "description": "One more."}
    nullable = {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]}
    one = tool({"start": {"$ref": "#/$defs/place"}, "end": nullable, "then": whole}, **{"$defs": {"place": place}})
    assert documentation(one).split("\n")[1:] == [
        "  start (object, optional)",
        "    city (string, optional)",
        "    near (object, optional): Same fields as start.",
        "  end (object | null, optional): Same fields as start.",
        "  then (object, optional): One more. Same fields as t.",
    ]


# Rules


def rule(arguments, properties, **rest):
    return broken_rule([Action("t", arguments)], [tool(properties, **rest)])


def test_an_answer_must_act_and_name_a_tool_of_those_offered():
    tools = [Tool(name, "", {"type": "object"}) for name in ("a", "b")]
    assert broken_rule([], tools) == "no_action"
    assert broken_rule([Action("a", ""), Action("b", {})], tools) is None
    assert broken_rule([Action("a", {}), Action("c", {})], tools) == "unknown_tool"
    assert broken_rule([Action("A", {})], tools) == "unknown_tool"
    assert broken_rule([Action("a", {})], []) == "unknown_tool"


@pytest.mark.parametrize("value", ["text", " ", 3, None, True, [], [{}]])
def test_an_input_that_is_no_object_is_bad(value):
    assert rule(value, {}) == "bad_arguments"


def test_the_empty_input_has_no_arguments():
    assert rule("", {"x": {}}) is None
    assert rule("", {"x": {}}, required=["x"]) == "bad_arguments"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "format": "date"}, ["2026-11-22", "2028-02-29"], ["2026-02-29", "20261122", "22.11.2026"]),
        ({"type": "string", "format": "date"}, ["0001-01-01"], ["2026-W01-1", "2026-1-2", " 2026-11-22", ""]),
        ({"type": "string", "format": "time"}, ["00:00", "23:59"], ["24:00", "9:30", "09:30:00", "09:60"]),
        ({"type": "string", "format": "time"}, ["09:30"], ["٠٩:٣٠", "09:30\n", "09:30Z", ""]),
        ({"type": "integer"}, [1, 1.0, 10**30], [1.5, True, "1"]),
        ({"type": "number", "multipleOf": 0.5}, [1.5, 2], [0.3, 10**400, float("inf"), float("nan")]),
        ({"type": "boolean"}, [True], [1, "true"]),
        ({"enum": ["a", "b"]}, ["a"], ["A", None]),
        ({"type": "integer", "minimum": 1, "maximum": 5}, [1, 5], [0, 6]),
        ({"type": "array", "items": {"type": "string"}}, [[], ["a"]], [[1], "a"]),
        ({"type": "string", "format": "email"}, ["no address: only date and time are checked"], [3]),
    ],
)  # fmt: skip
def test_arguments_must_satisfy_the_schema(schema, good, bad):
    assert [rule({"x": value}, {"x": schema}) for value in good] == [None] * len(good)
    assert [rule({"x": value}, {"x": schema}) for value in bad] == ["bad_arguments"] * len(bad)


def test_a_format_holds_for_texts_alone():
    assert rule({"x": 3}, {"x": {"format": "date"}}) is None
    assert rule({"x": 3}, {"x": {"format": "time"}}) is None


A, B = {"properties": {"a": {}}}, {"properties": {"b": {}}, "required": ["b"]}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (A, {"a": 1}, {"a": 1, "c": 1}),
        ({"type": "array", "items": A}, [{"a": 1}], [{"c": 1}]),
        ({"additionalProperties": A}, {"any": {"a": 1}}, {"any": {"c": 1}}),
        ({"allOf": [A, B]}, {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}),
        ({"anyOf": [A, {"type": "null"}]}, None, {"c": 1}),
        ({"oneOf": [A | {"required": ["a"]}, B]}, {"b": 1}, {"b": 1, "c": 1}),
        (A | {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1}, {"b": 1}),
        ({"$ref": "#/$defs/node"}, {"next": {"next": {}}}, {"next": {"next": {"c": 1}}}),
        ({"allOf": [{"$ref": "#/$defs/node"}, A]}, {"a": 1, "next": {}}, {"a": 1, "next": {"a": 1}}),
        (A | {"patternProperties": {"^x-": {"type": "integer"}}}, {"a": 1, "x-b": 2}, {"a": 1, "b": 2}),
    ],
)
def test_unknown_fields_are_bad_at_every_depth(schema, good, bad):
    defs = {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}}
    assert rule({"x": good}, {"x": schema}, **defs) is None
    assert rule({"x": bad}, {"x": schema}, **defs) == "bad_arguments"


@pytest.mark.parametrize(
    "schema", [{"type": "object"}, A | {"additionalProperties": True}, {"allOf": [A | {"additionalProperties": True}]}]
)
def test_unknown_fields_are_good_where_the_schema_says_so_or_names_none(schema):
    assert rule({"x": {"c": 1}}, {"x": schema}) is None
    assert rule({"y": 1}, {"x": schema}) == "bad_arguments"


def test_unknown_arguments_are_good_where_the_tool_says_so():
    assert rule({"y": 1}, {}, additionalProperties={"type": "integer"}) is None
    assert rule({"y": "a"}, {}, additionalProperties={"type": "integer"}) == "bad_arguments"
    assert rule({"y": 1}, {}, unevaluatedProperties=True) is None


def test_a_condition_is_not_made_stricter_by_unknown_fields():
    schema = {
        "if": {"properties": {"o": A}},
        "then": {"required": ["a"]},
        "properties": {"o": {"type": "object"}, "a": {}},
    }
    assert rule({"x": {"o": {"c": 1}}}, {"x": schema}) == "bad_arguments"
    assert rule({"x": {"o": {"c": 1}, "a": 1}}, {"x": schema}) is None


@pytest.mark.parametrize(("levels", "verdict"), [(14, None), (15, "bad_arguments"), (900, "bad_arguments")])
def test_arguments_may_be_nested_sixteen_levels(levels, verdict):
    value = {}
    for _ in range(levels):
        value = {"next": value}
    node = {"properties": {"next": {"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/node"}]}]}}}
    assert rule({"x": value}, {"x": {"$ref": "#/$defs/node"}}, **{"$defs": {"node": node}}) == verdict
    assert rule({"x": value}, {"x": {}}) == verdict


def test_identifiers_and_dialects_within_a_schema_do_not_lead_outside():
    own = {"$id": "https://example.invalid/s", "$schema": "https://example.invalid/d"}
    fields = {"x": own | {"$ref": "#/$defs/n"}, "y": {"if": own | {"$ref": "#/$defs/n"}, "then": False}}
    parameters = own | {"type": "object", "properties": fields, "$defs": {"n": {"type": "integer"}}}
    tools = loaded([{"name": "t", "parameters": parameters}])
    assert broken_rule([Action("t", {"x": 1, "y": "a"})], tools) is None
    assert broken_rule([Action("t", {"x": "a"})], tools) == "bad_arguments"
    assert broken_rule([Action("t", {"y": 1})], tools) == "bad_arguments"


def test_a_validator_is_made_once_a_tool():
    one = tool({"x": A})
    assert one.validator is one.validator
    assert one == tool({"x": A})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
FLAT = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"$ref": st.sampled_from(["#", "#/$defs/a", "#/$defs/b"])}),
    st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS | st.just(["string", "null"]),
            "format": st.sampled_from(["date", "time", "int64", "x"]),
            "description": st.text(max_size=5),
            "enum": st.lists(VALUES, max_size=2),
            "minimum": st.integers(),
            "exclusiveMaximum": st.booleans() | st.integers(),
            "multipleOf": st.sampled_from([1, 0.1, 1e-300]),
            "pattern": st.just("^a"),
            "uniqueItems": st.booleans(),
            "nullable": st.booleans(),
            "readOnly": st.booleans(),
            "required": st.lists(st.sampled_from("abc"), unique=True),
            "$ref": st.sampled_from(["#", "#/$defs/a", "#/$defs/b"]),
        },
    ),
)


def deeper(inner):
    fields = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    listed = st.lists(inner, min_size=1, max_size=2)
    places = {
        **dict.fromkeys(("properties", "dependentSchemas"), fields),
        **dict.fromkeys(("items", "additionalProperties", "unevaluatedProperties", "not", "if", "then"), inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), listed),
        "patternProperties": st.dictionaries(st.just("^b"), inner),
    }
    nested = st.fixed_dictionaries({}, optional=places)
    return st.builds(lambda one, other: one | (other if isinstance(other, dict) else {}), nested, FLAT)


SCHEMAS = st.recursive(FLAT, deeper, max_leaves=8)


@LAW
@given(st.dictionaries(st.sampled_from("abc"), SCHEMAS, max_size=3), SCHEMAS, SCHEMAS, st.lists(OBJECTS, max_size=6))
def test_any_schema_is_refused_or_documented_and_checked_at_least_as_strictly_as_it_says(fields, a, b, values):
    parameters = {"type": "object", "properties": fields, "$defs": {"a": a, "b": b}}
    try:
        [one] = loaded([{"name": "t", "description": "Does it.", "parameters": parameters}])
    except UsageError as error:
        assert "leads back to itself" in str(error)
        return
    lines = documentation(one).split("\n")
    assert lines[0] == "t: Does it."
    assert len([line for line in lines if not line.startswith("   ")]) == 1 + len(one.parameters["properties"])
    plain = Draft202012Validator(one.parameters)
    for value in values:
        found = broken_rule([Action("t", value)], [one])
        assert found in (None, "bad_arguments")
        assert found or plain.is_valid(value)


def opened(schema):
    """`schema` with further fields allowed wherever it names some."""
    if isinstance(schema, list):
        return [opened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    names_fields = {"properties", "patternProperties"} & schema.keys()
    return ({"additionalProperties": True} if names_fields else {}) | {key: opened(schema[key]) for key in schema}


@LAW
@given(st.dictionaries(st.sampled_from("abc"), SCHEMAS, min_size=1), SCHEMAS, SCHEMAS, st.lists(OBJECTS, max_size=6))
def test_a_schema_that_allows_further_fields_is_checked_exactly_as_it_says(fields, a, b, values):
    parameters = opened({"type": "object", "properties": fields, "$defs": {"a": a, "b": b}})
    try:
        [one] = loaded([{"name": "t", "parameters": parameters}])
    except UsageError:
        return
    plain = Draft202012Validator(one.parameters, format_checker=FORMATS)
    for value in values:
        assert (broken_rule([Action("t", value)], [one]) is None) == plain.is_valid(value)
