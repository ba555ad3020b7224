"""What every source of models has in common: how files wait until they are whole, and how they get their names.

A file is never seen under its final name before it is complete, its sha256 is right, its header has passed the check
and it is on the disk. Until then it is in a `.pull-*` folder beside the models; a rename puts it in its place.

Nothing here follows a link that another program has put into such a folder: it would write to a file of the user's.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from threadrunner.api.errors import FetchFailed
from threadrunner.system import files, locks

Report = Callable[[int, int], None]
"""Called with the bytes that have arrived, and with all that are expected."""

Parts = Literal["model", "encoder", "both"]
"""What of a repository is fetched: the model's files, or what else it has for it (its encoder of pictures), or both."""


class Fetched(NamedTuple):
    path: str
    """Of the (first) file."""
    missing: str = ""
    """What else of the repository could not be had, and why."""


PREFIX = ".pull-"
STALE = 7 * 24 * 3600
"""Seconds until a leftover is removed: of a daemon that was killed, or of a fetch that was never continued."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def check_space(folder: Path, needed: int) -> None:
    """Raises FetchFailed unless `needed` more bytes fit."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchFailed(
            f"{needed >> 20} MB more are needed in {folder}, {free >> 20} MB are free; make room there, e.g. with "
            "`threadrunner models rm`",
            reason="disk",
            needed_bytes=needed,
            free_bytes=free,
        )


def is_disk_error(error: Exception) -> bool:
    """Whether it is the disk's: a connection that breaks is an OSError too."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def disk_failure(error: OSError, folder: Path) -> FetchFailed:
    return FetchFailed(f"it could not be stored in {folder}: {error.strerror or error}", reason="disk")


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A folder for one fetch, removed at its end."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as work:
        yield Path(work)


@contextlib.contextmanager
def resumable(folder: Path, name: str) -> Iterator[Path]:
    """A folder that the next fetch of that name continues with; removed only if all went well.

    It belongs to one process at a time; this waits for another one that has it.
    """
    work = folder / f"{PREFIX}{name}"
    if work.is_symlink():
        work.unlink()
    while (lock := _locked(work)) is None:
        pass  # the process that had it has finished, and removed what we waited for
    with os.fdopen(lock):
        yield work
        shutil.rmtree(work, ignore_errors=True)


def _locked(work: Path) -> int | None:
    """The descriptor of its lock; None if another process has removed it in the meantime."""
    work.mkdir(exist_ok=True)
    try:
        lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT | files.OWN, 0o600)
    except FileNotFoundError:
        return None
    locks.hold(lock)
    with contextlib.suppress(FileNotFoundError):
        if os.fstat(lock).st_ino == (work / "lock").stat().st_ino:
            return lock
    os.close(lock)
    return None


def arrived(path: Path) -> int:
    """Bytes of it that are here."""
    return path.stat().st_size if path.exists() else 0


def settle(path: Path, sha256: str) -> None:
    """Have the file on the disk, and check its sum if one is given. Raises FetchFailed; the file is removed then."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        got = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else ""
    if got != sha256:
        path.unlink()
        raise FetchFailed(
            f"{path.name} has the wrong sha256: {got}, not {sha256}. It was not kept; run the command again, and if "
            "that happens again, do not trust the server that it comes from",
            reason="checksum",
        )


def check_inside(folder: Path, models: Path) -> None:
    """Raises FetchFailed if the folder is somewhere else, by a link in the models folder: nothing is written there."""
    real, root = os.path.realpath(folder), os.path.realpath(models)
    if os.path.commonpath([real, root]) != root:
        raise FetchFailed(
            f"{folder} leads to {real}, which is not in {models}; nothing is written there. Replace that link by a "
            "folder (the models folder as a whole may be a link to another disk)",
            reason="disk",
        )


def publish(work: Path, names: Sequence[str], folder: Path) -> str:
    """Move a model's files, the first part first in `names`, to the folder. Returns the first part's path there.

    What is there under these names was no whole model, or the fetch would not have begun: it is replaced.
    """
    for name in reversed(names):  # the first part last: only with it does the model exist
        os.replace(work / name, folder / name)
    return str(folder / names[0])


def add(work: Path, names: Sequence[str], folder: Path) -> str:
    """The same, but a file that is there already is kept. Raises FileExistsError."""
    for name in reversed(names):
        try:
            os.link(work / name, folder / name, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: look first, then rename
            if os.path.lexists(folder / name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            os.replace(work / name, folder / name)
    return str(folder / names[0])


def sweep(folder: Path) -> None:
    """Remove leftovers of ours that are older than STALE."""
    for left in folder.glob(f"{PREFIX}*"):
        if left.is_symlink():
            continue
        with contextlib.suppress(OSError):
            newest = max(path.lstat().st_mtime for path in [left, *left.iterdir()])
            if time.time() - newest > STALE:
                shutil.rmtree(left)
