"""Where things live, and to which user they belong. Reads the environment, touches no file except in `private_dir`.

Every process imports this, each prompt among them: the standard library's lightest parts only.
"""

from __future__ import annotations

import os
import stat

from threadrunner.system import this_process

# A daily log file's name is the date, as ISO has it, between these two.
LOG_PREFIX, LOG_SUFFIX = "threadrunner-daemon-", ".log"


class PathError(Exception):
    """A path that cannot be used; the text says why and what to do."""


_TRUE = ("1", "true", "t", "yes", "y", "on", "enabled", "enable")
_FALSE = ("", "0", "false", "f", "no", "n", "off", "disabled", "disable")


def is_true(text: str) -> bool:
    """Whether the value of an environment variable turns something on. Raises ValueError for any other text: a user who
    wrote THREADRUNNER_OFFLINE=TRUE1 did not mean no."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"expected 1, true, yes or on, or else 0, false, no or off, got {text[:40]!r}")


def absolute(path: str) -> str:
    """`path` as a shell means it: `~` is the home folder, a relative one begins in the current folder.

    Raises PathError for a relative one where the current folder has been removed.
    """
    path = os.path.expanduser(path)
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise PathError(f"{path} is relative, and the current folder was removed; `cd` to another one") from None


def home() -> str:
    """THREADRUNNER_HOME, else ~/.threadrunner (Windows: %LOCALAPPDATA%\\threadrunner)."""
    return absolute(os.environ.get("THREADRUNNER_HOME") or this_process.default_home())


def make_home() -> None:
    """Make our folder, for this user alone, where it is missing. One that is there is used as it is: people make it to
    put a model in. Raises OSError."""
    os.makedirs(home(), mode=0o700, exist_ok=True)


def config_file() -> str:
    return os.path.join(home(), "config.toml")


def models_dir() -> str:
    return os.path.join(home(), "models")


def cache_dir() -> str:
    """Logs and saved KV state: all of it can be deleted at any time."""
    return os.path.join(home(), "cache")


def state_dir(cache: str, model: str) -> str:
    """In that folder, the one of a model's saved KV state."""
    plain = "".join(c if c.isalnum() or c in "_.-" else "_" for c in model)
    return os.path.join(cache, plain.lstrip(".") or "model")


def learned_dir() -> str:
    """What is learned of how suggestions fare; it can be deleted at any time."""
    return os.path.join(home(), "learned")


def sessions_file() -> str:
    """The conversations, an SQLite database; its -wal and -shm files are in the same folder."""
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
    path = absolute(path)
    size = len(os.fsencode(path))
    if size > this_process.SOCKET_PATH_MAX:
        raise PathError(
            f"the socket's path has {size} bytes, the kernel takes {this_process.SOCKET_PATH_MAX}: {path}\n"
            "Set THREADRUNNER_SOCKET to a shorter one, e.g. THREADRUNNER_SOCKET=/tmp/threadrunner-$USER/daemon.sock"
        )
    return path


def private_dir(path: str) -> str:
    """Create `path` (0700) if it is missing, check that only this user owns and can enter it, and return it.

    Raises PathError for another user's folder, one that others can enter, or a symbolic link (a squatted name in a
    shared folder such as /tmp); OSError where it cannot be made. Never changes a folder that was there: run by root
    with a socket in /tmp, a chmod here would lock all users out of /tmp.
    """
    if not os.path.lexists(path):
        before = os.umask(0o077)  # one such as 777 would lock ourselves out
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        finally:
            os.umask(before)
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode) or not stat.S_ISDIR(facts.st_mode):
        raise PathError(f"{path} is not a real folder; remove it or set THREADRUNNER_SOCKET to another place")
    if facts.st_uid != this_process.uid():
        raise PathError(f"{path} belongs to uid {facts.st_uid}, not to you; set THREADRUNNER_SOCKET to another place")
    if this_process.for_others(facts.st_mode):
        raise PathError(f"others can enter {path}; {_remedy(path, facts.st_mode)}")
    return path


def _remedy(path: str, mode: int) -> str:
    """For a folder that is not private. `chmod` is for one that was made for the socket: in any other, others may have
    business, and in /tmp they all have."""
    with os.scandir(path) as entries:
        alone = not mode & stat.S_ISVTX and all(map(_is_ours, entries))
    if alone:
        return f"run `chmod 700 {path}`, or set THREADRUNNER_SOCKET to another place"
    own = os.path.join(path, f"threadrunner-{this_process.uid()}", "daemon.sock")
    return f"the socket needs a folder of its own, which is made if it is missing, e.g. THREADRUNNER_SOCKET={own}"


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith((".sock", ".lock", ".start")) or stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
