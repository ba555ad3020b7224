"""Behind a reverse proxy: who really asks, by what name, and below which path. Believed of named proxies only."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LONGEST = 64  # letters of what a client says it is

UNIX = "unix"
"""Who asks by a Unix socket."""


@dataclass(frozen=True)
class Proxies:
    """Addresses whose X-Forwarded-… headers are believed; `unix`: whoever opens our socket."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def trusts(self, address: str) -> bool:
        if address == UNIX:
            return self.unix
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
            known = known.ipv4_mapped
        return any(known in network for network in self.networks)


def read(given: Sequence[str]) -> Proxies:
    """Addresses, networks such as 10.0.0.0/8, and `unix`. Raises ValueError."""
    networks = []
    for text in given:
        if text != UNIX:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise ValueError(
                    f"{text!r} is no address of a proxy: an IP address, a network such as 10.0.0.0/8, or unix"
                ) from None
    return Proxies(tuple(networks), UNIX in given)


def client(proxies: Proxies, peer: str, forwarded: Sequence[str]) -> str:
    """The address that a request comes from: of what the proxies have noted, the last one that is none of theirs. What
    stands before that was written by the client."""
    address = peer
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    while hops and proxies.trusts(address):
        address = _bare(hops.pop())[:_LONGEST]
    return address


def _bare(hop: str) -> str:
    """Without brackets and port, which some proxies note too."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def below(base: str, path: str) -> str:
    """The path without the base; the same where the proxy has taken that off."""
    if base and (path == base or path.startswith(f"{base}/")):
        return path[len(base) :] or "/"
    return path


class Proxied:
    """The application, as if it were asked directly: what follows sees the client's address, the name that it used,
    and paths without the base."""

    def __init__(self, app: ASGIApp, proxies: Proxies, base: str) -> None:
        self._app = app
        self._proxies = proxies
        self._base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = scope["client"][0] if scope.get("client") else UNIX
            path = below(self._base, scope["path"])
            scope = {**scope, "client": (peer, 0), "path": path}
            if self._proxies.trusts(peer):
                headers = scope["headers"]
                scope["client"] = (client(self._proxies, peer, _values(headers, b"x-forwarded-for")), 0)
                if hosts := _values(headers, b"x-forwarded-host"):
                    host = (b"host", hosts[-1].rpartition(",")[2].strip().encode("latin-1"))
                    scope["headers"] = [host, *(header for header in headers if header[0] != b"host")]
        await self._app(scope, receive, send)


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]
