"""The editor's bytes as pygls reads them: it takes headers only as `Content-Length: N`, in exactly these letters.

A header in other letters (HTTP's names have no case, and LSP's are HTTP's) made it deaf for good: it went on looking
for a length in the message's body.
"""

from __future__ import annotations

import io
import re
from typing import BinaryIO

LONGEST_HEADER = 8192
"""Bytes; a longer line is no header."""

_LENGTH = re.compile(rb"\s*content-length\s*:\s*(\d{1,12})\s*", re.IGNORECASE)


class HeaderReader(io.RawIOBase):
    """`stream` with each length's header as pygls expects it; all else is as it is."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = LONGEST_HEADER) -> bytes:
        """The next header line, or the blank line behind the last one."""
        line = self._stream.readline(size or LONGEST_HEADER)
        found = _LENGTH.fullmatch(line)
        if found:
            return b"Content-Length: %s\r\n" % found[1]
        return b"\r\n" if line == b"\n" else line

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        return self._stream.read(size)
