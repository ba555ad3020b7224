"""One template and how it wants conversations put: found out by rendering made-up ones of the same shape."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.errors import BadTemplate, Refused
from threadrunner.engine.prompts.canaries import Canary, Shape, Tool, canary, canary_tool, shape
from threadrunner.engine.prompts.conversation import Changes, Form, Message, changes, forms, put, put_tools
from threadrunner.engine.prompts.template import MAX_SECONDS, ChatTemplate

_TOOL_ROLES = (("system", "user"), ("user",))
_TOOL_FORMS = (Form(), Form(filled_schemas=True))
_MAX_KNOWN = 256
"""Shapes of conversations of which it is remembered how they are put."""
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""What templates call the thought before an answer."""
_BEGUN = re.compile(r"([<\[][^<>\[\]\s]*)?\Z")
CUT = "\uf8ff\uf8fe\uf8ff"
"""Stands behind the text of an answer that is to be continued; in a made-up one only."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How conversations of one shape are rendered."""

    form: Form
    continues: bool
    """The last message is an answer, which stays open."""
    opening: str
    """What the template usually puts after the last message, to begin the answer."""


class Renderer:
    """Renders conversations by one template. Messages are as `normal` makes them."""

    def __init__(self, template: ChatTemplate, bos: str, eos: str) -> None:
        self.template = template
        self._bos, self._eos = bos, eos
        self._plans: dict[Shape, Plan] = {}
        self._forms: dict[Changes, Form] = {}
        """What served last, by what may make a difference."""
        self._thoughts = [name for name in _THOUGHTS if name in template.members]
        self._facts: tuple[bool, bool, bool] | None = None

    def plan(self, messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, Any]) -> Plan:
        """Raises Refused where the template takes such a conversation in no form, BadTemplate where it would leave
        something out or fails."""
        key = shape(messages, tools, variables)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _MAX_KNOWN:
                self._plans.clear()
            known = self._plans[key] = self._find_plan(messages, tools, variables)
        return known

    def _find_plan(self, messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, Any]) -> Plan:
        words = canary(messages, tools)
        last = messages[-1]
        if last["role"] == "assistant" and not last.get("tool_calls"):
            try:
                form, _ = self._find_form(words, variables, cut=True)
                return Plan(form, True, "")
            except BadTemplate:
                pass  # it cannot be left open: closed, as any other
        form, text = self._find_form(words, variables, cut=False)
        return Plan(form, False, self._opening(words, form, variables, text))

    def _find_form(self, words: Canary, variables: Mapping[str, Any], *, cut: bool) -> tuple[Form, str]:
        """The first form that shows all of a conversation, and what comes of it."""
        may = changes(words.messages, bool(words.tools))
        if (known := self._forms.get(may)) is not None:  # so one that grows is not tried in all forms at each turn
            try:
                return known, self._whole(words, known, variables, cut)
            except BadTemplate:
                pass
        failures: list[BadTemplate] = []
        end = time.thread_time() + MAX_SECONDS
        for form in forms(may):
            if failures and (time.thread_time() > end or (form.joined and not isinstance(failures[0], Refused))):
                continue
            try:
                text = self._whole(words, form, variables, cut)
            except BadTemplate as error:
                failures.append(error)
            else:
                self._forms[may] = form
                return form, text
        raise failures[0]

    def _whole(self, words: Canary, form: Form, variables: Mapping[str, Any], cut: bool) -> str:
        """The text in that form. Raises BadTemplate where it is not all there."""
        text = self._canary_text(words, form, variables, cut)
        if lost := _what_is_lost(words, text):
            raise BadTemplate(f"the model's chat template leaves out {lost}")
        if words.mangled(text):
            raise BadTemplate("the model's chat template mangles calls' arguments")
        return text

    def _canary_text(self, words: Canary, form: Form, variables: Mapping[str, Any], cut: bool) -> str:
        messages = put(words.messages, form)
        if messages is None:
            raise BadTemplate("a system message is the last")
        if cut:
            messages = [*messages[:-1], open_ended(messages[-1], CUT)]
        text = self.render(messages, put_tools(words.tools, form), variables, open_answer=not cut)
        if not cut:
            return text
        head, found, _ = text.rpartition(CUT)
        if not found:
            raise BadTemplate("the model's chat template does not show the end of an answer")
        return head

    def _opening(self, words: Canary, form: Form, variables: Mapping[str, Any], text: str) -> str:
        opening = self.opening(put(words.messages, form) or [], put_tools(words.tools, form), variables, text)
        if opening or not (last := words.said[-1]):
            return opening
        # it begins the answer unasked, say by the mark that ends a user's text
        return text[max(text.rfind(word) + len(word) for word in last) :]

    def opening(
        self, messages: Sequence[Message], tools: Sequence[Tool], variables: Mapping[str, Any], text: str
    ) -> str:
        """What of a rendered text stands behind the last message that is closed."""
        try:
            closed = self.render(messages, tools, variables, open_answer=False)
        except BadTemplate:
            return ""
        same = next((i for i, (a, b) in enumerate(zip(closed, text, strict=False)) if a != b), len(closed))
        if same < len(closed):  # both may go on with a token, of which the first letters are the same
            begun = _BEGUN.search(text[max(0, same - 48) : same])
            same -= len(begun[0]) if begun else 0
        return text[same:]

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] = {},
        *,
        open_answer: bool = True,
    ) -> str:
        """Messages as they are to be put."""
        shown = [self._with_thought(m) if "reasoning" in m else m for m in messages]
        return self.template.render(
            shown, bos=self._bos, eos=self._eos, tools=tools, variables=variables, open_answer=open_answer
        )

    def _with_thought(self, message: Message) -> Message:
        thought = message["reasoning"]
        rest = {key: value for key, value in message.items() if key != "reasoning"}
        return {**rest, **dict.fromkeys(self._thoughts, thought)}

    @property
    def takes_tools(self) -> bool:
        return self._known_facts()[0]

    @property
    def takes_calls(self) -> bool:
        return self._known_facts()[1]

    @property
    def takes_results(self) -> bool:
        return self._known_facts()[2]

    def _known_facts(self) -> tuple[bool, bool, bool]:
        if self._facts is None:
            tools = any(self._shows_tools(roles, form) for roles in _TOOL_ROLES for form in _TOOL_FORMS)
            self._facts = (tools, *self._shows_round([canary_tool()] if tools else []))
        return self._facts

    def _shows_tools(self, roles: Sequence[str], form: Form) -> bool:
        words = canary([{"role": role, "content": "x"} for role in roles], [canary_tool()])
        try:
            return not words.tools_missing(self._canary_text(words, form, {}, cut=False))
        except BadTemplate:
            return False

    def _shows_round(self, tools: Sequence[Tool]) -> tuple[bool, bool]:
        """Whether a call, a result is to be seen in some form."""
        call = {"id": "call", "type": "function", "function": {"name": "x", "arguments": {}}}
        asked = {"role": "assistant", "content": "", "tool_calls": [call]}
        result = {"role": "tool", "content": "x", "tool_call_id": "call", "name": "x"}
        words = canary([{"role": "user", "content": "x"}, asked, result], tools)
        seen: tuple[bool, bool] = (False, False)
        for form in forms(changes(words.messages, bool(tools))):
            try:
                text = self._canary_text(words, form, {}, cut=False)
            except BadTemplate:
                continue
            missing = words.missing(text)
            seen = max(seen, (1 not in missing and not words.mangled(text), 2 not in missing), key=sum)
            if all(seen):
                break
        return seen


def _what_is_lost(words: Canary, text: str) -> str:
    if words.tools_missing(text):
        return "the tools; use another model"
    if lost := words.missing(text):
        who = " and ".join(sorted({words.messages[i]["role"] for i in lost}))
        return f"what `{who}` says here; use another model, or `raw`"
    return ""


def open_ended(message: Message, end: str) -> Message:
    """An answer, or a thought before any answer, with `end` behind its text."""
    if not message["content"].strip() and message.get("reasoning"):
        return {**message, "reasoning": message["reasoning"] + end}
    return {**message, "content": message["content"] + end}
