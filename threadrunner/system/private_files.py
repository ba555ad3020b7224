"""Files for this user alone, whole or not at all: a reader finds what was there before, or all of what is there now."""

from __future__ import annotations

import contextlib
import os

from threadrunner.system import files, locks


def write(path: str, text: str, lasting: bool = False) -> None:
    """Put `text` in the file's place. `lasting`: it is on the disk when this returns, which may take a while. Raises
    OSError for `path`; what was there is still there then."""
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "w", encoding="utf-8", opener=opener) as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise OSError(error.errno, error.strerror, path) from None


def make_once(path: str, text: str) -> None:
    """The file is there, and whole, when this returns: what was there first, or `text`. Of processes that begin at the
    same time one makes it, and the others wait for that. Raises OSError for `path`."""
    if os.path.lexists(path):
        return
    with open(f"{path}.lock", "w", opener=opener) as lock:
        locks.hold(lock)
        if not os.path.lexists(path):
            write(path, text, lasting=True)


def opener(path: str, flags: int) -> int:
    """For `open`: a file that it makes is this user's alone, and a link is not followed."""
    return os.open(path, flags | files.NOFOLLOW, 0o600)
