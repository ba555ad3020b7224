"""Files of tools in the shapes that others write them, and --set: what it takes is what no flag sets."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from threadrunner.api.generation import GenerateParams
from threadrunner.cli import flags, tools
from threadrunner.cli.flags import SETTABLE, UsageError

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
BARE = {"name": "weather", "description": "now", "parameters": SCHEMA}
MCP = {"name": "weather", "title": "W", "description": "now", "inputSchema": SCHEMA, "annotations": {"x": 1}}
ANTHROPIC = {"name": "weather", "description": "now", "input_schema": SCHEMA}


@pytest.mark.parametrize(
    "file",
    [
        [BARE],
        {"tools": [BARE]},
        [{"type": "function", "function": BARE}],
        [{"function": BARE}],
        [{"type": "function", **BARE}],
        {"tools": [MCP], "nextCursor": None},
        [ANTHROPIC],
    ],
    ids=["bare", "in an object", "openai", "openai without type", "responses", "mcp", "anthropic"],
)
def test_the_shapes_that_tools_have(file: Any) -> None:
    (tool,) = tools.read(json.dumps(file), "t.json")
    assert tool == {"type": "function", "function": BARE}
    msgspec.convert({"prompt": "x", "tools": [tool]}, GenerateParams)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("{", "t.json: not JSON"),
        ("{}", "t.json: expected a list"),
        ('{"tools": {}}', "t.json: expected a list"),
        ("[1]", r"t.json: tools\[0\] is not an object"),
        ('[{"type": "web_search"}]', r"tools\[0\] is of type 'web_search'"),
        ('[{"function": "weather"}]', r"tools\[0\].function is not an object"),
        ('[{"function": {"name": 4}}]', r"tools\[0\].function has no `name`"),
        ('[{"name": "x", "run": "rm"}]', r"tools\[0\] has a member 'run'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(file: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        tools.read(file, "t.json")


def test_values_are_json_where_they_can_be_and_members_can_be_named() -> None:
    given = ["min_p=0.1", "reasoning=off", "ignore_eos=true", "dry.base=2", "dry.breakers=[]", "template_vars.a=b=c"]
    assert tools.settings(given) == {
        "min_p": 0.1,
        "reasoning": "off",
        "ignore_eos": True,
        "dry": {"base": 2, "breakers": []},
        "template_vars": {"a": "b=c"},
    }


@pytest.mark.parametrize("given", [["x=1"], ["prompt=x"], ["session=x"], ["min_p"], ["n=2", "n.a=2"], ["=1"], [""]])
def test_what_cannot_be_set(given: list[str]) -> None:
    with pytest.raises(UsageError, match="--set"):
        tools.settings(given)


def test_each_param_has_a_flag_or_can_be_set() -> None:
    own = {"prompt", "messages", "prompt_tokens", "special", "stream", "json_schema"}
    own |= {"default_model", "default_backend", "images"}
    by_flag = {long[2:].replace("-", "_") for _, long, *_ in flags.FLAGS}
    params = {field.name for field in msgspec.structs.fields(GenerateParams)}
    assert set(SETTABLE) & by_flag == set()
    assert params - own - by_flag == set(SETTABLE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("`lora` names 'x'; name files by `adapters`", "--lora names 'x'; name files by `adapters`"),
        ("at most one of `grammar` and `json_schema`", "at most one of --grammar and --schema"),
        ("`dry.breakers`: 'x' is no text", "--set dry.breakers: 'x' is no text"),
        ("give one of `vote.field` and `vote.pattern`", "give one of --key-field and --key-pattern"),
        ("`prompt` and `threadrunner models list` stay", "`prompt` and `threadrunner models list` stay"),
    ],
)
def test_members_of_params_are_told_as_flags(text: str, says: str) -> None:
    assert flags.with_flags(text) == says


@pytest.mark.parametrize(("given", "flag"), [("temperature=1", "--temperature"), ("max_tokens=3", "--max-tokens")])
def test_what_has_a_flag_is_not_set_by_name(given: str, flag: str) -> None:
    with pytest.raises(UsageError, match=f"it has a flag of its own, {flag}"):
        tools.settings([given])
