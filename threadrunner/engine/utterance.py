"""What one candidate says, from its tokens' bytes: the parts that may be shown, and all of it in the end."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TypeVar

from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.tools.layout import AnswerPart, CallHead
from threadrunner.engine.tools.splitter import Splitter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told:
    """A whole answer beside its text."""

    reasoning: str = ""
    calls: tuple[tuple[CallHead, str], ...] = ()
    """Each with its arguments."""
    stop: str | None = None
    """The stop string that has ended the text."""

    def parts(self, text: str) -> list[AnswerPart]:
        """The answer as parts, its text too."""
        parts = [AnswerPart("reasoning", self.reasoning), AnswerPart("text", text)]
        for head, arguments in self.calls:
            parts += [AnswerPart("call", "", call=head), AnswerPart("call", arguments, call=head)]
        return [part for part in parts if part.text or part.call]


class Utterance:
    """Without a splitter all is text. Stop strings and other cuts are about the text alone: in a call's arguments or in
    a thought they would end what the client cannot use half of."""

    def __init__(self, text: Detokenizer, splitter: Splitter | None = None, budget: int | None = None) -> None:
        """`budget`: tokens of thought, after which `thought_must_end`."""
        self._text = text
        self._splitter = splitter
        self._budget = budget
        self.thought_tokens = 0
        self._reasoning: list[str] = []
        self._calls: dict[CallHead, list[str]] = {}
        self._said = 0
        self._spans: list[tuple[int, int, str]] = []

    @property
    def text(self) -> str:
        return self._text.text

    @property
    def stopped(self) -> bool:
        """The answer is over: a stop was said, or the one call that was wanted is whole."""
        return self._text.stopped or (self._splitter is not None and self._splitter.stopped)

    @property
    def thought_must_end(self) -> bool:
        """Once, when the budget is spent."""
        if self._splitter is None or self._budget is None or not self._splitter.thinking:
            return False
        spent = self.thought_tokens >= self._budget
        if spent:
            self._budget = None
        return spent

    @property
    def position(self) -> int:
        """For `shares`: how much was said."""
        return len(self._text.text) if self._splitter is None else self._said

    def takes(self, data: bytes) -> bool:
        """See Detokenizer."""
        return self._text.takes(data)

    def add(self, data: bytes) -> Seq[AnswerPart]:
        """What may be shown once a token's bytes are there too."""
        splitter = self._splitter
        if splitter is None:
            piece = self._text.add(data)
            return (AnswerPart("text", piece),) if piece else ()
        before = splitter.thinking
        piece = self._text.decode(data)
        self._said += len(piece)
        parts = self._shown(splitter.feed(piece)) if piece else []
        self.thought_tokens += before or splitter.thinking
        return parts

    def finish(self, cut: bool) -> list[AnswerPart]:
        """What was held back. `cut`: the answer did not end by itself."""
        parts = []
        if self._splitter is not None and not self._text.stopped:
            parts = self._shown(self._splitter.finish(cut))
        if not self._text.stopped and (rest := self._text.finish(cut)):
            parts.append(AnswerPart("text", rest))
        return parts

    def _shown(self, parts: list[AnswerPart]) -> list[AnswerPart]:
        shown = []
        for part in parts:
            if self._text.stopped:
                break
            if part.kind == "text":
                self._spans.append((*part.span, part.text))
                if piece := self._text.say(part.text):
                    shown.append(AnswerPart("text", piece))
                continue
            if part.call is None:
                self._reasoning.append(part.text)
            else:
                self._calls.setdefault(part.call, []).append(part.text)
            shown.append(part)
        return shown

    def told(self) -> Told:
        calls = tuple((head, "".join(texts)) for head, texts in self._calls.items())
        return Told("".join(self._reasoning), calls, self._text.stop)

    def shares(self, entries: list[tuple[T, int]]) -> list[tuple[T, str]]:
        """The text of each token, told `position` before it; they add up to the text. Tokens of thoughts, calls and
        what a stop cut off have none, and are left out."""
        begins = [begin for _, begin in entries]
        if self._splitter is None:
            return [(entry, part) for (entry, _), part in zip(entries, self._text.parts(begins), strict=False)]
        shares, room = [], len(self.text)
        for (entry, begin), end in zip(entries, [*begins, self._said][1:], strict=True):
            inside = [span for span in self._spans if span[0] < end and begin < span[1]]
            within = begin == end and any(span[0] <= begin < span[1] for span in self._spans)
            text = "".join(text[max(begin - at, 0) : end - at] for at, _, text in inside)[:room]
            if room and (text or within):
                shares.append((entry, text))
                room -= len(text)
        return shares
