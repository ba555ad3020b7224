"""gpt-oss's answers, which are messages in channels from their beginning to their end: `<|channel|>analysis<|message|>`
and a thought, `<|end|><|start|>assistant`, `<|channel|>final<|message|>` and the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from threadrunner.engine.tools.harmony import MAX_HEADER
from threadrunner.engine.tools.source import Literals, Reading, TextEnded
from threadrunner.engine.tools.splitter import Enough, Splitter

_ANALYSIS = re.compile(r"<\|channel\|>analysis\b")
_CALL = "to=functions."
_BEGINS = ("<|start|>", "<|channel|>", "to=")
_ENDS = Literals(("<|end|>", "<|return|>", "<|call|>"))


class ChannelSplitter(Splitter):
    """Analysis is thought, a message to a function is a call, all else is text."""

    def _answer(self) -> Iterator[None]:
        try:
            if self.thinking:
                yield from self._thought(_ENDS)
            while (yield from self._message()):
                pass
            while True:
                yield from self._plain()
        except TextEnded:
            self._rest()
        except Enough:
            self.stopped = True

    def _message(self) -> Reading[bool]:
        """One message; whether there was one."""
        source = self._source
        begin = source.at
        yield from source.blanks()
        while any(mark.startswith(source.text[source.at :]) for mark in _BEGINS) and not source.ended:
            yield
        if not source.text.startswith(_BEGINS, source.at):
            source.at = begin
            return False
        header = yield from source.until("<|message|>")
        if len(header) > MAX_HEADER:
            source.at = begin
            return False
        to = header.find(_CALL)
        if to >= 0 and self._opens:
            yield from self._calls(at := source.at - len(header) - len("<|message|>") + to, at + len(_CALL))
            yield from self._skip_end()
            return True
        self._begin = source.at
        yield from (self._thought(_ENDS) if _ANALYSIS.search(header) else self._body())
        return True

    def _skip_end(self) -> Reading[None]:
        yield from self._source.blanks()
        for mark in ("<|end|>", "<|call|>"):
            if (yield from self._source.optional(mark)):
                self._begin = self._source.at

    def _body(self) -> Reading[None]:
        """A message's text."""
        source = self._source
        while True:
            found, safe = _ENDS.find(source)
            self._say(safe)
            source.at = safe
            if found is not None:
                break
            yield from source.more()
        self._begin = source.at = found.end()
