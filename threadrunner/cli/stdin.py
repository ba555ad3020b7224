"""The piped input, or a file: all of it, as UTF-8 text, within the size of a frame."""

from __future__ import annotations

import os
import select
import stat
import sys

from threadrunner.cli.flags import UsageError
from threadrunner.wire.framing import FRAME_LIMIT

_READ = 1 << 16
_SILENCE_SECONDS = 2
_KEY_BYTES = 16384
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read(expected: bool) -> str:
    """Standard input to its end; "" when it is a terminal or closed. Raises UsageError.

    Where it is not `expected`, since there is a prompt already, and stays silent, it may be an inherited pipe that no
    process will ever write to or close: then the user at the terminal is told what we wait for.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return ""
    if os.isatty(0) and not expected:
        return ""
    pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    if pipe and not expected and os.isatty(2) and not select.select([0], [], [], _SILENCE_SECONDS)[0]:
        sys.stderr.write("threadrunner: reading standard input; end it, or add </dev/null to do without it\n")
        sys.stderr.flush()
    most = f"{FRAME_LIMIT} bytes ({FRAME_LIMIT >> 20} MiB), the maximum of a prompt; pipe in a part of it"
    return decode(_bytes(FRAME_LIMIT, most), "standard input")


def key() -> str:
    """A key: all of standard input, in however many parts it comes; of a terminal one line. Raises UsageError."""
    if os.isatty(0):
        data = os.read(0, _KEY_BYTES)
    else:
        data = _bytes(_KEY_BYTES, f"{_KEY_BYTES} bytes, the maximum of a key; pipe in the key alone")
    return data.decode("utf-8", "replace").strip()


def _bytes(limit: int, most: str) -> bytes:
    """`most` says what the limit is, and what to do."""
    chunks: list[bytes] = []
    size = 0
    while True:
        try:
            chunk = os.read(0, _READ)
        except BlockingIOError:  # another process made the pipe non-blocking for all that share it
            select.select([0], [], [])
            continue
        except OSError as error:
            raise UsageError(f"cannot read standard input: {error.strerror}") from None
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > limit:
            raise UsageError(f"standard input has more than {most}")
        chunks.append(chunk)


def file(path: str) -> str:
    """A file's text, within the size of a frame. Raises UsageError."""
    try:
        with open(os.path.expanduser(path), "rb") as opened:
            return decode(opened.read(FRAME_LIMIT + 1), path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def codec_of(data: bytes) -> str:
    """How a text is encoded, by the mark at its beginning; UTF-8 without one."""
    return next((codec for mark, codec in _MARKS if data.startswith(mark)), "utf-8")


def decode(data: bytes, what: str) -> str:
    """`data` as text: UTF-8, or what a mark at its beginning says, as files from Windows have one; the mark is no part
    of the text. Raises UsageError with the offset of the first byte that is not UTF-8."""
    codec = codec_of(data)
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        name = "UTF-8" if codec.startswith("utf-8") else "UTF-16, as its first bytes say, or UTF-8"
        raise UsageError(
            f"{what} is not {name} text: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert it first, e.g. with `iconv -f latin1 -t utf-8`"
        ) from None
