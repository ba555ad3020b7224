"""The listening socket that systemd passes to what it starts (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket


class BadActivation(Exception):
    """What was passed is no socket of ours; the text says what the unit must have."""


def passed_socket() -> socket.socket | None:
    """File descriptor 3, where it was passed to us, and not to a process that we were started by.

    Raises BadActivation.
    """
    ours = os.environ.pop("LISTEN_PID", None) == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", None)
    if not ours:
        return None
    if count != "1":
        raise BadActivation("systemd must pass exactly one socket: one ListenStream= in the .socket unit")
    try:
        passed = socket.socket(fileno=3)
        listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise BadActivation(f"LISTEN_FDS is set, but file descriptor 3 is not a socket ({error.strerror})") from None
    if not listens:
        raise BadActivation("the socket from systemd does not listen: the .socket unit needs ListenStream=")
    os.set_inheritable(3, False)
    return passed
