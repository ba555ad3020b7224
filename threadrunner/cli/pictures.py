"""Pictures on the command line: `@picture.png` among the words, and --image."""

from __future__ import annotations

import binascii
import os

from threadrunner.api.pictures import MAX_BYTES, BadPicture, look
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif")
"""With one of these a word is meant to be a picture, also where it cannot be read."""
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")


def is_picture(name: str) -> bool:
    """Whether a file of this name is to be looked at, by the name's end or by what is in the file."""
    if name.lower().endswith(ENDINGS):
        return True
    try:
        with open(os.path.expanduser(name), "rb") as file:
            return file.read(4).startswith(_BEGINNINGS)
    except OSError:
        return False


def taken(words: list[str]) -> tuple[list[str], list[str]]:
    """The words without those that are `@` and a picture's file, and these files."""
    files = [word[1:] for word in words if word.startswith("@") and is_picture(word[1:])]
    return [word for word in words if not (word.startswith("@") and word[1:] in files)], files


def images(files: list[str]) -> list[dict[str, Any]]:
    """The files as the param `images`. Raises UsageError."""
    return [_image(name) for name in files]


def _image(name: str) -> dict[str, Any]:
    try:
        with open(os.path.expanduser(name), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the picture {name}: {error.strerror}") from None
    try:
        kind = look(data).kind
    except BadPicture as error:
        raise UsageError(f"the picture {name} cannot be used: {error}") from None
    return {"data": binascii.b2a_base64(data, newline=False).decode(), "media_type": f"image/{kind}"}
