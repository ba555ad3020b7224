"""`@path` in a message: the file's text is sent too, or the picture. Pure, but for reading the file."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from threadrunner.cli import pictures, stdin
from threadrunner.cli.flags import UsageError

MAX_BYTES = 1 << 20
_MENTION = re.compile(r'(?:(?<=\s)|^)@(?:"([^"\n]+)"|(\S+))')


class Attached(NamedTuple):
    text: str
    """With the texts after it."""
    names: list[str]
    pictures: list[str]
    """Those of the names that are of pictures, which stand beside the text."""


def attach(text: str) -> Attached:
    """The message with the files it mentions. A word such as @ada that names no file stays
    a word; one that looks like a path and is not a file's is an error. Raises UsageError."""
    names: list[str] = []
    for match in _MENTION.finditer(text):
        name = match[1] or match[2]
        path = os.path.expanduser(name)
        if not os.path.isfile(path) and not match[1]:
            name = name.rstrip(".,;:!?)")
            path = os.path.expanduser(name)
        if os.path.isfile(path):
            if name not in names:
                names.append(name)
        elif match[1] or "/" in name or name.lower().endswith(pictures.ENDINGS):
            raise UsageError(f"there is no file {name}; a file of another folder needs its path, e.g. @~/notes.txt")
    shown = [name for name in names if pictures.is_picture(name)]
    return Attached("\n\n".join([text, *(_section(name) for name in names if name not in shown)]), names, shown)


def _section(name: str) -> str:
    """The file as a fenced block under its name. Raises UsageError."""
    try:
        with open(os.path.expanduser(name), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name} has more than {MAX_BYTES >> 20} MiB; attach a part of it")
    text = stdin.decode(data, name)
    ticks = "```"
    while ticks in text:
        ticks += "`"
    end = "" if text.endswith("\n") or not text else "\n"
    return f"File {os.path.basename(name)}:\n{ticks}\n{text}{end}{ticks}"
