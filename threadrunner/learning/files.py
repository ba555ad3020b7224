"""Small JSON files that several processes change: each change is made on what is there, under a lock, and put in whole.

A file that cannot be read is set aside under another name, with one line in the log; what is learned begins anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from threadrunner.system import locks, private_files

log = logging.getLogger("threadrunner.learning")

LARGEST = 1 << 20
"""Bytes; ours are a quarter of that at most, so a larger file is not ours."""


def read(path: str) -> dict[str, Any] | None:
    """What the file holds; None where there is none, or where it was broken and is set aside now. Raises OSError."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError("it is too large")
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        set_aside(path, str(error))
        return None
    return found


def set_aside(path: str, why: str) -> None:
    """Rename a file that is of no use, so that a person can look at it."""
    log.warning("%s cannot be used (%s): it is %s.broken now, and learning begins anew", path, why, path)
    with contextlib.suppress(OSError):
        os.replace(path, f"{path}.broken")


def change(path: str, changed: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
    """Put in the file's place what `changed` makes of it, with no other process in between; what is there now.
    Raises OSError."""
    with locked(path):
        found = changed(read(path))
        write(path, found)
    return found


def write(path: str, value: dict[str, Any]) -> None:
    """For this user alone, and whole or not at all. Raises OSError."""
    private_files.write(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """While within, no other process changes the file. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(os.path.dirname(path), "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        locks.hold(lock)
        yield
    finally:
        os.close(lock)
