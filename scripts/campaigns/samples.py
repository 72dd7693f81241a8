"""Good documents of every kind that users bring, from which the fuzzer makes bad ones."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Record = dict[str, Any]

PROPERTIES = {
    "city": {"type": "string", "description": "Where", "minLength": 1},
    "days": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
    "units": {"enum": ["metric", "imperial"]},
    "at": {"type": "string", "format": "date-time"},
    "near": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
}
SCHEMA = {
    "type": "object",
    "properties": PROPERTIES,
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"Place": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
TOOL = {"type": "function", "function": {"name": "forecast", "description": "Tells the weather.", "parameters": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "forecast", "arguments": '{"city": "Oslo", "days": 2}'}}
USER = {"role": "user", "content": "What is the weather in Oslo tomorrow?"}
SAID = {"role": "assistant", "content": "It will rain in Oslo."}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": '{"rain": true}', "tool_call_id": "c1"}
ACTION = {"Action": "forecast", "Action_Input": {"city": "Oslo", "days": 2}}
LINES = ["Thought: I need the forecast.", "Action: forecast", 'Action_Input: {"city": "Oslo"}']

CHECKS: list[Record] = [
    {"kind": "number", "value": 4, "tolerance": 0.01, "given": [1, 2]},
    {"kind": "maths", "value": "\\frac{1}{2}"},
    {"kind": "choice", "value": "B", "choices": ["red", "blue"]},
    {"kind": "text", "accept": ["Oslo", "the capital"], "reject": ["Bergen"]},
    {"kind": "order", "items": ["one", "two", "three"]},
    {"kind": "verbatim", "value": "It will rain."},
    {"kind": "exact", "value": "yes"},
    {"kind": "all", "checks": [{"kind": "words", "at_most": 5}, {"kind": "lowercase"}]},
    {"kind": "code", "name": "add", "tests": [[[1, 2], 3]], "seconds": 1},
    {"kind": "separated", "by": "***", "count": 2},
    {"kind": "includes", "words": ["rain"], "at_least": 1, "at_most": 3},
    {"kind": "json_keys", "keys": ["a", "b"]},
    {"kind": "ends", "text": "Bye."},
]

FORMATS: list[Record] = [
    {"prompt": "What is the weather in Oslo?", "golden_response": LINES, "golden_answer": [ACTION], "id": "w1"},
    {"prompt": [USER], "golden_response": [CALLED], "tools": [TOOL], "privileged_context": "Always call."},
    {
        "prompt": [{"role": "system", "content": "Be brief."}, USER, CALLED, RESULT],
        "golden_response": "Rain.",
        "tools": [TOOL],
    },
    *(
        {"prompt": "What?", "golden_response": "It will rain.", "check": check, "skill": check["kind"]}
        for check in CHECKS
    ),
    {"prompt": "q?", "completion": "a."},
    {"question": "How much is 1+1?", "answer": "1+1 = <<1+1=2>>2\n#### 2"},
    {"question": "q?", "context": "c.", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}},
    {"problem": "q?", "solution": "So \\boxed{4}.", "answer": "4"},
    {"instruction": "q?", "input": "i", "output": "a.", "history": [["x?", "y."]], "system": "s"},
    {
        "messages": [{"role": "system", "content": "s"}, USER, CALLED, RESULT, SAID, USER, SAID | {"weight": 0}],
        "tools": [TOOL],
    },
    {"messages": [USER, SAID], "functions": [TOOL["function"]], "parallel_tool_calls": False},
    {"conversations": [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "a."}], "system": "s"},
    {
        "conversations": [
            {"from": "human", "value": "q?"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "a."},
        ],
        "tools": json.dumps([TOOL]),
    },
    {"prompt": "q?", "chosen": "a.", "rejected": "b."},
    {"chosen": [USER, SAID], "rejected": [USER, SAID], "score": 1.0},
    {"chosen": "\n\nHuman: q?\n\nAssistant: a.", "rejected": "\n\nHuman: q?\n\nAssistant: b."},
    {"question_id": 81, "turns": ["q?", "more"], "reference": ["a.", "b."]},
    {"question": "q?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
    {"question": "q?", "options": ["x", "y"], "answer": "B", "answer_index": 1},
    {"ind": 3, "ctx": "He", "endings": ["x.", "y."], "label": "1"},
    {"sentence": "_ q.", "option1": "x", "option2": "y", "answer": "2"},
    {
        "prompt": "def f():\n",
        "canonical_solution": "    return 1\n",
        "test": "assert f()",
        "entry_point": "f",
        "task_id": "H/1",
    },
    {"text": "Write f.", "code": "def f(): return 1", "test_list": ["assert f() == 1"], "task_id": 2},
    {"prompt": [USER], "reward_model": {"ground_truth": "4", "style": "rule"}, "ability": "math", "data_source": "x"},
    {
        "contents": [
            {"parts": [{"text": "q?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"n": 3}}}]},
            {"role": "model", "parts": [{"text": "a."}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
    },
    {
        "message_tree_id": "t",
        "prompt": {
            "text": "q?",
            "role": "prompter",
            "replies": [
                {"text": "a.", "role": "assistant", "rank": 0, "replies": [{"text": "Why?", "role": "prompter"}]}
            ],
        },
    },
    {
        "system": 'SYSTEM: Use -\n{"name": "sum", "parameters": {"type": "object"}}\n',
        "chat": 'USER: q?\n\n\nASSISTANT: <functioncall> {"name": "sum", "arguments": \'{"a": 1}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"n": 3}\n\n\nASSISTANT: a. <|endoftext|>',
    },
    {
        "id": "simple_1",
        "question": [[USER]],
        "function": [TOOL["function"]],
        "ground_truth": [{"forecast": {"city": ["Oslo"]}}],
    },
    {
        "query": "q?",
        "answers": json.dumps([{"name": "forecast", "arguments": {"city": "Oslo"}}]),
        "tools": json.dumps([TOOL]),
    },
    {
        "Name": "api",
        "Description": "d",
        "Instructions": ["q?"],
        "Golden_Answers": [[ACTION]],
        "NLDocumentation": "n",
        "Instances": [{"input": "q?", "intermediate_steps": [[["f", '{"a": 1}', "log"], "3"]], "output": "a."}],
    },
    {
        "instructions": "s",
        "input": [USER],
        "output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}],
    },
    {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "3"}]}],
            },
            SAID,
        ]
    },
]

CATALOGUES: list[Any] = [
    [
        TOOL,
        {
            "name": "send",
            "description": "Sends.",
            "input_schema": {"type": "object", "properties": {"to": {"type": "string"}}},
        },
    ],
    {"tools": [{"name": "list", "description": "Lists.", "inputSchema": SCHEMA}]},
    [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}],
    [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": SCHEMA}]}],
    [
        {
            "name": "a",
            "description": "A.",
            "seen": True,
            "parameters": {
                "type": "object",
                "properties": {
                    "x": {"anyOf": [{"type": "null"}, {"pattern": "^[a-z]+$", "type": "string"}]},
                    "y": {"$ref": "#/properties/x"},
                },
            },
        }
    ],
]
PET = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "integer", "format": "int64", "readOnly": True},
        "name": {"type": "string"},
        "weight": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "nullable": True},
        "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
    },
}
OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets": {
            "post": {
                "operationId": "add_pet",
                "summary": "Adds.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"properties": {"x": {}}}]}
                        }
                    },
                },
            }
        },
        "/pets/{id}/photos": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "description": "Lists.",
                "parameters": [
                    {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "put": {"requestBody": {"$ref": "#/components/requestBodies/Any"}},
        },
    },
    "components": {
        "schemas": {
            "Pet": PET,
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
        },
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}},
        "requestBodies": {
            "Any": {
                "content": {
                    "application/json": {
                        "schema": {
                            "oneOf": [
                                {"$ref": "#/components/schemas/Node"},
                                {"type": "array", "items": {"type": "string"}},
                            ]
                        }
                    }
                }
            }
        },
    },
}

RECIPE = {
    "description": "Short requests.",
    "request": "Write a {difficulty} request about {topic}.",
    "axes": {"topic": ["rain", "trains"], "difficulty": ["easy", "hard"]},
    "prompt": "Answer: {request}",
    "answer": "{prompt}",
    "grading": "Grade {answer} to {prompt}.",
    "checks": ["truncated", "empty", "refusal"],
    "near_duplicates": 0.7,
    "language": "en",
    "max_tokens": 32,
    "temperature": 0.5,
}
WITH_TOOLS = RECIPE | {
    "request": "Write a request about {topic} that {tool} of {tools} fulfils, {difficulty}.",
    "tools": str(ROOT / "data" / "tooluse_data" / "tools.json"),
    "tools_per_prompt": 2,
    "checks": ["no_action", "unknown_tool", "bad_arguments"],
}
