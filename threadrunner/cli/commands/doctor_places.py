"""The doctor's findings about folders and files: may we write there, are they ours alone, are they whole.

Permissions are not read but tried: root may write everywhere as far as they go, and a disk may be full or read-only.
"""

from __future__ import annotations

import os
import stat

from threadrunner import paths, processes
from threadrunner.api.errors import ApiError
from threadrunner.cli import render
from threadrunner.cli.commands.doctor_models import bad, note, ok
from threadrunner.client import autostart, servings
from threadrunner.system import files, listening, locks, this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from threadrunner.cli.commands.doctor_models import Finding

_FETCH_BYTES = 300_000_000  # on the disk while the default model is fetched: the package and the file inside
_WHOLE_CHECK_BYTES = 256 << 20  # a larger file of conversations is opened only: reading all of it takes seconds
_HTTP_SECONDS = 5
_BLOCK = 4096  # bytes that are written as a trial


def home() -> Iterator[Finding]:
    home = paths.home()
    for folder in (home, paths.models_dir(), paths.cache_dir()):
        if reason := _cannot_write(folder):
            yield bad("home", f"{folder} cannot be made or written: {reason}; change that or set THREADRUNNER_HOME")
            return
        if os.path.exists(folder) and (mode := os.stat(folder).st_mode) & 0o022:
            shared = mode & stat.S_ISVTX  # such as /tmp: others have business there
            what = "set THREADRUNNER_HOME to a folder of your own" if shared else f"run: chmod go-w {folder}"
            yield note("home", f"others may write in {folder}, and so give you models and options; {what}")
    yield ok("home", home if os.path.exists(home) else f"{home} will be made when it is needed")


def _cannot_write(folder: str) -> str:
    """Why no file can be made in `folder`, or in the nearest one above it that is there; "" where one can."""
    place = folder
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    trial = os.path.join(place, f".threadrunner-doctor-{os.getpid()}")
    try:
        if place != folder:
            os.mkdir(trial, 0o700)
            os.rmdir(trial)
            return ""
        fd = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | files.OWN, 0o600)
        try:
            os.write(fd, bytes(_BLOCK))
            os.fsync(fd)
        finally:
            os.close(fd)
            os.unlink(trial)
    except OSError as error:
        return f"{error.strerror} ({place})" if place != folder else str(error.strerror)
    return ""


def disk() -> Iterator[Finding]:
    place = paths.home()
    while not os.path.exists(place):
        place = os.path.dirname(place)
    free = files.free_bytes(place)
    if free < _FETCH_BYTES:
        yield note("disk", f"{render.size(free)} free at {place}; fetching a model takes {render.size(_FETCH_BYTES)}")
    else:
        yield ok("disk", f"{render.size(free)} free at {place}")


def sessions() -> Iterator[Finding]:
    """The file of conversations: one that is damaged fails every prompt with a conversation, and no other."""
    import sqlite3
    from urllib.parse import quote

    path = paths.sessions_file()
    if not os.path.exists(path):
        return
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=2)
        try:
            whole = os.path.getsize(path) <= _WHOLE_CHECK_BYTES
            found = connection.execute("PRAGMA quick_check(1)" if whole else "PRAGMA schema_version").fetchone()
        finally:
            connection.close()
        if whole and found[0] != "ok":
            raise sqlite3.DatabaseError(found[0])
    except sqlite3.Error as error:
        if "locked" in str(error):
            yield note("sessions", f"{path} is in use by another program and was not looked at")
            return
        yield bad(
            "sessions",
            f"{path} cannot be used: {render.one_line(str(error), 200)}; if it is damaged, move it away: a new one is "
            "made, and prompts without a conversation never need it",
        )
        return
    yield ok("sessions", path)


def socket() -> Iterator[Finding]:
    try:
        path = paths.socket_path()
        folder = os.path.dirname(path)
        if os.path.lexists(folder):
            paths.private_dir(folder)
    except paths.PathError as error:
        yield bad("socket", str(error))
        return
    if reason := _cannot_write(folder):
        yield bad("socket", f"{folder} cannot be made or written: {reason}; change that or set THREADRUNNER_SOCKET")
    elif found := listening.wrong_at(path):
        yield bad("socket", f"{path} is {found}; move it away, or set THREADRUNNER_SOCKET")
    elif others := [name for name in (path, f"{path}.lock", f"{path}.start") if _not_ours(name)]:
        yield bad("socket", f"{others[0]} belongs to another user (was it made under sudo?); remove it as that user")
    else:
        yield ok("socket", f"{path} ({len(os.fsencode(path))} of {this_process.SOCKET_PATH_MAX} bytes)")


def _not_ours(path: str) -> bool:
    return os.path.lexists(path) and os.lstat(path).st_uid != this_process.uid()


def lock() -> Iterator[Finding]:
    """What a daemon that was killed left behind. The next one cleans it up; reported because users wonder about it."""
    path = paths.socket_path()
    if not os.path.exists(f"{path}.lock"):
        return
    if locks.is_held(f"{path}.lock"):
        if not _listens():
            pid = processes.daemon(path)
            how = f"run: kill {pid}" if pid else "its process cannot be seen from here: end it where it runs"
            yield bad("lock", f"a daemon holds {path}.lock and does not listen; if that does not change, {how}")
    elif os.path.exists(path) and not _listens():
        yield note("lock", f"{path} was left by a daemon that was killed; the next prompt cleans it up")


def _listens() -> bool:
    try:
        connection = autostart.find()
    except ApiError:  # it does, and is silent: reported by the check of the daemon
        return True
    if connection is not None:
        connection.close()
    return connection is not None


def served() -> Iterator[Finding]:
    """Each `threadrunner serve` is asked how it is."""
    running = servings.running()
    if not running:
        yield ok("serve", "not running; `threadrunner serve` answers over HTTP")
    for serving in running:
        if _says_ok(serving.url):
            yield ok("serve", f"{serving.url}, pid {serving.pid}")
        else:
            yield bad("serve", f"{serving.url} does not answer; {processes.remedy(serving.pid)}")


def _any_certificate() -> ssl.SSLContext:
    """It is asked whether it lives, on this machine and by its address, for which no certificate is made."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _says_ok(url: str) -> bool:
    import http.client
    import socket

    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    connection = http.client.HTTPConnection("localhost", timeout=_HTTP_SECONDS)
    try:
        if place:
            connection.sock = socket.create_connection((host.strip("[]"), int(port)), timeout=_HTTP_SECONDS)
            if scheme == "https":
                connection.sock = _any_certificate().wrap_socket(connection.sock)
        else:
            connection.sock = listening.unix_socket()
            connection.sock.settimeout(_HTTP_SECONDS)
            connection.sock.connect(url)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
