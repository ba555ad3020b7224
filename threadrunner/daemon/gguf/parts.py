"""Names of the files of a model that is split into several, as llama.cpp's gguf-split gives them."""

from __future__ import annotations

import os
import re

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

MAX_PARTS = 1000


def part_names(path: str) -> tuple[str, ...]:
    """All files of the split model that `path` is a part of, the first one first; () for a model in one file."""
    match = PART.fullmatch(os.path.basename(path))
    count = int(match["count"]) if match else 0
    if match is None or not 1 <= count <= MAX_PARTS:
        return ()
    names = (f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))
    return tuple(os.path.join(os.path.dirname(path), name) for name in names)


def model_files(path: str) -> tuple[str, ...]:
    """All files that are read for the model at `path`, the first one first.

    A link may have any name: llama.cpp finds the other parts by the name of the first, so it gets the target's if only
    that one is a part's. (In the Hugging Face cache it is the other way round: links have the names, files their sums.)
    """
    named = part_names(path)
    if not named and os.path.islink(path):
        named = part_names(os.path.realpath(path))
    return named or (path,)


def file_fingerprint(path: str) -> str:
    """One file's part of a model's fingerprint."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{facts.st_dev:x}-{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"


def file_size(path: str) -> int:
    """0 where there is no such file."""
    try:
        return os.path.getsize(path)
    except (OSError, ValueError):
        return 0
