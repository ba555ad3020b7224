"""Where a chat template runs: Jinja's immutable sandbox, narrowed to what templates use and bounded in what one call
may make.

A clock stops a template between its lines and at each Python call; what C code makes in one go no clock can stop. So
everything that makes a large thing of a small one is counted before it is done: repeating, joining, replacing, writing
out a list that holds itself many times over. Methods are allowed by name for the types that templates handle. A list
may be changed only if the template made it: what it is given is of the type `Given`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import filters, nodes, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

from threadrunner.engine.errors import Refused

MAX_CHARS = 32 << 20
"""Of a text that a template makes, at any point."""
_MAX_COPIES = 100_000
_MAX_PARTS = 1_000_000
_MAX_BITS = 4096
_MAX_INDENT = 16
_MAX_FORMAT = 256
_WIDTH = re.compile(r"[<>=^]?[+ -]?[,_]?0?\d{0,2}(\.\d{1,2})?[,_]?[a-zA-Z%]?\Z")


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXT = words(
    "capitalize casefold count endswith find format index isalnum isalpha isascii isdecimal isdigit islower "
    "isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex "
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
)
_READ_LIST = frozenset(("copy", "count", "index"))
_CHANGE_LIST = frozenset(("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"))
_DICT = frozenset(("copy", "get", "items", "keys", "values"))
_REMOVED = ("batch", "center", "format", "pprint", "slice", "urlize", "wordwrap", "xmlattr")


class Given(list[Any]):
    """A list from outside: a template may read it, and change only copies."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


class GivenObject(dict[str, Any]):
    """An object from outside. Written out as it is, it is JSON: Python's own form would mean nothing to a model, and
    templates forget `tojson`."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


def given(value: Any) -> Any:
    """A copy for a template of what JSON can hold."""
    if isinstance(value, Mapping):
        return GivenObject((key, given(part)) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return Given(map(given, value))
    return value


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that templates are compiled and run in."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=_shown,
        )
        for name in _REMOVED:
            del self.filters[name]
        self.filters |= {
            "tojson": _to_json,
            "from_json": _from_json,
            "indent": _indent,
            "join": _join_filter,
            "replace": _replace,
            "safe": str,  # nothing is HTML here, and Jinja's own type would escape what is added to it
            "string": _string,
            "sum": _sum,
        }
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _refuse, "strftime_now": _strftime}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in _TEXT
        if isinstance(obj, list):
            return attr in _READ_LIST or (attr in _CHANGE_LIST and type(obj) is list)
        if isinstance(obj, dict):
            return attr in _DICT
        if isinstance(obj, (int, float, bytes, bytearray, tuple, set, frozenset)):
            return attr in _READ_LIST
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in ("join", "replace"):
            return _join(args[0], owner) if name == "join" else _replace(owner, *args)
        if isinstance(owner, list) and name == "extend":
            args = (_counted(args[0], _MAX_PARTS - len(owner)),)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") != "format":
            return None
        return lambda *args, **kwargs: _Format(self).vformat(_within(owner, _MAX_COPIES), args, kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            _check_sum(left, right)
        elif operator == "%" and isinstance(left, (str, bytes)):
            raise SecurityError("string formatting with % is off")
        else:
            _check_product(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def concatenate(self, *parts: Any) -> str:
        """What `~` does."""
        return _join(parts)


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, str) and isinstance(right, str):
        _too_large(len(left) + len(right) > MAX_CHARS)
    elif hasattr(left, "__len__") and hasattr(right, "__len__"):
        _too_large(len(left) + len(right) > _MAX_PARTS)


def _check_product(operator: str, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            _too_large(max(abs(left), abs(right)) > 1000)
        _too_large(left.bit_length() + right.bit_length() > _MAX_BITS)
    for value, count in ((left, right), (right, left)):
        if hasattr(value, "__len__") and isinstance(count, int):
            _too_large(len(value) * count > _MAX_COPIES)


def _too_large(it_is: bool) -> None:
    if it_is:
        raise SecurityError("an operand is too large")


class _Format(SandboxedFormatter):
    """str.format that pads to two digits' width at most, in a text of bounded length."""

    def __init__(self, env: Sandbox) -> None:
        super().__init__(env)
        self._left = MAX_CHARS

    def format_field(self, value: Any, format_spec: str) -> str:
        if not _WIDTH.match(format_spec):
            raise SecurityError("a field of `format` is too wide, or of an unknown kind")
        text = str(super().format_field(_shown(value), format_spec))
        self._left -= len(text)
        _too_large(self._left < 0)
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(_shown(value), conversion)


