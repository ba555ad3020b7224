"""Which `threadrunner serve` processes run: each keeps a small file beside the daemon's socket, locked for its life.

The kernel lets go of the lock when the process ends, however it ends, so a file that can be locked was left behind.
Standard library only: `status` and `doctor` read these.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import NamedTuple

from threadrunner import paths


class Serving(NamedTuple):
    """`url` is http://… or a socket's path."""

    pid: int
    url: str


_PREFIX = "serve."


@contextlib.contextmanager
def known_as(url: str) -> Iterator[None]:
    """Be found at this address by `running`, until this is left. Raises PathError, OSError."""
    folder = paths.private_dir(os.path.dirname(paths.socket_path()))
    path = os.path.join(folder, f"{_PREFIX}{os.getpid()}")
    with open(f"{path}.new", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{url}\n")
        file.flush()
        os.replace(f"{path}.new", path)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)


def running() -> list[Serving]:
    """Those of this user that can be seen in our folder, by pid. Files of those that were killed are removed."""
    folder = os.path.dirname(paths.socket_path())
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    pids = sorted(int(name.removeprefix(_PREFIX)) for name in names if _is_ours(name))
    return [Serving(pid, url) for pid in pids if (url := _url(os.path.join(folder, f"{_PREFIX}{pid}")))]


def _is_ours(name: str) -> bool:
    return name.startswith(_PREFIX) and name.removeprefix(_PREFIX).isdecimal()


def _url(path: str) -> str:
    """Empty where its process has gone."""
    try:
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.readline(4096).strip()
            os.unlink(path)
    except OSError:
        pass
    return ""
