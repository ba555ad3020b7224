"""A model's chat template: a stranger's program, run in Jinja's immutable sandbox with limits on time and size."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from threadrunner.engine.errors import BadTemplate, Refused

MAX_SECONDS = 2.0
MAX_CHARS = 32 << 20
MAX_SOURCE = 1 << 20
_MAX_OPERAND = 100_000
_MAX_INDENT = 16
# each of these makes a string of any size from a small one in a single call, where no clock can stop it
_INFLATING = {"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"}


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def wrap_str_format(self, value: Any) -> None:
        """str.format may pad to any width; without a wrapper it is refused as an attribute below."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _INFLATING and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise SecurityError("string formatting with % is off")
        if operator == "**" and max(abs(left), abs(right)) > 1000:
            raise SecurityError("an operand is too large")
        for value, count in ((left, right), (right, left)):
            if isinstance(value, (str, list, tuple)) and isinstance(count, int) and len(value) * count > _MAX_OPERAND:
                raise SecurityError("an operand is too large")
        return super().call_binop(context, operator, left, right)


def _refuse(message: object) -> NoReturn:
    raise Refused(f"the model's chat template takes no such conversation: {message}")


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As transformers has it, for which templates are written: Jinja's own escapes for HTML, and for ASCII."""
    if max([indent or 0, *map(len, separators or ())]) > _MAX_INDENT:
        raise SecurityError("an operand is too large")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Generation(Extension):
    """{% generation %} … {% endgeneration %} shows transformers which text to train on; here it is the text."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """One model's template. ChatPrompt renders conversations with it; nothing else in the program trusts its text."""

    def __init__(self, source: str) -> None:
        """Raises BadTemplate for one that is too long or not valid."""
        if len(source) > MAX_SOURCE:
            raise BadTemplate("the model's chat template is too long")
        env = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])
        for name in ("center", "indent", "format", "pprint"):
            del env.filters[name]
        env.filters["tojson"] = _to_json
        env.globals["raise_exception"] = _refuse
        env.globals["strftime_now"] = time.strftime
        try:
            parsed = env.parse(source)
            self._template = env.from_string(parsed)
        except (TemplateError, RecursionError) as error:
            raise BadTemplate(f"the model's chat template is not valid: {error}") from None
        constants = [constant.value for constant in parsed.find_all(nodes.Const)]
        self.literals = [data.data for data in parsed.find_all(nodes.TemplateData)]
        """The texts that stand in it: its markup is made of these."""
        self.literals += [value for value in constants if isinstance(value, str)]

    def render(self, messages: Sequence[Mapping[str, str]], *, bos: str, eos: str) -> str:
        """The text for a conversation, up to where the answer begins. Raises Refused when the template says no,
        BadTemplate when it fails or takes too much time or space."""
        parts: list[str] = []
        size = 0
        deadline = time.monotonic() + MAX_SECONDS
        before = sys.gettrace()
        sys.settrace(_clock(deadline))  # a loop that puts nothing out is stopped too
        try:
            for part in self._template.generate(
                messages=[dict(m) for m in messages],
                add_generation_prompt=True,
                bos_token=bos,
                eos_token=eos,
                tools=None,
            ):
                size += len(part)
                if size > MAX_CHARS:
                    raise BadTemplate("the model's chat template gives too much text")
                parts.append(part)
        except (Refused, BadTemplate):
            raise
        except Exception as error:  # a template may raise anything: TypeError, RecursionError, UndefinedError
            raise BadTemplate(f"the model's chat template failed: {error}") from None
        finally:
            sys.settrace(before)
        return "".join(parts)


def _clock(deadline: float) -> Any:
    """A trace function that ends what runs past the deadline; only template code is looked at line by line."""

    def on_line(_frame: FrameType, _event: str, _arg: object) -> Any:
        if time.monotonic() > deadline:
            raise BadTemplate("the model's chat template takes too long")
        return on_line

    def on_call(frame: FrameType, _event: str, _arg: object) -> Any:
        return on_line if frame.f_code.co_filename == "<template>" else None

    return on_call
