"""A model's chat template: a stranger's program, run in a sandbox with limits on time and size."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from jinja2 import TemplateError, meta, nodes

from threadrunner.engine.errors import BadTemplate, Refused
from threadrunner.engine.prompts.bounds import MAX_CHARS, given
from threadrunner.engine.prompts.sandbox import Bounding, Sandbox

MAX_SECONDS = 2.0
MAX_SOURCE = 1 << 20


class ChatTemplate:
    """One model's template. ChatPrompt renders conversations with it; nothing else in the program trusts its text."""

    def __init__(self, source: str) -> None:
        """Raises BadTemplate for one that is too long or not valid."""
        if len(source) > MAX_SOURCE:
            raise BadTemplate("the model's chat template is too long")
        env = self._env = Sandbox()
        try:
            parsed = env.parse(source)
            self.reads = frozenset(meta.find_undeclared_variables(parsed))
            """Names that it takes from outside, and some that it sets itself before."""
            self._template = env.from_string(Bounding().visit(parsed))
        except (TemplateError, RecursionError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise BadTemplate(f"the model's chat template is not valid: {reason}") from None
        constants = [constant.value for constant in parsed.find_all(nodes.Const)]
        texts = [value for value in constants if isinstance(value, str)]
        self.literals = [data.data for data in parsed.find_all(nodes.TemplateData)]
        """The texts that stand in it: its markup is made of these."""
        self.literals += texts
        self.members = frozenset([*texts, *(access.attr for access in parsed.find_all(nodes.Getattr))])
        """Names that may be those of members it looks at, of messages, tools and all else."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        bos: str,
        eos: str,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] = {},
        open_answer: bool = True,
    ) -> str:
        """The text for a conversation; with `open_answer` up to where the answer begins. Raises Refused when the
        template says no, BadTemplate when it fails or takes too much time or space."""
        names = {**variables, "messages": messages, **self._tool_names(tools)}
        parts: list[str] = []
        size = 0
        self._env.bounds.begin()
        before = sys.gettrace()
        sys.settrace(_clock(MAX_SECONDS))  # a loop that puts nothing out is stopped too
        try:
            known = {"add_generation_prompt": open_answer, "bos_token": bos, "eos_token": eos}
            for part in self._template.generate({**given(names), **known}):
                size += len(part)
                if size > MAX_CHARS:
                    raise BadTemplate("the model's chat template gives too much text")
                parts.append(part)
        except (Refused, BadTemplate):
            raise
        except Exception as error:  # a template may raise anything: TypeError, RecursionError, UndefinedError
            raise BadTemplate(f"the model's chat template failed: {str(error)[:500]}") from None
        finally:
            sys.settrace(before)
        return "".join(parts)

    def _tool_names(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Tools under the name that it reads; without any, none, since templates ask whether there are `tools`."""
        if tools and "tools" not in self.reads and "xml_tools" in self.reads:
            return {"xml_tools": tools}
        if "functions" in self.reads and "tools" not in self.reads:  # Firefunction's, which fails without them
            now = time.strftime("%b %d %Y %H:%M:%S UTC", time.gmtime())
            return {"functions": json.dumps(list(tools), ensure_ascii=False), "datetime": now}
        return {"tools": tools} if tools else {}


def _clock(seconds: float) -> Any:
    """A trace function that ends what computes for longer: looked at with each Python call, and with each line of
    template code. A process that is stopped or waits for a core meanwhile has not computed; asking for its own time is
    a system call, so that is done only where the wall's clock says that it may be over."""
    began, deadline = time.thread_time(), time.monotonic() + seconds

    def on_line(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal deadline
        if time.monotonic() > deadline:
            left = seconds - (time.thread_time() - began)
            if left <= 0:
                raise BadTemplate("the model's chat template takes too long")
            deadline = time.monotonic() + left
        return on_line

    def on_call(frame: FrameType, event: str, arg: object) -> Any:
        on_line(frame, event, arg)
        return on_line if frame.f_code.co_filename == "<template>" else None

    return on_call
