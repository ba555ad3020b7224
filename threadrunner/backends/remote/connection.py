"""HTTP to one server: where it is, what it may cost, and which of its answers are answers. The only module that knows
httpx2.

Nothing is followed, nothing is kept: no redirect, which would carry the key to another host, no cookie, no proxy or
password file of the environment, no compressed body, which may be a bomb.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import msgspec

from threadrunner.api.errors import ApiError, RemoteFailed, RemoteRefused
from threadrunner.backends.base import RemoteServer
from threadrunner.backends.remote import retries
from threadrunner.backends.remote.answers import broken_off
from threadrunner.backends.remote.events import EventReader
from threadrunner.backends.remote.failures import MAX_BODY, ServerErrors
from threadrunner.system import tcp

CONNECT_WITHIN = 10.0
"""Seconds, for each address of the host."""
WRITE_WITHIN = 60.0
MAX_WHOLE = 64 << 20
"""Bytes of an answer that is not streamed: embeddings, a list of models."""
IDLE = 4.0
"""Seconds that an unused connection is kept. Many servers (uvicorn, llama-server, Node) hang up after 5: a request that
meets the hang-up could not be told from one that was begun, and so would not be tried again."""

_ALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
if hasattr(socket, "TCP_KEEPIDLE"):  # a prefill may take minutes without a byte; a machine that is gone, two
    _ALIVE += [
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
    ]


class ServerReply(NamedTuple):
    """One object of a streamed answer, and where it came from: empty for this machine."""

    event: dict[str, Any]
    host: str


class ServerConnection:
    """Belongs to one event loop. `path`s begin at the API's base; those with two slashes at the server's root."""

    def __init__(self, server: RemoteServer) -> None:
        parts = urlsplit(server.url)
        self.host = parts.hostname or ""
        self.errors = ServerErrors(server, self.host)
        self._server = server
        self._base = server.url if parts.path.strip("/") else f"{server.url}/v1"
        self._plain = parts.scheme == "http"
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(
                verify=_certificates(server, plain=self._plain),
                trust_env=False,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=IDLE),
                socket_options=_ALIVE,
            ),
            headers={"accept-encoding": "identity", "user-agent": "threadrunner"},
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(
                connect=CONNECT_WITHIN, read=server.read_timeout or None, write=WRITE_WITHIN, pool=None
            ),
        )
        self._address = ""

    async def close(self) -> None:
        await self._client.aclose()

    def headers(self, *, anthropic: bool) -> dict[str, str]:
        """Those that prove who asks."""
        key = self._server.key
        if anthropic:
            return {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}
        return {"authorization": f"Bearer {key}"} if key else {}

    async def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], left: float
    ) -> AsyncGenerator[ServerReply, None]:
        """The answer's objects as they come; `left` is how many seconds the request has. Leaving it hangs up. Raises
        ApiError; tries again only before the first object."""
        async with contextlib.AsyncExitStack() as stack:
            response = await self._opened(stack, "POST", path, body, headers, left)
            where = "" if _from_here(response) else self.host
            reader = EventReader(self.host)
            with self._failing():
                if "text/event-stream" not in response.headers.get("content-type", ""):
                    yield ServerReply(_object(await self._whole(response), self.host), where)
                    return
                acknowledge = _acknowledger(response)
                acknowledge()
                async for data in response.aiter_raw():
                    acknowledge()
                    for event in reader.feed(data):
                        yield ServerReply(event, where)
                    if reader.done:
                        return
                for event in reader.end():
                    yield ServerReply(event, where)

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str], left: float
    ) -> ServerReply:
        """An answer that is one object. Raises ApiError."""
        async with contextlib.AsyncExitStack() as stack:
            response = await self._opened(stack, method, path, body, headers, left)
            with self._failing():
                return ServerReply(
                    _object(await self._whole(response), self.host), "" if _from_here(response) else self.host
                )

    async def _opened(
        self,
        stack: contextlib.AsyncExitStack,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        left: float,
    ) -> httpx2.Response:
        """A response whose status is good, after three tries at most."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + left
        for tries in range(1, len(retries.PAUSES) + 2):
            connecting = False
            try:
                request = self._client.build_request(
                    method, await self._url(path), headers={**headers, **self._extra(body)},
                    content=None if body is None else msgspec.json.encode(body),
                )  # fmt: skip
                opened = await self._client.send(request, stream=True)
                stack.push_async_callback(opened.aclose)
                if opened.status_code == 200:
                    return opened
                error = self.errors.of_status(opened.status_code, opened.headers, await self._start(opened))
                await opened.aclose()
            except httpx2.TransportError as failure:
                error, connecting = self._failure(failure, begun=False), _is_no_connection(failure)
            wait = retries.pause(error, tries, deadline - loop.time(), connecting=connecting)
            if wait is None:
                raise error from None
            await asyncio.sleep(wait)
        raise AssertionError("the last try has no pause")

    def _extra(self, body: Mapping[str, Any] | None) -> dict[str, str]:
        extra = {"host": _authority(self._server.url)}
        if body is not None:
            extra |= {"content-type": "application/json", "accept": "text/event-stream, application/json"}
        return extra

    async def _url(self, path: str) -> str:
        """Where to ask. A name under http is looked up here, and what it leads to is what is asked: only an address of
        our own network may be sent what everyone on the way can read."""
        base = self._base.removesuffix("/v1") if path.startswith("//") else self._base
        path = path.removeprefix("/") if path.startswith("//") else path
        if not self._plain:
            return base + path
        if not self._address:
            self._address = await self._looked_up()
        parts = urlsplit(base)
        return parts._replace(netloc=f"{self._address}:{parts.port or 80}").geturl() + path

    async def _looked_up(self) -> str:
        port = urlsplit(self._base).port or 80
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self.errors.unreachable(f"its name leads nowhere ({error.strerror})") from None
        address = str(found[0][4][0]).partition("%")[0]
        if not ipaddress.ip_address(address).is_private:
            raise RemoteRefused(
                f"{self.host} is not in your own network, and http would send prompts and the key as everyone can read "
                f"them; use https in [remotes.{self._server.name}]",
                host=self.host,
            )
        return f"[{address}]" if ":" in address else address

    async def _start(self, response: httpx2.Response) -> bytes:
        """The beginning of an error's body."""
        body = b""
        async for data in response.aiter_raw():
            body += data
            if len(body) >= MAX_BODY:
                break
        return body[:MAX_BODY]

    async def _whole(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for data in response.aiter_raw():
            body += data
            if len(body) > MAX_WHOLE:
                raise RemoteFailed(f"{self.host} sent more than {MAX_WHOLE} bytes", host=self.host)
        return bytes(body)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What httpx2 raises once an answer has begun, as an ApiError."""
        try:
            yield
        except httpx2.TransportError as error:
            raise self._failure(error, begun=True) from None

    def _failure(self, error: httpx2.TransportError, *, begun: bool) -> ApiError:
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                self._address = ""  # the next try looks its name up again
                if "certificate" in str(error).lower():
                    return self.errors.unproven(_why(error))
                return self.errors.unreachable(_why(error))
            case httpx2.ReadTimeout():
                limit = f"nothing came for {self._server.read_timeout:g} s"
                return self.errors.timeout(f"{limit} (`read_timeout` in [remotes.{self._server.name}])")
            case httpx2.TimeoutException():
                return self.errors.timeout("it does not take what is sent")
        return broken_off(self.host) if begun else self.errors.unreachable(
            f"it hung up without an answer ({_why(error)})"
        )  # fmt: skip


def _certificates(server: RemoteServer, *, plain: bool) -> ssl.SSLContext | bool:
    if plain:
        return False  # none is asked for, and reading the system's takes 20 ms
    if server.certificates:
        try:
            return ssl.create_default_context(cadata=server.certificates)
        except (ssl.SSLError, ValueError) as error:
            raise RemoteRefused(f"`certificates` in [remotes.{server.name}]: {error}") from None
    return ssl.create_default_context()


def _object(body: bytes, host: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RemoteFailed(f"{host} did not answer with JSON; is `url` the address of its API?", host=host)
    return value


def _from_here(response: httpx2.Response) -> bool:
    """Whether the other end is this machine: by its address, not by its name."""
    stream = response.extensions.get("network_stream")
    address = stream.get_extra_info("server_addr") if stream is not None else None
    if not address:
        return False
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    return False


def _acknowledger(response: httpx2.Response) -> Callable[[], None]:
    """What tells the server at once that we have what it sent. A server that gathers small writes (Nagle's algorithm;
    llama-server's does) holds the next token until then, and a kernel likes to wait 40 ms with that: measured, 40 ms
    to each first token over a connection that was used before."""
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    return (lambda: None) if sock is None else lambda: tcp.acknowledge_at_once(sock)


def _authority(url: str) -> str:
    return urlsplit(url).netloc


def _is_no_connection(error: httpx2.TransportError) -> bool:
    """Whether nothing was sent yet, and a later try may do better: a certificate stays as bad as it is."""
    refused = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
    return refused and "certificate" not in str(error).lower() and "ssl" not in str(error).lower()


def _why(error: BaseException) -> str:
    cause = str(error) or type(error).__name__
    return cause.partition("] ")[2] or cause if cause.startswith("[") else cause
