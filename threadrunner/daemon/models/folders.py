"""What is in a folder, where one odd entry hides no other: what cannot be used is left out, and said once. Blocking."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator

from threadrunner.daemon.gguf.names import printable

log = logging.getLogger("threadrunner.daemon.models")

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MAX_SAID = 1000
_said: set[tuple[str, str]] = set()


def models_in(folder: str) -> list[str]:
    """Names of the GGUF files in it, links that lead to one included, in order."""
    return sorted(entry.name for entry in _entries(folder) if entry.name.endswith(".gguf") and _is_file(entry))


def files_in(folder: str) -> list[str]:
    """Names of all files in it, in order."""
    return sorted(entry.name for entry in _entries(folder) if _answers(entry, entry.is_file))


def folders_in(folder: str) -> list[str]:
    """Names of the folders in it, hidden ones left out, in order."""
    return sorted(
        entry.name for entry in _entries(folder) if not entry.name.startswith(".") and _answers(entry, entry.is_dir)
    )


def repositories(folder: str) -> list[tuple[str, str]]:
    """Folders two below, as owner and repository: our own layout for the hub's files, and LM Studio's."""
    return [(owner, repo) for owner in folders_in(folder) for repo in folders_in(os.path.join(folder, owner))]


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        say_once(folder, f"cannot be listed: {error.strerror}")


def _is_file(entry: os.DirEntry[str]) -> bool:
    if _answers(entry, entry.is_file):
        return True
    if entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
        return False  # what is being fetched: nothing to say of it
    try:
        kind = _KINDS.get(stat.S_IFMT(entry.stat().st_mode), "not a file")
        say_once(entry.path, f"is left out of the models: it is {kind}")
    except OSError as error:
        gone = error.errno == errno.ENOENT and entry.is_symlink()
        say_once(entry.path, f"is left out: {'it is a link to a file that is gone' if gone else error.strerror}")
    return False


def _answers(entry: os.DirEntry[str], question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError as error:  # a link to itself, a disk that fails
        say_once(entry.path, f"is left out: {error.strerror}")
        return False


def why_not_a_file(path: str) -> str:
    """What is there in place of a file that can be used as a model, as the end of a sentence."""
    if not os.path.lexists(path):
        return "there is no such file"
    try:
        os.stat(path)
    except FileNotFoundError:
        return f"it is a link to {printable(os.path.realpath(path))}, which does not exist"
    except OSError as error:
        return f"it cannot be used: {error.strerror}"
    return "it is a folder, a pipe or the like, or has another ending than .gguf; name a file"


def say_once(path: str, what: str) -> None:
    """Write it to the log, once in the daemon's life."""
    if (path, what) not in _said and len(_said) < _MAX_SAID:
        _said.add((path, what))
        log.warning("%s %s", printable(path), what)
