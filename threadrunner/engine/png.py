"""Whether a PNG holds what its head says: the decoder (stb_image) inflates all there is, so that 8 MB can become 8 GB.
Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_MAGIC = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By the colour type."""
_STEP = 1 << 20


def inflates_too_far(data: bytes) -> bool:
    """Whether there is more in the file than pixels of the size that it says. No more than that is ever inflated, and
    1 MiB of it kept. What is damaged otherwise is left to the decoder."""
    if not data.startswith(_MAGIC) or len(data) < 29:
        return False
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    line = (width * _CHANNELS.get(data[25], 4) * data[24] + 7) // 8 + 1
    left = height * line + 16 * (height + 8) + _STEP  # interlaced it has up to 7 lines for one, which are shorter
    inflater = zlib.decompressobj()
    try:
        for part in _parts(data):
            while part:
                left -= len(inflater.decompress(part, _STEP))
                part = inflater.unconsumed_tail
                if left < 0:
                    return True
    except zlib.error:
        return False
    return False


def _parts(data: bytes) -> Iterator[bytes]:
    """What is in the IDAT chunks."""
    at = len(_MAGIC)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            yield data[at + 8 : at + 8 + size]
        at += 12 + size
