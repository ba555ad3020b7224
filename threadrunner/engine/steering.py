"""What a candidate is kept to as its answer goes on: nothing in a thought, its grammar from a call's beginning on."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from threadrunner.engine.constraints.constraint import Constraint
from threadrunner.engine.constraints.guide import Guide, Matcher
from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.llama.sampler import Sampler

log = logging.getLogger("threadrunner.engine")


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds when. What holds from the answer's first token on is Sampling.constraint."""

    answer: Constraint | None = None
    """From the end of the thought on."""
    call: Callable[[], Constraint] | None = None
    """From the beginning of the first call on; made when there is one, since most answers have none."""
    arguments: Callable[[str], Constraint] | None = None
    """For the arguments of a call that is not written as `call` has it, by the tool's name."""
    marks: Mapping[str, int] = field(default_factory=dict)
    """Markers that are a token each."""


class Steering:
    """The listener of one candidate's splitter."""

    def __init__(self, guide: Guide, sampler: Sampler, rules: Rules) -> None:
        self._guide = guide
        self._sampler = sampler
        self._rules = rules
        self._for_arguments = False

    def call_begins(self, text: str) -> bool:
        """See CallListener. What was said must fit what the call is kept to; else it is left to itself."""
        if self._sampler.constrained:
            return True
        if self._rules.call is None:
            return False
        return self._follow(self._rules.call, text)

    def _follow(self, constraint: Callable[[], Constraint], text: str) -> bool:
        try:
            matcher = self._guide.matchers(constraint(), 1)[0]
            if not self._said(matcher, text):
                return False
        except BadGrammar as error:
            log.warning("a call is not kept to its tool's schema: %s", error)
            return False
        self._sampler.follow(matcher)
        return True

    def arguments_begin(self, name: str, text: str) -> bool:
        """Likewise."""
        if self._sampler.constrained:
            return True
        if self._rules.arguments is None:
            return False
        arguments = self._rules.arguments
        self._for_arguments = self._follow(lambda: arguments(name), text)
        return self._for_arguments

    def arguments_end(self) -> None:
        if self._for_arguments:
            self._sampler.follow(None)

    def thought_ends(self) -> None:
        """Raises BadGrammar."""
        if self._rules.answer is not None:
            self._sampler.follow(self._guide.matchers(self._rules.answer, 1)[0])

    def _said(self, matcher: Matcher, text: str) -> bool:
        marks = self._rules.marks
        if not marks:
            return matcher.take_text(text.encode())
        parts = re.split(f"({'|'.join(map(re.escape, marks))})", text)
        return all(
            matcher.take(marks[part]) if part in marks else matcher.take_text(part.encode()) for part in parts if part
        )