class _Generation(Extension):
    """{% generation %} … {% endgeneration %} shows transformers which text to train on; here it is the text."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Bounding(NodeTransformer):
    """Makes of each `a ~ b` a call that counts what it joins; Jinja does it without asking its environment."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        joined = nodes.EnvironmentAttribute("concatenate", lineno=node.lineno)
        return nodes.Call(joined, node.nodes, [], None, None, lineno=node.lineno)


# what a template calls


def _refuse(message: object) -> NoReturn:
    raise Refused(f"the model's chat template takes no such conversation: {str(message)[:500]}")


def _strftime(layout: str) -> str:
    return time.strftime(_within(layout, _MAX_FORMAT))


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As transformers has it, for which templates are written: Jinja's own escapes for HTML, and for ASCII."""
    _too_large(max([indent or 0, *map(len, separators or ())]) > _MAX_INDENT)
    if isinstance(value, Undefined):
        str(value)  # an error where Jinja is told to be strict; else a clear one below
        raise SecurityError("`tojson` of what is not defined")
    return json.dumps(
        _shown(value),
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_as_list,
    )


def _as_list(value: Any) -> Any:
    """What a filter such as `map` gives is no list yet."""
    if not isinstance(value, Iterator):
        raise SecurityError(f"`tojson` of {type(value).__name__}")
    return _shown(list(value))


def _from_json(text: str) -> Any:
    return json.loads(text)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * min(width, _MAX_INDENT + 1)
    _too_large(len(margin) > _MAX_INDENT or len(text) + str(text).count("\n") * len(margin) > MAX_CHARS)
    return filters.do_indent(str(text), margin, first, blank)


@pass_environment
def _join_filter(env: Sandbox, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(filters.make_attrgetter(env, attribute), value)
    return _join(value, d)


def _join(value: Iterable[Any], separator: str = "") -> str:
    parts = [_string(part) for part in value]
    _too_large(sum(map(len, parts)) + len(separator) * len(parts) > MAX_CHARS)
    return separator.join(parts)


def _replace(text: Any, old: str, new: str, count: int | None = None) -> str:
    whole = _string(text)
    found = whole.count(old) if old else len(whole) + 1
    _too_large(len(whole) + found * max(0, len(new) - len(old)) > MAX_CHARS)
    return whole.replace(old, new, -1 if count is None else count)


def _sum(values: Iterable[Any], attribute: Any = None, start: int = 0) -> Any:
    if attribute is not None or not isinstance(start, (int, float)):
        raise SecurityError("`sum` adds numbers")
    return sum(values, start)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else str(_shown(value))


def _shown(value: Any) -> Any:
    """The value, if it may be written out: a list may hold another twice, that one a third …"""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        left = [_MAX_PARTS]
        _weigh(value, left)
    return value


def _weigh(value: Any, left: list[int]) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            left[0] -= 1 + (len(key) if isinstance(key, str) else 0) // 32
            _weigh(part, left)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            _weigh(part, left)
    left[0] -= 1 + (len(value) if isinstance(value, str) else 0) // 32
    _too_large(left[0] < 0)


def _counted(values: Iterable[Any], limit: int) -> list[Any]:
    counted = list(values)
    _too_large(len(counted) > limit)
    return counted


def _within(text: str, limit: int) -> str:
    _too_large(len(text) > limit)
    return text
