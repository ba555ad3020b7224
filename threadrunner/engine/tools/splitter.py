"""One answer told apart as it comes: text, thought, calls. What does not parse is text; nothing is lost, and nothing
that was given is taken back.

White space around thoughts and calls belongs to their markup. A marker that is there in part is held back until it is
whole or none. The first part of a call has its id and name and no text; the next ones are pieces of its arguments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from threadrunner.engine.tools.layout import AnswerPart, CallHead, CallListener, Layout
from threadrunner.engine.tools.sink import ToolSpec, no_constant
from threadrunner.engine.tools.source import Literals, Malformed, Reading, TextEnded, TextSource


class Enough(Exception):
    """The one call that is allowed is there."""


class Splitter:
    """See the module. `feed` it what is said, and `finish` at the end."""

    def __init__(self, layout: Layout, listener: CallListener, new_id: Callable[[], str]) -> None:
        self.layout = layout
        self.thinking = layout.thinking
        self.stopped = False
        """It wants no more."""
        self.calls = 0
        self._listener = listener
        self._new_id = new_id
        self._source = TextSource()
        self._out: list[AnswerPart] = []
        self._begin = 0
        """What is before it was given, or is markup."""
        self._said = False
        self._after_call = False
        self._cut = False
        self._attempt_at = 0
        self._resume = 0
        self._call: CallHead | None = None
        self._kept_to = False
        self._held: list[AnswerPart] | None = None
        syntax = layout.syntax if layout.tools else None
        self._syntax = syntax
        self._opens = syntax.opens if syntax else ()
        self._stops = Literals({*self._opens, *layout.hidden})
        self._close = Literals({layout.thought.end, *layout.hidden} if layout.thought else ())
        self._run = self._answer()
        self._done = False
        self._advance()

    @property
    def tools(self) -> Mapping[str, ToolSpec]:
        return self.layout.tools

    def feed(self, text: str) -> list[AnswerPart]:
        """What may be given once `text` is there too."""
        if self._done:
            return []
        self._source.text += text
        self._advance()
        return self._take()

    def finish(self, cut: bool) -> list[AnswerPart]:
        """What was held back. `cut`: the answer did not end by itself."""
        self._cut = cut
        self._source.ended = True
        while not self._done:
            self._advance()
        return self._take()

    def _advance(self) -> None:
        if next(self._run, self) is self:
            self._done = True

    def _take(self) -> list[AnswerPart]:
        out, self._out = self._out, []
        return out

    # the answer

    def _answer(self) -> Iterator[None]:
        try:
            yield from self._opening()
            while True:
                yield from self._plain()
        except TextEnded:
            self._rest()
        except Enough:
            self.stopped = True

    def _opening(self) -> Reading[None]:
        source, tags = self._source, self.layout.thought
        if tags is not None and not self.thinking:
            yield from source.blanks()
            self.thinking = yield from source.optional(tags.begin)
            source.at = source.at if self.thinking else 0
        if self.thinking:
            self._begin = 0 if self.layout.thoughts == "aloud" else source.at
            yield from self._thought()
        if self._syntax is not None and self._syntax.bare:
            yield from self._bare_calls()

    def _thought(self, close: Literals | None = None) -> Reading[None]:
        source, close = self._source, close or self._close
        self.thinking = True
        aloud = self.layout.thoughts == "aloud"
        begun = False
        while True:
            found, safe = close.find(source)
            if aloud and safe > self._begin:
                self._give_text(safe)
            elif not aloud:
                begun = self._give_thought(safe, begun)
            source.at = max(source.at, safe)
            if found is None:
                yield from source.more()
            elif close is self._close and self.layout.thought and found[0] != self.layout.thought.end:
                self._begin = source.at = found.end()  # a control token is no thought
            else:
                break
        source.at = found.end()
        if aloud:
            self._give_text(source.at)
        self._begin = source.at
        self.thinking = False
        self._listener.thought_ends()

    def _give_thought(self, end: int, begun: bool) -> bool:
        """The thought up to there, but for blanks around it; whether any of it was given."""
        text = self._source.text[self._begin : end].rstrip()
        piece = text if begun else text.lstrip()
        if piece:
            end = self._begin + len(text)
            self._begin = end
            if self.layout.thoughts == "split":
                self._out.append(AnswerPart("reasoning", piece, (end - len(piece), end)))
        return begun or bool(piece)

    def _plain(self) -> Reading[None]:
        source = self._source
        while True:
            found, safe = self._stops.find(source)
            self._say(safe)
            source.at = safe
            if found is not None:
                break
            yield from source.more()
        if found[0] in self._opens:
            yield from self._calls(found.start(), found.end())
        else:
            self._hide(found.start(), found.end())

    def _hide(self, begin: int, end: int) -> None:
        """A control token is no text; what stands before it is."""
        if self._begin < begin:
            self._give_text(begin)
        self._begin = self._source.at = end

    def _bare_calls(self) -> Reading[None]:
        """Calls without a marker: the answer begins with them, or has none."""
        source = self._source
        while True:
            at = source.at
            yield from source.blanks()
            if self.calls and not source.ended and (yield from source.next_char()) in ",;":
                source.at += 1
                yield from source.blanks()
            if source.at >= len(source.text) or source.text[source.at] not in "{[`":
                source.at = at
                return
            count = self.calls
            yield from self._calls(source.at, source.at)
            if self.calls == count:
                return

    def _calls(self, begin: int, after: int) -> Reading[None]:
        """What may be calls: `begin` is where the marker begins, `after` where it ends."""
        assert self._syntax is not None
        source = self._source
        source.at = after
        self._attempt_at = self._resume = begin
        self._call, self._held, count = None, [], self.calls
        self._kept_to = after > begin and self._listener.call_begins(source.text[begin:])
        try:
            yield from self._syntax.read(source, self)
        except Malformed:
            self._give_up(begin, after, count)
        except TextEnded:
            if self._call is not None and (self._held is None or self._cut):
                self._flush()
                self.calls += 1
                self._call = None
                self._begin = source.at = len(source.text)
            else:
                self._give_up(begin, after, count)
            self._after_call = self.calls > count
        else:
            self._begin = source.at
            self._after_call = True

    def _give_up(self, begin: int, after: int, count: int) -> None:
        """What was read since the last whole call is text."""
        source = self._source
        if self._call is not None and self._held is None:
            self.calls += 1  # it was given in part, and stays as it is
        self._call, self._held = None, None
        if self.calls > count:
            self._begin = source.at = self._resume
        else:
            hidden = source.text[begin:after] in self.layout.hidden
            source.at = after
            if hidden:
                self._hide(begin, after)

    # the sink: calls while they are read

    def begin(self, name: str) -> None:
        if name not in self.layout.tools:
            raise Malformed(f"no tool {name!r}")
        if not self._kept_to and self._syntax is not None and self._syntax.bare:
            self._kept_to = self._listener.call_begins(self._source.text[self._attempt_at :])
        self._call = CallHead(self.calls, self._new_id(), name)
        self._held = []
        self.arguments("")

    def arguments(self, text: str) -> None:
        assert self._call is not None
        end = self._source.at
        part = AnswerPart("call", text, (end, end), self._call)
        if self._held is not None:
            self._held.append(part)
            if self._kept_to:
                self._flush()
        else:
            self._out.append(part)
        if self._held is None:
            self._resume = end

    def object(self, source: TextSource) -> Reading[None]:
        assert self._call is not None
        late = not self._kept_to  # written in another way than its grammar has it: the arguments can be kept to theirs
        if late and self._listener.arguments_begin(self._call.name, source.text[source.at :]):
            self._kept_to = True
        yield from source.json(self.arguments)
        if late:
            self._listener.arguments_end()

    def end(self) -> None:
        if self._held is not None:
            _check_arguments("".join(part.text for part in self._held))
        self._flush()
        self.calls += 1
        self._call = None
        self._resume = self._source.at
        self._begin = self._source.at
        if not self.layout.many:
            raise Enough

    def _flush(self) -> None:
        self._out += self._held or []
        self._held = None

    # text

    def _say(self, end: int) -> None:
        """Give the text up to there, but for blanks at its end, which may belong to what follows."""
        end = self._begin + len(self._source.text[self._begin : end].rstrip())
        if end > self._begin:
            self._give_text(end)

    def _give_text(self, end: int) -> None:
        text = self._source.text[self._begin : end]
        if not self._said and self._begin and self.layout.thoughts != "aloud":
            text = text.lstrip()  # behind a thought or a call
        self._begin = end
        if text:
            self._said = True
            self._after_call = False
            self._out.append(AnswerPart("text", text, (end - len(text), end)))

    def _rest(self) -> None:
        source = self._source
        if self.thinking:
            return
        if self._after_call and not source.text[self._begin :].strip():
            return
        if self._begin < len(source.text):
            self._give_text(len(source.text))


def _check_arguments(text: str) -> None:
    try:
        value = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Malformed("arguments are no JSON") from None
    if not isinstance(value, dict):
        raise Malformed("arguments are no object")
