"""Names with a meaning of their own, and names that not every text can carry. Standard library only: the shell imports
this.

A file's name is bytes. Python reads those that are not UTF-8 as lone surrogates, which neither JSON nor msgpack can
carry: `printable` is what is shown and sent of such a name, `os_path` finds the file by what was shown.
"""

from __future__ import annotations

import os
import re

LAST = "@last"
"""The conversation that was used last."""

NEW = "@new"
"""One that does not exist yet: the daemon names it after its first prompt."""


def printable(text: str) -> str:
    """The text with each byte that is not UTF-8 as `\\xe9`, and each other half of a surrogate pair as `\\ud83d`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # no byte of a file's name
            return text.encode("utf-8", "backslashreplace").decode()
    return text


def os_path(shown: str) -> str:
    """The path that `printable` shows as `shown`: that of the file itself where one has this very name."""
    if "\\x" not in shown or os.path.lexists(shown):
        return shown
    return re.sub(r"(?:\\x[89a-f][0-9a-f])+", _bytes, shown)


def _bytes(escapes: re.Match[str]) -> str:
    return os.fsdecode(bytes.fromhex(escapes[0].replace("\\x", "")))
