"""Names with a meaning of their own, and texts that cannot be sent. Standard library only: the shell imports this.

A file's name is bytes. Python reads those that are not UTF-8 as lone surrogates, which neither JSON nor msgpack can
carry. How the name of a model is shown, and found again by what was shown: daemon/gguf/names.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAST = "@last"
"""The conversation that was used last."""

NEW = "@new"
"""One that does not exist yet: the daemon names it after its first prompt."""


def encodable(text: str) -> str:
    """The text with each byte that is not UTF-8 as `\\xe9`, and each other half of a surrogate pair as `\\ud83d`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # no byte of a file's name
            return text.encode("utf-8", "backslashreplace").decode()
    return text


def encodable_value(value: Any) -> Any:
    """A value of JSON's own types with all its texts encodable."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable_value(key): encodable_value(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable_value(member) for member in value]
    return value
