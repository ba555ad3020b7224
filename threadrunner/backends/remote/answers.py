"""A streamed answer from its parts, in OpenAI's shape: pieces for the daemon as they come, and the result at the end.

Servers differ in where a call's id is, whether its arguments come in parts, what thoughts are called and whether a
finish is said once or twice; an end without a finish is a broken answer, never an empty one. Pure.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from threadrunner.api.chat import CallPart, FunctionCall, ToolCall
from threadrunner.api.errors import RemoteFailed
from threadrunner.api.fields import FinishReason
from threadrunner.api.generation import Choice, Generated, Timings, TokenLogprob, Usage
from threadrunner.api.sampling import SamplingParams
from threadrunner.backends.base import Piece
from threadrunner.backends.remote.chunks import array, count, number, table
from threadrunner.engine.prompts.detokenizer import Detokenizer

MAX_CHARS = 32 << 20
"""Of one answer: a server that never ends must not fill our memory."""

MAX_ID = 128
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
"""As api/chat.py has them: what else a server says is no call that a client could answer."""

_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "stop_sequence": "stop", "end_turn": "stop", "length": "length",
    "max_tokens": "length", "limit": "length", "tool_calls": "tool_calls", "tool_use": "tool_calls",
    "function_call": "tool_calls",
}  # fmt: skip


class _Call:
    def __init__(self, name: str, id: str) -> None:
        self.name = name
        self.id = id if 0 < len(id) <= MAX_ID else f"call_{secrets.token_hex(12)}"
        self.arguments: list[str] = []


class _Candidate:
    """One of the answers to a prompt, as far as it has come."""

    def __init__(self, ending: Detokenizer | None) -> None:
        self.ending = ending
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, _Call] = {}
        self.logprobs: list[TokenLogprob] = []
        self.finish: str | None = None
        self.half = {"text": "", "reasoning": ""}
        """A first half of a character, whose second one has yet to come."""

    def whole(self, kind: str, text: str) -> str:
        """What is whole of the text with what was kept: JSON may cut a character beyond 16 bits in two."""
        text = self.half[kind] + text
        cut = -1 if text and 0xD800 <= ord(text[-1]) < 0xDC00 else len(text)
        self.half[kind] = text[cut:] if cut < 0 else ""
        text = text[:cut] if cut < 0 else text
        return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class RemoteAnswer:
    """One request's. `feed` each object that the server sends, then ask for the `result`."""

    def __init__(
        self,
        id: int,
        params: SamplingParams,
        ending: Callable[[], Detokenizer] | None = None,
        where: str = "the server",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ending` is made for each candidate whose text we cut ourselves; `where` is the host, for errors."""
        self._where = where
        self._id = id
        self._params = params
        self._ending = ending
        self._drops = getattr(params, "reasoning", "split") == "off"
        self._now = now
        self._began = now()
        self._first = 0.0
        self._candidates: dict[int, _Candidate] = {}
        self._usage = Usage()
        self._counted: dict[int, Usage] = {}
        self._pieces = 0
        self._chars = 0

    @property
    def begun(self) -> bool:
        """Whether anything of the answer has come."""
        return self._first > 0

    def ended(self, offset: int = 0) -> bool:
        """Whether the rest of what candidate `offset` says is of no use: our own rules have cut it."""
        ending = self._candidates[offset].ending if offset in self._candidates else None
        return ending is not None and ending.stopped

    def finished(self, offset: int = 0) -> bool:
        """Whether candidate `offset` has said that it is complete."""
        return offset in self._candidates and self._candidates[offset].finish is not None

    def feed(self, event: dict[str, Any], offset: int = 0) -> list[Piece]:
        """`offset` is added to the candidates' numbers, where several requests make one answer."""
        self._count(event, offset)
        pieces: list[Piece] = []
        for choice in map(table, array(event.get("choices"))):
            pieces += self._choice(choice, offset)
        if pieces and not self._first:
            self._first = self._now()
        return pieces if self._params.stream else []

    def _count(self, event: dict[str, Any], offset: int) -> None:
        usage, timings = table(event.get("usage")), table(event.get("timings"))
        if usage:
            inside = table(usage.get("prompt_tokens_details"))
            thought = table(usage.get("completion_tokens_details")).get("reasoning_tokens")
            self._counted[offset] = Usage(
                count(usage.get("prompt_tokens")), count(inside.get("cached_tokens")),
                count(usage.get("completion_tokens")), count(thought) or UNSET,
            )  # fmt: skip
        elif timings and offset not in self._counted:
            cached = count(timings.get("cache_n"))
            self._counted[offset] = Usage(
                cached + count(timings.get("prompt_n")), cached, count(timings.get("predicted_n"))
            )

    def _choice(self, choice: dict[str, Any], offset: int) -> list[Piece]:
        index = offset + count(choice.get("index"))
        if index >= self._params.n:  # more than was asked for
            return []
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(self._ending() if self._ending else None)
        delta = table(choice.get("delta") or choice.get("message")) or {"content": choice.get("text")}
        pieces: list[Piece] = []
        for word in ("reasoning_content", "reasoning"):
            if isinstance(thought := delta.get(word), str) and thought:
                pieces += self._thought(index, candidate, thought)
                break
        if isinstance(text := delta.get("content"), str) and text:
            pieces += self._text(index, candidate, text)
        for position, call in enumerate(array(delta.get("tool_calls"))):
            pieces += self._call(index, candidate, position, table(call))
        if self._params.logprobs is not None:
            _read_logprobs(candidate.logprobs, table(choice.get("logprobs")))
        if isinstance(reason := choice.get("finish_reason"), str):
            candidate.finish = candidate.finish or reason
        return pieces

    def _thought(self, index: int, candidate: _Candidate, text: str) -> list[Piece]:
        self._grow(text)
        text = candidate.whole("reasoning", text)
        candidate.reasoning.append(text)
        return [Piece(self._id, index, text, "reasoning")] if text and not self._drops else []

    def _text(self, index: int, candidate: _Candidate, text: str) -> list[Piece]:
        self._grow(text)
        text = candidate.whole("text", text)
        if candidate.ending is not None:
            text = "" if candidate.ending.stopped else candidate.ending.say(text)
        candidate.text.append(text)
        return [Piece(self._id, index, text)] if text else []

    def _call(self, index: int, candidate: _Candidate, position: int, call: dict[str, Any]) -> list[Piece]:
        """A part of a call; which one is told by `index`, or else by the position in the list."""
        place = count(call["index"]) if isinstance(call.get("index"), int) else position
        function = table(call.get("function"))
        arguments, pieces = function.get("arguments"), []
        known = candidate.calls.get(place)
        if known is None:
            name = str(function.get("name") or "")
            if not _TOOL_NAME.fullmatch(name):
                raise RemoteFailed(
                    f"the model of {self._where} asks for a function by a name that cannot be one", host=self._where
                )
            known = candidate.calls[place] = _Call(name, str(call.get("id") or ""))
            pieces.append(Piece(self._id, index, "", "call", CallPart(place, known.id, known.name)))
        if isinstance(arguments, dict):
            arguments = json_text(arguments)
        if isinstance(arguments, str) and arguments:
            self._grow(arguments)
            known.arguments.append(arguments)
            pieces.append(Piece(self._id, index, arguments, "call", CallPart(place)))
        return pieces

    def _grow(self, text: str) -> None:
        self._pieces += 1
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise RemoteFailed(
                f"the answer of {self._where} has more than {MAX_CHARS} characters; set max_tokens", host=self._where
            )

    def late(self) -> list[Piece]:
        """What was held back of texts that have ended."""
        pieces = []
        for index, candidate in sorted(self._candidates.items()):
            if candidate.ending is not None and not candidate.ending.stopped:
                candidate.text.append(rest := candidate.ending.finish())
                pieces += [Piece(self._id, index, rest)] if rest else []
        return pieces if self._params.stream else []

    def result(self, model: str, host: str) -> Generated:
        """The whole answer; `host` is empty where it came from this machine. Raises RemoteFailed for an answer that
        was broken off, or that the server ended for a reason of its own."""
        choices = [self._ended(self._candidates.get(i)) for i in range(self._params.n)]
        usage, now = self._sum(), self._now()
        decode = now - (self._first or now)
        return Generated(
            text=choices[0].text,
            finish_reason=choices[0].finish_reason,
            model=model,
            usage=usage,
            timings=Timings(
                ttft_ms=((self._first or now) - self._began) * 1e3,
                decode_ms=decode * 1e3,
                tokens_per_second=(usage.completion_tokens - 1) / decode if decode and usage.completion_tokens else 0.0,
            ),
            choices=choices if self._params.n > 1 else UNSET,
            logprobs=choices[0].logprobs,
            tool_calls=choices[0].tool_calls,
            reasoning=choices[0].reasoning,
            host=host or UNSET,
        )

    def _sum(self) -> Usage:
        """Of all requests that made the answer; where the server counts nothing, its pieces stand for tokens."""
        counted = list(self._counted.values())
        if not counted:
            return Usage(completion_tokens=self._pieces)
        thought = sum(usage.reasoning_tokens or 0 for usage in counted)
        return Usage(
            counted[0].prompt_tokens, counted[0].cached_tokens, sum(u.completion_tokens for u in counted),
            thought or UNSET,
        )  # fmt: skip

    def _ended(self, candidate: _Candidate | None) -> Choice:
        cut = candidate is not None and candidate.ending is not None and candidate.ending.stopped
        if candidate is None or (candidate.finish is None and not cut):
            raise broken_off(self._where)
        calls = [ToolCall(call.id, FunctionCall(call.name, "".join(call.arguments) or "{}"))
                 for _, call in sorted(candidate.calls.items())]  # fmt: skip
        reason = "stop" if cut else _REASONS.get(candidate.finish or "")
        if reason is None:
            raise RemoteFailed(
                f"{self._where} ended the answer with {str(candidate.finish)[:40]!r}, before it was complete",
                host=self._where, reason=str(candidate.finish)[:40],
            )  # fmt: skip
        if calls and reason == "stop":  # some say `stop` beside calls
            reason = "tool_calls"
        reasoning = "" if self._drops else "".join(candidate.reasoning)
        logprobs = candidate.logprobs if self._params.logprobs is not None else UNSET
        return Choice("".join(candidate.text), reason, logprobs, calls or UNSET, reasoning or UNSET)


def broken_off(host: str) -> RemoteFailed:
    """The connection ended, and no finish had been said."""
    return RemoteFailed(f"{host} broke the answer off before it was complete; ask again", host=host)


def json_text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _read_logprobs(into: list[TokenLogprob], given: dict[str, Any]) -> None:
    """Of a chat (`content`), or of a completion (lists side by side)."""
    into += [
        TokenLogprob(*_likely(token), [_likely(table(one)) for one in array(token.get("top_logprobs"))])
        for token in map(table, array(given.get("content")))
    ]
    tops = [*array(given.get("top_logprobs")), *([None] * len(array(given.get("tokens"))))]
    for text, logprob, top in zip(array(given.get("tokens")), array(given.get("token_logprobs")), tops, strict=False):
        into.append(TokenLogprob(str(text), number(logprob), [(str(t), number(p)) for t, p in table(top).items()]))


def _likely(token: dict[str, Any]) -> tuple[str, float]:
    return str(token.get("token", "")), number(token.get("logprob"))
