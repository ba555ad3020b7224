"""Where things live. Reads the environment, touches no file except in `private_dir`."""

from __future__ import annotations

import os
import stat
import sys

# sizeof(sockaddr_un.sun_path), less the closing NUL: the kernel cuts or refuses anything longer.
SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103


class PathError(Exception):
    """A path that cannot be used; the text says why and what to do."""


def home() -> str:
    """THREADRUNNER_HOME, else ~/.threadrunner."""
    return os.path.abspath(os.environ.get("THREADRUNNER_HOME") or os.path.expanduser("~/.threadrunner"))


def config_file() -> str:
    return os.path.join(home(), "config.toml")


def models_dir() -> str:
    return os.path.join(home(), "models")


def cache_dir() -> str:
    """Logs and saved KV state: all of it can be deleted at any time."""
    return os.path.join(home(), "cache")


def sessions_file() -> str:
    """The conversations, an SQLite database; its -wal and -shm stand beside it."""
    return os.path.join(home(), "sessions.db")


def socket_path() -> str:
    """THREADRUNNER_SOCKET, else $XDG_RUNTIME_DIR/threadrunner/daemon.sock, else under home().

    Raises PathError where the kernel could not bind it.
    """
    path = os.environ.get("THREADRUNNER_SOCKET")
    if not path:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        folder = os.path.join(runtime, "threadrunner") if runtime else os.path.join(home(), "run")
        path = os.path.join(folder, "daemon.sock")
    path = os.path.abspath(path)
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MAX:
        raise PathError(
            f"the socket's path has {size} bytes, the kernel takes {SOCKET_PATH_MAX}: {path}\n"
            "Set THREADRUNNER_SOCKET to a shorter one, say THREADRUNNER_SOCKET=/tmp/threadrunner-$USER/daemon.sock"
        )
    return path


def private_dir(path: str) -> str:
    """Create `path` (0700) if need be and check that nobody else can enter it or owns it.

    Raises PathError for somebody else's folder, one that others can enter, or a symbolic link (a squatted name in a
    shared folder such as /tmp); OSError where it cannot be made. Never changes a folder that was there: run by root
    with a socket in /tmp, a chmod here would lock everybody out of /tmp.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode) or not stat.S_ISDIR(facts.st_mode):
        raise PathError(f"{path} is not a real folder; remove it or set THREADRUNNER_SOCKET to another place")
    if facts.st_uid != os.getuid():
        raise PathError(f"{path} belongs to uid {facts.st_uid}, not to you; set THREADRUNNER_SOCKET to another place")
    if facts.st_mode & 0o077:
        raise PathError(f"others can enter {path}; run `chmod 700 {path}`, or set THREADRUNNER_SOCKET to another place")
    return path
