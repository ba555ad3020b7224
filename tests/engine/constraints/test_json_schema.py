"""Schemas that people's tools write are held; what cannot be held is refused, with its place."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.engine.constraints.harness import accepts
from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.llama.errors import BadGrammar


def of(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    names = [*properties] if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


STRING, INTEGER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
NODE = of(value=STRING, next={"anyOf": [{"$ref": "#/$defs/node"}, NULL]})
PET = {"A": of(k={"const": "a"}, x=INTEGER), "B": of(k={"const": "b"}, y=STRING)}

# A schema, values that fit it, values that do not.
SCHEMAS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "anything": (True, [{"a": [1, "x", None, {}]}, 3.5e-7, "x", [], False], []),
    "no keywords": ({"title": "T"}, [{"a": 1}, None], []),
    "any object": ({"type": "object"}, [{}, {"a": {}}], [[], 1]),
    "strict": (
        of(name=STRING, age=INTEGER),
        [{"name": 'é\n"\\', "age": -3}],
        [{"name": "x"}, {"name": "x", "age": 1.5}],
    ),
    "optional": (of([], a=STRING, b=INTEGER), [{}, {"b": 1}, {"a": "", "b": 0}], [{"c": 1}]),
    "nullable enum": ({"type": ["string", "null"], "enum": ["C", "F", None]}, ["C", None], ["D", 1]),
    "odd constants": (
        {"enum": ['say "hi"', "C:\\new", "a\nb", "🦀", 'd"e']},
        ['say "hi"', "C:\\new", "a\nb", "🦀"],
        ["a"],
    ),
    "odd names": (of(**{"a b": STRING, 'é"ü': INTEGER, "": NULL}), [{"a b": "", 'é"ü': 1, "": None}], [{"a b": ""}]),
    "const object": ({"const": {"x": [1, None, True]}}, [{"x": [1, None, True]}], [{"x": []}]),
    "0 to 100": ({"type": "integer", "minimum": 0, "maximum": 100}, [0, 7, 100], [-1, 101]),
    "0 to 1": ({"type": "number", "minimum": 0, "maximum": 1}, [0, 0.25, 1], [1.5, -0.1]),
    "zod's int": ({"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1}, [0, 2**53 - 1], [2**53]),
    "multiples": ({"type": "integer", "multipleOf": 5}, [0, 15], [7]),
    "lengths": ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "é🦀x"], ["a", "abcd"]),
    "items": ({"type": "array", "items": INTEGER, "minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3], ["a"]]),
    "tuple": (
        {"type": "array", "prefixItems": [INTEGER, STRING], "items": False, "minItems": 2},
        [[1, "a"]],
        [["a", 1]],
    ),
    "recursion": (
        {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
        [{"value": "a", "next": {"value": "b", "next": None}}],
        [{"value": "a"}],
    ),
    "recursion by #": (of(next={"anyOf": [{"$ref": "#"}, NULL]}), [{"next": {"next": None}}], [{"next": 1}]),
    "definition of a definition": (
        {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": STRING}, "$ref": "#/$defs/A"},
        ["x"],
        [1],
    ),
    "definitions with odd names": ({"$defs": {"a/b[c]": STRING}, "$ref": "#/$defs/a~1b%5Bc%5D"}, ["x"], [1]),
    "discriminated union": (
        {"$defs": PET, "oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}], "discriminator": {"propertyName": "k"}},
        [{"k": "a", "x": 1}, {"k": "b", "y": ""}],
        [{"k": "a", "y": ""}],
    ),
    "all of": (
        {"allOf": [{"properties": {"a": STRING}, "required": ["a"]}, {"properties": {"b": INTEGER}}]},
        [{"a": "", "b": 1}],
        [{"b": 1}],
    ),
    "zod's record": (
        {"type": "object", "propertyNames": STRING, "additionalProperties": INTEGER},
        [{"x": 1}],
        [{"x": "a"}],
    ),
    "a record of named keys": (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": INTEGER},
        [{"a": 1}, {"a": 1, "b": 2}, {}],
        [{"c": 1}, {"a": ""}],
    ),
    "a record of patterned keys": ({"type": "object", "propertyNames": {"pattern": "^x"}}, [{"xy": 1}], [{"y": 1}]),
    "patterned properties": (
        {"type": "object", "patternProperties": {"^S_": STRING}, "additionalProperties": False},
        [{"S_a": ""}],
        [{"a": ""}],
    ),
    "formats": (
        of(e={"type": "string", "format": "email"}, d={"type": "string", "format": "date"}),
        [{"e": "a@b.cd", "d": "2026-01-31"}],
        [{"e": "a", "d": "2026-01-31"}, {"e": "a@b.cd", "d": "2026-13-01"}],
    ),
    "formats that are notes": (
        of(p={"type": "string", "format": "path"}, n={"type": "integer", "format": "int64"}),
        [{"p": "/", "n": 1}],
        [{"p": "/", "n": ""}],
    ),
    "a property that is named as a keyword": (
        of(format={"const": "path"}, propertyNames=STRING),
        [{"format": "path", "propertyNames": ""}],
        [{"format": "x", "propertyNames": ""}],
    ),
    "notes": (
        {"type": "string", "example": "x", "x-order": 1, "nullable": True, "default": 3, "$comment": ""},
        ["a"],
        [1],
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_fits_and_what_does_not(name: str) -> None:
    schema, yes, no = SCHEMAS[name]
    constraint = Constraint.of_schema(schema)
    assert [value for value in yes if not accepts(constraint, json.dumps(value, ensure_ascii=False))] == []
    assert [value for value in no if accepts(constraint, json.dumps(value, ensure_ascii=False))] == []


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"^\d{3}$", ["123"], ["12", "1234", "٣٣٣"]),
        ("[a-z]+", ["1a2", "a"], ["12"]),
        ("^abc", ["abcd"], ["xabc"]),
        ("^(foo|bar)$", ["foo", "bar"], ["foobar"]),
        ("^foo|bar$", ["foox", "xbar"], ["xfoo"]),
        (r"^a\\b$", ["a\\b"], ["ab"]),
        ('^"x"$', ['"x"'], ["x"]),
        ("^a\nb$", ["a\nb"], ["ab"]),
        (r"^[^a]{2}$", ["bc", '"\\', "é🦀"], ["ab", "b"]),
        (r"^\u00e9$", ["é"], ["e"]),
        (r"^[\w-]{1,5}$", ["a-_9"], ["é", ""]),
        ("^a+?b$", ["aab"], ["b"]),
        (r"^\+?[1-9]\d{1,14}$", ["+4912"], ["+0"]),
        (r"^a\/b$", ["a/b"], ["ab"]),
        (r"^\S+\s$", ["x "], ["x"]),
        ("^#[0-9a-fA-F]{6}$", ["#00ffAA"], ["#00ffA"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    constraint = Constraint.of_schema({"type": "string", "pattern": pattern})
    assert [text for text in yes if not accepts(constraint, json.dumps(text, ensure_ascii=False))] == []
    assert [text for text in no if accepts(constraint, json.dumps(text, ensure_ascii=False))] == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (False, "allows no answer"),
        (of(x=of(y={"not": STRING})), "#/properties/x/properties/y/not: Unimplemented"),
        (of(x={"type": "array", "uniqueItems": True}), "#/properties/x/uniqueItems"),
        ({"if": {}, "then": {}}, "#/if"),
        (of(**{"a/b": {"pattern": "^(?=a)ab$"}}), "#/properties/a~1b/pattern: look-around"),
        ({"pattern": r"^a\b$"}, "#/pattern: lookarounds"),
        ({"items": {"type": "string", "format": "iban"}}, "#/items/format: Unknown format: iban"),
        ({"anyOf": [STRING, {"type": "nonsense"}]}, "#/anyOf/1/type: Invalid type"),
        ({"oneOf": [STRING, STRING]}, "#/oneOf"),
        ({"type": {}}, "#/type"),
        ({"$ref": "#/$defs/missing"}, "#/$ref"),
        ({"$ref": "https://example.com/x.json"}, "#/$ref"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum (3) is greater"),
        ({"enum": []}, "Unsatisfiable"),
        ({"properties": [1]}, "#/properties"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength (5)"),
        ({"dependentRequired": {"a": ["b"]}}, "#/dependentRequired"),
        ({"propertyNames": {"maxLength": 3}}, "#/propertyNames"),
        ({"propertyNames": {"enum": None}}, "#/propertyNames"),
        ({"propertyNames": {"pattern": ["a"]}}, "#/propertyNames"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "#/not"),
        ({"const": "\ud800"}, "not a schema"),
        ({"properties": {str(i): STRING for i in range(5000)}}, "more than 4000 parts"),
    ],
)
def test_what_cannot_be_held_is_refused_with_its_place(schema: Any, said: str) -> None:
    with pytest.raises(BadGrammar) as caught:
        Constraint.of_schema(schema)
    assert said in str(caught.value)


def test_lenient_leaves_out_what_cannot_be_held() -> None:
    constraint = Constraint.of_schema({"type": "array", "items": INTEGER, "uniqueItems": True}, lenient=True)
    assert accepts(constraint, "[1, 1]")
    assert not accepts(constraint, '["a"]')


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = STRING
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def test_depth_has_an_end() -> None:
    Constraint.of_schema(nested(31))
    with pytest.raises(BadGrammar, match="deeper than 64"):
        Constraint.of_schema(nested(1000))


@pytest.mark.parametrize(("link", "count"), [("properties", 1200), ("items", 1200), ("allOf", 1200), ("anyOf", 600)])
def test_a_chain_of_references_is_followed_on_a_large_stack(link: str, count: int) -> None:
    """On a usual stack it was the end of the process."""
    forms: dict[str, Any] = {
        "properties": lambda ref: {"type": "object", "properties": {"a": ref}},
        "items": lambda ref: {"type": "array", "items": ref},
        "anyOf": lambda ref: {"anyOf": [ref, NULL]},
        "allOf": lambda ref: {"allOf": [ref]},
    }
    chain = {f"d{i}": forms[link]({"$ref": f"#/$defs/d{i + 1}"}) for i in range(count)}
    constraint = Constraint.of_schema({"$defs": {**chain, f"d{count}": STRING}, "$ref": "#/$defs/d0"})
    assert constraint.deep
    assert accepts(constraint, {"properties": "{}", "items": "[]", "anyOf": "null", "allOf": '"x"'}[link])


PAIR = {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "invents"),
    [
        (PAIR, False),
        ({"type": "array", "items": PAIR}, False),
        ({"anyOf": [PAIR, STRING]}, False),
        ({**PAIR, "additionalProperties": True}, True),
        ({**PAIR, "required": ["x"]}, True),
        ({**PAIR, "patternProperties": {"^x": INTEGER}}, True),
        ({"allOf": [PAIR, {"properties": {"x": INTEGER}}]}, True),
        ({**PAIR, "anyOf": [{"properties": {"x": INTEGER}, "required": ["x"]}]}, True),
        ({"type": "object"}, True),
    ],
)
def test_properties_are_not_invented(schema: dict[str, Any], invents: bool) -> None:
    value: Any = {"a": 1, "b": 2, "x": 3}
    value = [value] if "items" in schema else value
    assert accepts(Constraint.of_schema(schema), json.dumps(value)) == invents
    assert accepts(Constraint.of_schema(schema, lenient=True), json.dumps(value))


def test_blanks_have_an_end() -> None:
    """A small model that has begun with them goes on with them until the context is full."""
    constraint = Constraint.of_schema(of(a=INTEGER))
    assert accepts(constraint, '{ "a" : 1 }')
    assert not accepts(constraint, '{  "a":1}')
    assert not accepts(constraint, '{\n"a":1}')


QUOTE = '[^"]'
SETS = [
    f"^{QUOTE}$", f"^{QUOTE}{{1,2}}$", QUOTE, r"^[^\\]$", r'^[^"\\,]+$', r"^[^\x22]$", "^[\0-!#-~]$",
    r"^[\x00-!#-\u00ff]$",
    r"^([ -!#-~]|[^ -~])$", r'^(?:[^"\\]|\\.)*$', r"^[^]\"]+$", r"^[\]\-]$",
    r"^[\s\S]$", r"^[^\n]$", r"^\D+$", "^.$", "^.+$",
]  # fmt: skip
CHARACTERS = [*'"\\/aZ0 \n\t\r\b\f,{]-un', "\x1f", "é", "☃", "🦀"]
WORDS = [*CHARACTERS, *(a + b for a in CHARACTERS for b in CHARACTERS)]


@pytest.mark.parametrize("pattern", SETS)
def test_no_form_of_a_text_passes_a_pattern_that_it_does_not_match(pattern: str) -> None:
    """llguidance took an escaped quote for any set that has NUL in it, as `[^"]` has."""
    constraint = Constraint.of_schema({"type": "string", "pattern": pattern})
    fitting = [word for word in WORDS if re.search(pattern, word)]
    forms = {word: {json.dumps(word, ensure_ascii=ascii_only) for ascii_only in (True, False)} for word in WORDS}
    wrong = [text for word in set(WORDS) - set(fitting) for text in forms[word] if accepts(constraint, text)]
    assert wrong == []
    assert any(accepts(constraint, text) for word in fitting for text in forms[word])


@pytest.mark.parametrize(
    "pattern", [r"^\P{P}$", r"^[\P{P}]$", r"^\p{Cc}$", "^[[:^punct:]]$", "^[[:cntrl:]]$", r"^[\x00-\x1f]$"]
)
def test_nor_one_of_rusts_own_sets(pattern: str) -> None:
    constraint = Constraint.of_schema({"type": "string", "pattern": pattern})
    assert accepts(constraint, '"\\n"')
    assert not [text for text in (r'"\""', r'"\\"', r'"\u0022"') if accepts(constraint, text)]


def test_a_pattern_that_asks_for_nul_is_refused() -> None:
    with pytest.raises(BadGrammar, match="Regex is empty"):
        Constraint.of_schema({"type": "string", "pattern": r"^\x00$"})


@pytest.mark.parametrize("named", [{"properties": {"a": STRING}}, {"patternProperties": {f"^{QUOTE}$": STRING}}])
@pytest.mark.parametrize("other", [{}, {"additionalProperties": INTEGER}])
def test_a_named_property_is_none_of_the_others_in_any_form(named: dict[str, Any], other: dict[str, Any]) -> None:
    # allOf: what is said of others is as it was written
    constraint = Constraint.of_schema({"allOf": [{"type": "object", **named, **other}]})
    assert accepts(constraint, '{"a":"x"}')
    assert accepts(constraint, '{"ab":1}')
    assert not [text for text in ('{"a":1}', r'{"\u0061":1}') if accepts(constraint, text)]
