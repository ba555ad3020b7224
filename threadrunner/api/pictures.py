"""What a picture file says of itself: its kind and its pixels, read from its first bytes and from no other library.

Asked before native code sees it: a file of 100 bytes may say that it has 10,000 million pixels. PNG, JPEG, GIF (its
first frame) and BMP are what llama.cpp's decoder (stb_image) takes, in the variants that are let through here. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MAX_BYTES = 8 << 20
MAX_PIXELS = 25_000_000
"""75 MB decoded, of which three copies may be there at a time."""
MAX_RATIO = 50
"""Long side to short side: encoders scale to a fixed size, and less than a line cannot be looked at."""
MAX_SCANS = 100
"""Of a JPEG: one that loads in steps has some ten. Each may be of 20 bytes, and costs a look at all pixels."""
KINDS = "PNG, JPEG, GIF and BMP"

_OTHERS = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "SVG",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "icon",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"ID3": "sound",
    b"fLaC": "sound",
    b"OggS": "sound",
}


class PictureFacts(NamedTuple):
    kind: str
    """As in a media type: png, jpeg, gif or bmp."""
    width: int
    height: int


class BadPicture(ValueError):
    """A file that is not taken; the text says why, and what to do."""


def look(data: bytes) -> PictureFacts:
    """What the file says that it is. Raises BadPicture for one that is too large or cannot be read."""
    if len(data) > MAX_BYTES:
        raise BadPicture(f"it has {len(data):,} bytes; the maximum is {MAX_BYTES:,}: save it smaller, or as JPEG")
    facts = _read(data)
    width, height = facts.width, facts.height
    if not (width > 0 and height > 0):
        raise BadPicture(f"it says that it has {width} x {height} pixels; save it again")
    if width * height > MAX_PIXELS:
        raise BadPicture(f"it has {width} x {height} pixels; the maximum is {MAX_PIXELS:,} in all: scale it down")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise BadPicture(f"it has {width} x {height} pixels, more than {MAX_RATIO} to 1: cut it into several")
    return facts


def _read(data: bytes) -> PictureFacts:
    for magic, read in _READERS.items():
        if data.startswith(magic):
            try:
                return read(data)
            except IndexError:
                raise BadPicture("it is cut short") from None
    raise BadPicture(f"{_what(data)}; {KINDS} can be read")


def _what(data: bytes) -> str:
    if data[:4] == b"RIFF":
        kind = {b"WEBP": "WebP", b"WAVE": "sound"}.get(data[8:12], "")
    elif data[4:8] == b"ftyp":
        kind = "HEIC, AVIF or a video"
    else:
        kind = next((name for magic, name in _OTHERS.items() if data.lstrip().startswith(magic)), "")
    if kind == "sound":
        return "it is sound, which is not supported"
    return f"it is {kind}, which cannot be read: convert it" if kind else "it is no picture of a known kind"


def _png(data: bytes) -> PictureFacts:
    if data[12:16] != b"IHDR" or len(data) < 24:
        raise BadPicture("it is a damaged PNG")
    return PictureFacts("png", _big(data, 16, 4), _big(data, 20, 4))


def _gif(data: bytes) -> PictureFacts:
    return PictureFacts("gif", _little(data, 6, 2), _little(data, 8, 2))


def _bmp(data: bytes) -> PictureFacts:
    if (size := _little(data, 14, 4)) == 12:
        return PictureFacts("bmp", _little(data, 18, 2), _little(data, 20, 2))
    if size not in (40, 56, 108, 124) or _little(data, 30, 4) in (1, 2):
        raise BadPicture("it is a BMP of a kind that cannot be read: save it as PNG")
    height = _little(data, 22, 4)  # negative where the first line is the uppermost
    return PictureFacts("bmp", _little(data, 18, 4), min(height, (1 << 32) - height))


def _jpeg(data: bytes) -> PictureFacts:
    """The first frame header, which stands behind segments of any number."""
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise BadPicture(f"it is a JPEG of more than {MAX_SCANS} scans: save it again as usual")
    at = 2
    while True:
        while data[at] != 0xFF:  # as the decoder does: what is between segments is passed over
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker in (0xC0, 0xC1, 0xC2):
            return PictureFacts("jpeg", _big(data, at + 6, 2), _big(data, at + 4, 2))
        if 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            raise BadPicture("it is a JPEG of a rare kind (lossless or arithmetic): save it again as usual")
        if marker in (0xD9, 0xDA):
            raise BadPicture("it is a damaged JPEG")
        at += 1 if marker == 1 or 0xD0 <= marker <= 0xD8 else 1 + _big(data, at + 1, 2)


_READERS: dict[bytes, Callable[[bytes], PictureFacts]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"BM": _bmp,
}


def _big(data: bytes, at: int, size: int) -> int:
    data[at + size - 1]  # IndexError where it is cut short
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    data[at + size - 1]
    return int.from_bytes(data[at : at + size], "little")
