"""The bytes of a streamed answer as JSON objects: server-sent events, read without hurry or trust. Pure.

A character may be cut between any two reads, a line may end in two ways, the last event may lack its empty
line, and what is no UTF-8 becomes U+FFFD. An event has a bound: a server cannot fill our memory.
"""

from __future__ import annotations

import json
from typing import Any

from threadrunner.api.errors import RemoteFailed

MAX_EVENT_BYTES = 8 << 20
"""Several times what all log-probabilities of an answer take in one event."""


class EventReader:
    """Bytes in, objects out."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._buffer = bytearray()
        self._searched = 0
        self._data: list[bytes] = []
        self._size = 0
        self.done = False
        """Whether `[DONE]` was said: nothing counts behind it."""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that are complete now. Raises RemoteFailed for what is too long, or no JSON."""
        self._buffer += data
        found: list[dict[str, Any]] = []
        while not self.done and (line := self._line()) is not None:
            if line:
                self._take(line)
            elif self._data:
                found += self._event()
        if len(self._buffer) > MAX_EVENT_BYTES:
            raise self._too_long()
        return found

    def end(self) -> list[dict[str, Any]]:
        """What the last lines held that no empty line follows."""
        if self._buffer and not self.done:
            self._take(bytes(self._buffer).rstrip(b"\r"))
            self._buffer.clear()
        return self._event() if self._data and not self.done else []

    def _line(self) -> bytes | None:
        """The next whole line, without its end; a CR at the end of what is there may be half of one."""
        at = self._buffer.find(b"\n", self._searched)
        if at < 0:
            self._searched = len(self._buffer)
            return None
        self._searched = 0
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return line.removesuffix(b"\r")

    def _take(self, line: bytes) -> None:
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        if name != b"data":  # a comment, a ping, an event's name: JSON says what it is
            return
        self._data.append(value.removeprefix(b" "))
        self._size += len(value)
        if self._size > MAX_EVENT_BYTES:
            raise self._too_long()

    def _event(self) -> list[dict[str, Any]]:
        data, self._data, self._size = b"\n".join(self._data), [], 0
        if data.strip() == b"[DONE]":
            self.done = True
            return []
        try:
            value = json.loads(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise RemoteFailed(
                f"{self._host} sent a part of its answer that is no JSON; ask again", host=self._host
            ) from None
        return [value] if isinstance(value, dict) else []

    def _too_long(self) -> RemoteFailed:
        return RemoteFailed(f"{self._host} sent a part of its answer of more than {MAX_EVENT_BYTES} bytes",
                            host=self._host)  # fmt: skip
