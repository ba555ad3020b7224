"""What TCP can be told on some systems only."""

from __future__ import annotations

import contextlib
import socket
import sys


def acknowledge_at_once(sock: socket.socket) -> None:
    """Tell the other side now what has arrived, not 40 ms later; holds for a moment only. Linux alone can be told."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
