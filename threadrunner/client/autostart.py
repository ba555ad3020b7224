"""Find the daemon, or start it.

Three files are in one folder: the socket; `<socket>.lock`, which the daemon holds locked for its whole life and which
contains `<pid> <version>`; `<socket>.start`, which a shell holds locked while it starts a daemon, so that of all
shells that start at the same time one starts it and the others find it. Nothing here removes or polls any of them:
whether a daemon runs is found out by connecting, and that a new one is ready is read from a pipe.
"""

from __future__ import annotations

import os

import threadrunner
from threadrunner import paths
from threadrunner.api import errors
from threadrunner.client import blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_START_SECONDS = 40  # that another shell may take to start the daemon: it gives up after 30
_FINISH_SECONDS = 60  # a daemon that was told to end first lets running requests finish, 10 s unless configured
_ATTEMPTS = 3


def request(method: str, params: dict[str, Any], watch: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """`Connection.events` on a daemon that is started if there is none.

    Raises InvalidParams at once, before a daemon is looked for, where the request is too large to be sent; ApiError
    while it is iterated.
    """
    return events(blocking.EncodedRequest(method, params), watch)


def events(request: blocking.EncodedRequest, watch: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same for a request that was made before. A daemon that ends before it has said anything about the request,
    e.g. because it is being stopped, is followed by another."""
    for left in reversed(range(_ATTEMPTS)):
        connection = connect()
        begun = False
        try:
            for event in connection.events(request, watch):
                begun = True
                yield event
            return
        except (errors.ShuttingDown, errors.Disconnected) as error:
            if begun or not left:
                raise
            if isinstance(error, errors.ShuttingDown):
                connection.wait_closed(_FINISH_SECONDS)
        finally:
            connection.close()


def connect() -> blocking.Connection:
    """A connection to a daemon at least as new as we are. Raises Unreachable."""
    for _ in range(_ATTEMPTS):
        path = socket_path()
        connection = blocking.dial(path) or _start(path)
        if not _older(path):
            return connection
        stop(connection, path)
    raise errors.Unreachable(
        "an older daemon keeps restarting; find out what starts it (`threadrunner status` shows its pid), or update it"
    )


def find() -> blocking.Connection | None:
    """A connection to the daemon, of whatever version, or None; starts nothing."""
    return blocking.dial(socket_path())


def stop(connection: blocking.Connection, path: str) -> None:
    """Tell the daemon to end and return when its process has gone. Raises Unreachable when it does not end."""
    import select

    from threadrunner.system import children

    pid = connection.daemon_pid()
    ended = children.exit_descriptor(pid)
    try:  # noqa: SIM105 - contextlib is one more import for every prompt
        connection.call("shutdown", {})
    except (errors.ShuttingDown, errors.Disconnected):
        pass  # another shell was faster
    gone = connection.wait_closed(_FINISH_SECONDS)
    connection.close()
    if gone and ended is not None:
        gone = bool(select.select([ended], [], [], 5)[0])
    if ended is not None:
        os.close(ended)
    if not gone:
        from threadrunner import processes

        which = f"pid {pid}, " if pid else ""
        raise errors.Unreachable(
            f"the daemon ({which}version {daemon_version(path)}) was told to end and still runs after "
            f"{_FINISH_SECONDS} s; {processes.remedy(pid)}"
        )


def socket_path() -> str:
    try:
        return paths.socket_path()
    except paths.PathError as error:
        raise errors.Unreachable(str(error)) from None


def daemon_version(path: str) -> str:
    """Of the daemon of this socket, as its lock file has it; "" when it does not."""
    try:
        with open(f"{path}.lock", encoding="ascii", errors="replace") as file:
            _, version = file.readline().split()
            return version
    except (OSError, ValueError):
        return ""


def _older(path: str) -> bool:
    theirs = daemon_version(path)
    return bool(theirs) and version_key(theirs) < version_key(threadrunner.__version__)


def version_key(version: str) -> tuple[int, ...]:
    """`0.10.2.dev1` as (0, 10, 2)."""
    parts = []
    for part in version.split("."):
        if not (part.isascii() and part.isdecimal() and len(part) < 10):
            break
        parts.append(int(part))
    return tuple(parts)


def _start(path: str) -> blocking.Connection:
    """A connection to the daemon of this socket; whichever shell takes the lock starts it. Raises Unreachable."""
    from threadrunner.client import spawn
    from threadrunner.system import files

    folder = os.path.dirname(path)
    try:
        paths.private_dir(folder)
        lock = os.open(f"{path}.start", os.O_RDWR | os.O_CREAT | files.OWN, 0o600)
    except paths.PathError as error:
        raise errors.Unreachable(str(error)) from None
    except OSError as error:
        raise errors.Unreachable(
            f"cannot use the socket's folder {folder}: {error.strerror}; make it writable for you, or set "
            "THREADRUNNER_SOCKET to a path in a folder that is"
        ) from None
    _wait_for_turn(lock, f"{path}.start")
    try:
        connection = blocking.dial(path)
        if connection is not None:
            return connection
        try:
            spawn.start()
        except errors.Unreachable:
            # `threadrunner daemon` may have been run by hand in the same moment: ours then refused to be second.
            connection = blocking.dial(path)
            if connection is None:
                raise
            return connection
        connection = blocking.dial(path)
    finally:
        os.close(lock)
    if connection is None:
        raise errors.Unreachable(f"the daemon was ready and is gone again; see {spawn.log_hint()}")
    return connection


def _wait_for_turn(lock: int, path: str) -> None:
    """Hold the lock of the file at `path`, open as `lock`. Raises Unreachable where another shell keeps it."""
    import threading

    from threadrunner.system import locks

    if locks.try_hold(lock):
        return
    given_up = threading.Lock()

    def wait() -> None:  # flock has no time limit, and an alarm is for the main thread, which an editor's client is not
        locks.hold(lock)
        if not given_up.acquire(blocking=False):
            os.close(lock)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(_START_SECONDS)
    if waiting.is_alive() and given_up.acquire(blocking=False):
        raise errors.Unreachable(
            f"another shell has been starting the daemon for {_START_SECONDS} s; is it suspended (`jobs`)? Continue or "
            f"end it, or remove {path}"
        )
