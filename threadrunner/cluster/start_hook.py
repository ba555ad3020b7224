"""What `ray start` is told beyond its command line (RAY_START_HOOK)."""

from __future__ import annotations

from typing import Any


def apply(params: Any, _head: bool) -> None:
    """No port for `ray://` clients, which its command line always opens where grpcio is installed, and no process that
    would ask a cloud for machines."""
    params.ray_client_server_port = None
    params.no_monitor = True
