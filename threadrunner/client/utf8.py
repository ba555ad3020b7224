"""What becomes of text that is not UTF-8. Python keeps the undecodable bytes of arguments, variables, file names and
typed text as lone surrogates, which no request can hold; a JSON file may have such too. Imported where that happens.
"""

from __future__ import annotations

import os

from threadrunner.api import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def mended(params: Any, name: str = "") -> Any:
    """`params`, with texts that are UTF-8 after all: in a locale that is not, Python takes their bytes for undecodable.

    Raises InvalidParams with the member's name and the first byte that is not UTF-8.
    """
    if isinstance(params, dict):
        return {mended(key, name): mended(value, str(key)) for key, value in params.items()}
    if isinstance(params, list):
        return [mended(value, name) for value in params]
    return _text(params, name) if isinstance(params, str) else params


def _text(text: str, name: str) -> str:
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        pass
    what = _WORDS.get(name, f"`{name}`")
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeDecodeError as error:
        fault = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
    except UnicodeEncodeError:
        fault = "it has half of a surrogate pair"
    hint = ""
    if name in ("model", "default_model"):
        listed = "`threadrunner models list` shows how it can be typed"
        hint = f"; {'give the file or folder another name, or a link' if os.sep in text else listed}"
    raise errors.InvalidParams(f"{what} is not UTF-8 text: {fault}{hint}")


_WORDS = {
    "model": "the model's name",
    "default_model": "the model's name",
    "backend": "the backend's name",
    "default_backend": "the backend's name",
    "session": "the conversation's name",
    "name": "the name",
    "stop": "a text of --stop",
    "prompt": "the text",
    "query": "the query",
}
