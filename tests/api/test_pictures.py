"""What a picture file says of itself, before any other library sees it."""

from __future__ import annotations

import struct

import pytest

from tests.backends.tiny_sight import png
from threadrunner.api.pictures import MAX_BYTES, BadPicture, look

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 30, 40) + b"\x03"
GIF = b"GIF89a" + struct.pack("<HH", 40, 30)


def bmp(width: int, height: int, header: int = 40, compression: int = 0) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<IiiHHI", header, width, height, 1, 24, compression)


def test_kinds_and_sizes() -> None:
    for data, kind in ((png(), "png"), (JPEG, "jpeg"), (GIF, "gif"), (bmp(40, 30), "bmp"), (bmp(40, -30), "bmp")):
        assert look(data) == (kind, 40, 30)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no picture of a known kind"),
        (b"hello world", "no picture of a known kind"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "it is WebP, which cannot be read: convert it"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b'<?xml version="1.0"?><svg>', "it is SVG"),
        (b"ID3\4\0\0", "it is sound, which is not supported"),
        (b"RIFF\0\0\0\0WAVEfmt ", "it is sound"),
        (png()[:20], "damaged PNG"),
        (JPEG[:20], "cut short"),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc9"), "rare kind"),
        (b"\xff\xd8\xff\xd9", "damaged JPEG"),
        (JPEG + 101 * b"\xff\xda\0\x08", "more than 100 scans"),
        (bmp(4, 4, header=64), "save it as PNG"),
        (bmp(4, 4, compression=1), "save it as PNG"),
        (bmp(0, 30), "0 x 30 pixels"),
        (bmp(100_000, 100_000), "scale it down"),
        (bmp(5_000, 10), "more than 50 to 1"),
        (png() + bytes(MAX_BYTES), "the maximum is 8,388,608"),
    ],
)
def test_what_is_refused_and_what_to_do(data: bytes, says: str) -> None:
    with pytest.raises(BadPicture, match=says):
        look(data)


def test_whatever_the_bytes_it_is_a_picture_or_bad() -> None:
    """Each beginning of each kind, and with each of its first bytes changed."""
    for whole in (png(), JPEG, GIF, bmp(40, 30)):
        for at in range(min(len(whole), 60)):
            for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
                try:
                    facts = look(data)
                except BadPicture:
                    continue
                assert 0 < facts.width * facts.height <= 25_000_000
