"""The grammar of a model's calls, as text in llguidance's dialect of Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from threadrunner.engine.tools.sink import ToolSpec

MAX_CALLS = 32
"""In one answer: a weak model that is kept to calls might repeat them for ever."""
_FORMAT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# As Python's json.dumps writes it, which models were trained on; free white space is what weak ones repeat for ever.


class CallGrammar:
    """Collects the rules of one grammar."""

    def __init__(self, tools: Sequence[ToolSpec], marks: Mapping[str, int], many: bool) -> None:
        """`marks`: markers that the vocabulary has as one token each."""
        self.tools = tools
        self.many = many
        self._marks = marks
        self._rules: list[str] = []
        longest_first = sorted(marks, key=len, reverse=True)
        self._cuts = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if marks else None

    def marked(self, text: str) -> str:
        """A text in which each marker may be its token, or the same text."""
        parts = self._cuts.split(text) if self._cuts else [text]
        return " ".join(self._mark(part) for part in parts if part)

    def _mark(self, text: str) -> str:
        token = self._marks.get(text)
        return quote(text) if token is None else f"(<[{token}]> | {quote(text)})"

    def rule(self, name: str, body: str) -> str:
        """Add a rule; gives its name."""
        self._rules.append(f"{name}: {body}")
        return name

    def json(self, name: str, schema: Mapping[str, Any]) -> str:
        """Add a rule for JSON that fits a schema; gives its name."""
        return self.rule(name, f"%json {json.dumps({**schema, 'x-guidance': _FORMAT})}")

    def free_text(self, name: str, end: str) -> str:
        """Add a rule for any text up to and with `end`; gives its name."""
        if end.strip() in self._marks:  # no text has a token's bytes, so it ends there by itself
            return self.rule(name, f"/(.|\\n)*/ <[{self._marks[end.strip()]}]>")
        self.rule(f"{name}[suffix={quote(end)}]", r"/(.|\n)*/")
        return name

    def arguments(self, i: int) -> str:
        """A rule for the arguments of tool `i`."""
        parameters = self.tools[i].parameters
        return self.json(f"args_{i}", parameters or {"type": "object"})

    def repeated(self, item: str, separator: str) -> str:
        """One call, or several where that is allowed. Both are expressions."""
        if not self.many:
            return item
        between = f"{separator} " if separator else ""
        return f"{item} ({between}{item}){{0,{MAX_CALLS - 1}}}"

    def text(self, start: str) -> str:
        return "\n".join([f"start: {start}", *self._rules])


def quote(text: str) -> str:
    """A literal."""
    return json.dumps(text, ensure_ascii=False)
