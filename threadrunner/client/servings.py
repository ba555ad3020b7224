"""Which `threadrunner serve` processes run: each keeps a small file beside the daemon's socket, locked for its life.

The kernel lets go of the lock when the process ends, however it ends, so a file that can be locked was left behind.
Standard library only: `status` and `doctor` read these.
"""

from __future__ import annotations

import os

from threadrunner import paths
from threadrunner.system import locks


class Serving:
    """`url` is http://… or a socket's path."""

    def __init__(self, pid: int, url: str) -> None:
        self.pid = pid
        self.url = url


_PREFIX = "serve."


class known_as:
    """Be found at this address by `running`, until this is left. Entering raises PathError, OSError."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        folder = paths.private_dir(os.path.dirname(paths.socket_path()))
        self._path = os.path.join(folder, f"{_PREFIX}{os.getpid()}")
        while not self._written():
            self._file.close()

    def _written(self) -> bool:
        """Whether the file is there, whole and locked. Not where a `status` saw it between the two, and took it for one
        that was left behind. Locked first and renamed then would spare that, but Windows renames no open file."""
        with open(f"{self._path}.new", "w") as file:
            file.write(f"{self._url}\n")
        os.replace(f"{self._path}.new", self._path)
        self._file = open(self._path, "r+")  # noqa: SIM115
        locks.hold(self._file)
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        try:  # noqa: SIM105 - `status` need not wait for contextlib
            os.unlink(self._path)
        except OSError:
            pass
        self._file.close()


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
            if not locks.try_hold(file):
                return file.readline(4096).strip()
            os.unlink(path)
    except OSError:
        pass
    return ""
