"""Every method, with params of every kind: each request gets one answer of a known kind, and the daemon lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Daemon, Wire, running
from threadrunner.api.errors import BY_CODE
from threadrunner.api.methods import METHODS
from threadrunner.wire.messages import DEPTH_LIMIT, DecodeError, decode

pytestmark = pytest.mark.slow


NAMES = [name for name in METHODS if name not in ("shutdown", "models.pull")]
"""One ends what is tested, the other would use the network."""

KNOWN = {
    "model": ["dummy"], "default_model": ["dummy"], "backend": ["dummy"], "default_backend": ["dummy"],
    "session": ["s", "t", "@last", "@new"], "name": ["s", "t", "u"], "mode": ["chat"], "input": ["a", ["a", "b"]],
}  # fmt: skip
"""Values that lead far into a method. Other models and backends would each start a process of their own."""

HOSTILE_NAMES = [
    "../../x",
    "/",
    "a\0b",
    "-x",
    "~",
    "x" * 4097,
    "",
    "hf:a/b",
    "ollama:../x",
    "caf\\xe9",
    "no/such",
    "\u202e",
]
NUMBERS = [
    -(10**30),
    -(2**63) - 1,
    -1,
    0,
    1,
    2**31 - 1,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    0.5,
    1e308,
    -0.0,
]
TEXTS = ["", "x", "\0", "\ud800", "\udcff", "é\u0301🦜", "'; DROP TABLE turns --", '" OR *', "(((", "x" * 100_000]
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
SCHEMAS = msgspec.json.schema_components({method.params for method in METHODS.values()}, ref_template="{name}")[1]


def values(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a row a kind
    """Values around the schema: mostly those that fit it, and those at its bounds."""
    if "$ref" in schema:
        return members(SCHEMAS[schema["$ref"]])
    if "anyOf" in schema:
        return st.one_of([values(choice, name) for choice in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if name in KNOWN:
        hostile = [] if name in ("backend", "default_backend") else HOSTILE_NAMES
        return st.one_of(st.sampled_from(KNOWN[name]), st.sampled_from([*KNOWN[name], *hostile]))
    match schema.get("type"):
        case "integer" | "number":
            bounds = [schema[key] + by for key in ("minimum", "maximum") if key in schema for by in (-1, 0, 1)]
            return st.sampled_from(bounds + NUMBERS)
        case "string":
            most = schema.get("maxLength", 0)
            return st.one_of(st.sampled_from([*TEXTS, "x" * most, "x" * (most + 1)]), st.text(max_size=30))
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(values(schema.get("items", {})), max_size=4)
        case "null":
            return st.none()
    return ANY


def members(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    properties = {name: values(value, name) for name, value in schema.get("properties", {}).items()}
    required = {name: properties[name] for name in schema.get("required", ())}
    fitting = st.fixed_dictionaries(required).flatmap(
        lambda base: (
            st.dictionaries(st.sampled_from(sorted(properties)), st.just(None), max_size=4).flatmap(
                lambda chosen: st.fixed_dictionaries({name: properties[name] for name in chosen}).map(
                    lambda more: base | more
                )
            )
            if properties
            else st.just(base)
        )
    )
    odd = st.dictionaries(st.sampled_from([*properties, "nonsense"]), ANY, min_size=1, max_size=2)
    return st.one_of(fitting, fitting, st.tuples(fitting, odd).map(lambda both: both[0] | both[1]))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if depth % 2 else {"a": value}
    return value


DEEP = st.sampled_from([nested(depth) for depth in (10, DEPTH_LIMIT - 3, DEPTH_LIMIT - 2, DEPTH_LIMIT, 500)])


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Any]:
    method = draw(st.sampled_from(NAMES))
    params: Any = draw(members(SCHEMAS[METHODS[method].params.__name__]))
    if draw(st.integers(0, 30)) == 0:
        params = draw(
            st.one_of(ANY, st.dictionaries(st.sampled_from(["json_schema", "params", "x"]), DEEP, min_size=1))
        )
    return method, params


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Daemon]:
    yield from running()


@pytest.fixture(scope="module")
def line(fuzzed: Daemon) -> Wire:
    return fuzzed.wire()


def response(wire: Wire) -> dict[str, Any]:
    """The next message that is no notification."""
    while (message := wire.read()) is not None:
        if "method" not in message:
            assert isinstance(message, dict)
            return message
    raise AssertionError("the daemon hung up")


@settings(max_examples=700, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_each_request_gets_one_answer_of_a_known_kind(fuzzed: Daemon, line: Wire, asked: tuple[str, Any]) -> None:
    method, params = asked
    request = {"jsonrpc": "2.0", "id": "fuzz", "method": method, "params": params}
    frame = json.dumps(request).encode()
    try:
        decode(frame)
    except DecodeError:
        expected = None  # the daemon cannot know whose answer it is
    else:
        expected = "fuzz" if isinstance(params, (dict, list)) else None  # else it is no request, says the library
    line.sock.sendall(frame + b"\n")
    answer = response(line)
    assert answer["id"] == expected
    if "error" in answer:
        assert answer["error"]["code"] in BY_CODE
        assert answer["error"]["data"]["kind"] != "InternalError", answer
        assert answer["error"]["message"]
    else:
        assert isinstance(answer["result"], dict)
    line.send({"jsonrpc": "2.0", "id": "next", "method": "status"})
    after = response(line)
    assert (after["id"], after["result"]["pid"]) == ("next", fuzzed.pid)


@pytest.mark.parametrize("method", [["status"], {"a": 1}, None, 7, True, "", "status\0"])
def test_the_first_request_of_all_may_be_none(method: Any) -> None:
    """While the library loads, another way is taken."""
    for daemon in running():
        wire = daemon.wire()
        wire.send({"jsonrpc": "2.0", "id": 1, "method": method})
        assert response(wire)["error"]["data"]["kind"] in ("InvalidRequest", "MethodNotFound")
        assert wire.call("status")["pid"] == daemon.pid


def test_no_request_left_a_defect_in_the_log(fuzzed: Daemon) -> None:
    assert "Traceback" not in fuzzed.log
