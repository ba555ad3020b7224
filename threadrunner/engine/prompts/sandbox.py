"""Where a chat template runs: Jinja's immutable sandbox, narrowed to what templates use, and bounded (see bounds.py).

Methods are allowed by name for the types that templates handle. A list may be changed only if the template made it:
what it is given is of the type `bounds.Given`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from jinja2 import filters, nodes, pass_environment
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

from threadrunner.engine.errors import Refused
from threadrunner.engine.prompts.bounds import MAX_PARTS, Allowance, check

_MAX_FORMAT = 256
_WIDTH = re.compile(r"[<>=^]?[+ -]?[,_]?0?\d{0,2}(\.\d{1,2})?[,_]?[a-zA-Z%]?\Z")


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXT = words(
    "capitalize casefold count endswith find format index isalnum isalpha isascii isdecimal isdigit islower isnumeric "
    "isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition "
    "rsplit rstrip split splitlines startswith strip swapcase title upper"
)
_READ_LIST = words("copy count index")
_CHANGE_LIST = words("append clear extend insert pop remove reverse sort")
_DICT = words("copy get items keys values")
_REMOVED = ("batch", "center", "format", "groupby", "pprint", "slice", "urlize", "wordwrap", "xmlattr")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment that one template is compiled and run in."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        bounds = self.bounds = Allowance()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=bounds.shown,
        )
        for name in _REMOVED:
            del self.filters[name]
        self.filters |= {
            "from_json": json.loads,
            "indent": bounds.indent,
            "join": _join,
            "list": bounds.listed,
            "replace": bounds.replace,
            "safe": str,  # nothing is HTML here, and Jinja's own type would escape what is added to it
            "sort": _sort,
            "string": bounds.string,
            "sum": bounds.total,
            "tojson": bounds.to_json,
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
        bounds = __self.bounds
        if isinstance(owner, str):
            if name == "join":
                return bounds.join(args[0], owner)
            if name == "replace":
                return bounds.replace(owner, *args)
            if name in ("split", "rsplit", "splitlines"):
                bounds.split(owner, "\n" if name == "splitlines" else (args or (kwargs.get("sep"),))[0])
        elif isinstance(owner, list) and name == "extend":
            args = (bounds.listed(args[0], MAX_PARTS - len(owner)),)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") != "format":
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            check(len(owner) <= MAX_PARTS)
            return _Format(self).vformat(owner, args, kwargs)

        return bounded

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            self.bounds.add(left, right)
        elif operator == "%" and isinstance(left, (str, bytes)):
            raise SecurityError("string formatting with % is off")
        else:
            self.bounds.multiply(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def concat(self, parts: Iterable[str]) -> str:
        """Of what a macro or a block has put out; Jinja's own is "".join."""
        return self.bounds.join(parts)

    def concatenate(self, *parts: Any) -> str:
        """What `~` does."""
        return self.bounds.join(parts)


class _Format(SandboxedFormatter):
    """str.format that pads to two digits' width at most, in a text of bounded length."""

    def __init__(self, env: Sandbox) -> None:
        super().__init__(env)
        self._bounds = env.bounds
        self._chars = 0

    def format_field(self, value: Any, format_spec: str) -> str:
        if not _WIDTH.match(format_spec):
            raise SecurityError("a field of `format` is too wide, or of an unknown kind")
        text = str(super().format_field(self._bounds.shown(value), format_spec))
        self._chars += len(text)
        self._bounds.text(self._chars)
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(self._bounds.shown(value), conversion)


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
    reason = message[:500] if isinstance(message, str) else "it does not say why"
    raise Refused(f"the model's chat template takes no such conversation: {reason}")


def _strftime(layout: str) -> str:
    check(len(layout) <= _MAX_FORMAT)
    return time.strftime(layout)


@pass_environment
def _join(env: Sandbox, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(filters.make_attrgetter(env, attribute), value)
    return env.bounds.join(value, d)


@pass_environment
def _sort(env: Sandbox, value: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
    return filters.do_sort(env, env.bounds.listed(value), *args, **kwargs)
