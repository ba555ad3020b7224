"""Pictures in requests, of all dialects: always the file itself, never where it could be fetched.

A server that fetches what a request names can be sent to any machine that it reaches and its clients do not. What a
file may have in bytes and pixels, the daemon says.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from threadrunner.http.failures import HttpFailure, invalid
from threadrunner.http.reading import Fields

Part = dict[str, Any]
Content = str | list[Part]
"""Of a message: a list where it has pictures."""

_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE | re.ASCII)


def from_url(url: str, place: str) -> Part:
    """A `data:` URL. Raises HttpFailure for any other."""
    head = _DATA.match(url)
    if head is None:
        kind = url.partition(":")[0][:20]
        text = f"`{place}`: a picture must be in the request itself, as data:image/png;base64,…; "
        text += f"{kind!r} addresses are never fetched" if ":" in url else "this is no URL"
        raise HttpFailure(400, "invalid_request_error", text, "not_supported", place)
    return from_base64(url[head.end() :], place, head[1])


def from_base64(data: str, place: str, media_type: str | None = None) -> Part:
    """Raises HttpFailure for what is no base64."""
    bare = "".join(data.split()).rstrip("=")
    bare += "=" * (-len(bare) % 4)
    try:
        base64.b64decode(bare, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"`{place}` is no base64", place) from None
    if not bare:
        raise invalid(f"`{place}` is empty: a picture must be in the request itself, in base64", place)
    return {"type": "image", "data": bare, **({"media_type": media_type} if media_type else {})}


def listed(item: Fields, name: str = "images") -> list[Part]:
    """A list of base64 texts, as Ollama has it; some of its clients put `data:` before them."""
    found = []
    for i, given in enumerate(item.items(name) or []):
        place = f"{item.place(name)}[{i}]"
        if not isinstance(given, str):
            raise invalid(f"`{place}` must be a text in base64", place)
        found.append(from_url(given, place) if ":" in given[:16] else from_base64(given, place))
    return found


def of_openai(part: Fields) -> Part:
    """`image_url`, an object with `url` or a bare text; Responses calls the part `input_image`."""
    given = part.get("image_url", "url")
    place = part.place("image_url")
    if isinstance(given, dict):
        given, place = given.get("url"), f"{place}.url"
    if not isinstance(given, str) or not given:
        raise invalid(f"`{place}` is missing: a picture, as data:image/png;base64,…", place)
    return from_url(given, place)


def of_anthropic(block: Fields) -> Part:
    """A block with a `source`."""
    source = block.need_object("source")
    if (kind := source.text("type") or "base64") != "base64":
        place = source.place("type")
        text = f"`{place}`: a picture must be in the request itself, as base64; {kind[:20]!r} is never fetched"
        raise HttpFailure(400, "invalid_request_error", text, "not_supported", place)
    return from_base64(source.need_text("data"), source.place("data"), source.text("media_type"))


def together(parts: Sequence[str | Part], between: str = "") -> Content:
    """Texts and pictures in their order, texts that follow each other as one; a plain text where there is no picture.
    Texts are never empty in a list."""
    made: list[Part] = []
    for part in parts:
        if not isinstance(part, str):
            made.append(part)
        elif made and made[-1]["type"] == "text":
            made[-1] = {"type": "text", "text": made[-1]["text"] + between + part}
        elif part or not made:
            made.append({"type": "text", "text": part})
    if all(part["type"] == "text" for part in made):
        return "".join(part["text"] for part in made)
    return [part for part in made if part.get("text") != ""]


def parts_of(content: Content) -> list[str | Part]:
    """The other way round."""
    if isinstance(content, str):
        return [content]
    return [part["text"] if part["type"] == "text" else part for part in content]


def split(content: Content) -> tuple[str, list[Part]]:
    """The texts as one, and the pictures."""
    parts = parts_of(content)
    pictures = [part for part in parts if not isinstance(part, str)]
    return "".join(part for part in parts if isinstance(part, str)), pictures
