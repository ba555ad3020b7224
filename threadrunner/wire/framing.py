"""Bytes to frames and back, sans-IO. A frame is one JSON text, undecoded.

The peer's first byte settles its framing for good: `{` or `[` means one text a line, `C` means LSP's
Content-Length headers.
"""

from __future__ import annotations

LINES = "lines"
HEADERS = "headers"

FRAME_LIMIT = 16 << 20
HEADER_LIMIT = 4096

_BLANK = b" \t\r\n"
_DIGITS = 12


class FramingError(Exception):
    """The peer broke the framing; what follows in its stream cannot be trusted, so the connection has to go."""


class Decoder:
    """Holds what has arrived and hands out whole frames: `receive()` bytes, then `next_frame()` until None.

    Frames that were complete before the fault are handed out before FramingError is raised. Memory is bounded by
    `limit` plus one read.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self.framing: str | None = None
        self._limit = limit
        self._buffer = bytearray()
        self._seen = 0  # bytes of the buffer already searched for a line's end: a slow long line stays linear
        self._expect: int | None = None  # the announced length of the frame under way (HEADERS)

    def __repr__(self) -> str:
        return f"<Decoder {self.framing} {len(self._buffer)} bytes held>"

    @property
    def empty(self) -> bool:
        """Nothing held back: the stream may end here without losing anything."""
        return not self._buffer and self._expect is None

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole frame, None while it is incomplete. Raises FramingError."""
        if self.framing is None:
            self._detect()
        if self.framing == LINES:
            return self._next_line()
        if self.framing == HEADERS:
            return self._next_counted()
        return None

    def _detect(self) -> None:
        self._buffer = self._buffer.lstrip(_BLANK)
        if not self._buffer:
            return
        first = bytes(self._buffer[:1])
        if first in (b"{", b"["):
            self.framing = LINES
        elif first in (b"C", b"c"):
            self.framing = HEADERS
        else:
            raise FramingError(f"a stream starts with {{, [ or Content-Length, not with {bytes(self._buffer[:16])!r}")

    def _next_line(self) -> bytes | None:
        while True:
            end = self._buffer.find(b"\n", self._seen)
            if (end if end >= 0 else len(self._buffer)) > self._limit:
                raise FramingError(f"a frame may have {self._limit} bytes")
            if end < 0:
                self._seen = len(self._buffer)
                return None
            line = bytes(self._buffer[:end]).strip(_BLANK)
            del self._buffer[: end + 1]
            self._seen = 0
            if line:
                return line

    def _next_counted(self) -> bytes | None:
        if self._expect is None:
            end = self._buffer.find(b"\r\n\r\n", 0, HEADER_LIMIT)
            if end < 0:
                if len(self._buffer) >= HEADER_LIMIT:
                    raise FramingError(f"headers may have {HEADER_LIMIT} bytes")
                return None
            self._expect = self._length(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        if len(self._buffer) < self._expect:
            return None
        frame = bytes(self._buffer[: self._expect])
        del self._buffer[: self._expect]
        self._expect = None
        return frame

    def _length(self, block: bytes) -> int:
        found = [length for line in block.split(b"\r\n") if (length := _content_length(line)) is not None]
        if len(found) != 1:
            raise FramingError("each frame needs exactly one Content-Length header")
        (length,) = found
        if length > self._limit:
            raise FramingError(f"a frame may have {self._limit} bytes, not {length}")
        return length


def _content_length(line: bytes) -> int | None:
    """The number of a header that has it; by hand, since the shell would wait 5 ms for `re`."""
    name, _, value = line.partition(b":")
    digits = value.strip(b" \t")
    if name.rstrip(b" \t").lower() != b"content-length" or not digits.isdigit() or len(digits) > _DIGITS:
        return None
    return int(digits)


def encode(body: bytes, framing: str | None = LINES) -> bytes:
    """One frame as bytes. `body` is a JSON text without raw newlines, as every JSON writer's compact form is."""
    if framing == HEADERS:
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return body + b"\n"
