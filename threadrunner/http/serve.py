"""`threadrunner serve`: the process. Listens, says where, and ends on a signal: SIGTERM lets answers finish, Ctrl-C
ends every stream and says so in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvicorn

from threadrunner import config, exits, paths
from threadrunner.api.errors import ShuttingDown
from threadrunner.client import named_keys, servings
from threadrunner.client.aio import AsyncClient
from threadrunner.client.named_keys import BadKey
from threadrunner.http import keys, proxies, sockets
from threadrunner.http.app import make_app
from threadrunner.http.audit import Audit
from threadrunner.http.certificate import Certificate
from threadrunner.http.gateway import Gateway
from threadrunner.http.keys import Keys
from threadrunner.http.news import News
from threadrunner.http.patience import PatientProtocol
from threadrunner.http.policy import Policy
from threadrunner.http.proxies import Proxies

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than clients keep theirs, or a request meets the hang-up."""

GRACE = 5
"""Seconds for streams to end in, once they have been told to."""

DRAIN = 25.0
"""Seconds for answers to finish in after SIGTERM: Kubernetes kills after 30."""


@dataclass(frozen=True)
class ServeOptions:
    """What the command line says. `certificate` and `certificate_key` are files; `base` is empty or begins with `/`."""

    host: str = "127.0.0.1"
    port: int = 8765
    socket: str | None = None
    key: str | None = None
    origins: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    certificate: str | None = None
    certificate_key: str | None = None
    proxies: list[str] = field(default_factory=list)
    base: str = ""
    audit: str | None = None
    drain: float = DRAIN


class _Server(uvicorn.Server):
    """uvicorn's, which ends its streams first, and does not raise the signal again once it has ended."""

    gateway: Gateway
    certificate: Certificate | None = None
    drain_seconds = DRAIN
    _tasks: tuple[asyncio.Task[None], ...] = ()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._end)
        loop.add_signal_handler(signal.SIGTERM, self._drain)
        if self.certificate is not None:
            self._tasks += (loop.create_task(self.certificate.watched()),)
        yield
        for task in self._tasks:
            task.cancel()

    def _drain(self) -> None:
        if self.gateway.traffic.draining:  # a second one does not wait
            self._end()
        else:
            self._tasks += (asyncio.get_running_loop().create_task(self._drained()),)

    async def _drained(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.drain_seconds):
                await self.gateway.drain()
        if not self.should_exit:
            self._end()

    def _end(self) -> None:
        self.gateway.end(ShuttingDown("`threadrunner serve` is ending; ask again once it is back"))
        self.force_exit = self.should_exit  # a second Ctrl-C does not wait
        self.should_exit = True


def run(settings: ServeOptions) -> int:
    """Serve until a signal comes; the exit code."""
    logging.basicConfig(level=os.environ.get("THREADRUNNER_HTTP_LOG", "ERROR").upper(), stream=sys.stderr)
    try:
        server, listener, url, known = _prepared(settings)
    except (sockets.CannotListen, BadKey, paths.PathError) as error:
        return _say(str(error))
    except OSError as error:
        return _say(f"{error.strerror}: {error.filename}")
    with contextlib.ExitStack() as until_the_end:
        try:
            until_the_end.enter_context(servings.known_as(url))
        except (paths.PathError, OSError) as error:  # say where the daemon is another's; it serves all the same
            _say(f"`threadrunner status` will not know of this one: {error}")
        _announce(settings, url, known)
        asyncio.run(server.serve(sockets=[listener]))
    if settings.socket:
        with contextlib.suppress(OSError):
            os.unlink(paths.absolute(settings.socket))
    return exits.OK


def _prepared(settings: ServeOptions) -> tuple[_Server, socket.socket, str, Keys]:
    """The server, what it listens on, where that is, and its keys. Raises CannotListen, BadKey, OSError."""
    known = Keys(keys.read(settings.key or os.environ.pop("THREADRUNNER_HTTP_KEY", None)), named_keys.file())
    certificate = _certificate(settings)
    trusted = _proxies(settings, known)
    audit = Audit(paths.absolute(settings.audit)) if settings.audit else None
    listener = _listener(settings, known)
    options, fault = config.readable()
    if fault:
        _say(fault)
    news = News()
    gateway = Gateway(AsyncClient(connected=news.look), options.aliases, news, settings.base)
    server = _Server(_uvicorn(gateway, _policy(settings, listener, known), trusted, audit, certificate))
    server.gateway, server.certificate, server.drain_seconds = gateway, certificate, settings.drain
    return server, listener, sockets.url(listener, secure=certificate is not None), known


def _say(text: str) -> int:
    print(f"threadrunner: {text}", file=sys.stderr)
    return exits.CONNECTION


def _listener(settings: ServeOptions, known: Keys) -> socket.socket:
    """Raises CannotListen."""
    if settings.socket:
        return sockets.on_path(paths.absolute(settings.socket))
    passed = sockets.passed()
    host = settings.host if passed is None else sockets.host(passed)
    if not known.asked and host is not None and not sockets.is_local(host):
        raise sockets.CannotListen(f"{host} can be reached from other machines, so it needs a key: add `--key auto`")
    return passed or sockets.on_port(settings.host, settings.port)


def _certificate(settings: ServeOptions) -> Certificate | None:
    """Raises CannotListen."""
    if settings.certificate is None:
        if settings.certificate_key is not None:
            raise sockets.CannotListen("--tls-key has no certificate: add --tls-cert FILE")
        return None
    file = paths.absolute(settings.certificate)
    return Certificate(file, paths.absolute(settings.certificate_key) if settings.certificate_key else file)


def _proxies(settings: ServeOptions, known: Keys) -> Proxies:
    """Raises CannotListen."""
    try:
        trusted = proxies.read(settings.proxies)
    except ValueError as error:
        raise sockets.CannotListen(str(error)) from None
    if settings.proxies and not known.asked:
        text = "behind a proxy it can be reached from other machines, so it needs a key: add `--key auto`, or "
        raise sockets.CannotListen(f"{text}`threadrunner serve keys add NAME`")
    return trusted


def _policy(settings: ServeOptions, listener: socket.socket, known: Keys) -> Policy:
    host = sockets.host(listener)
    port = None if host is None else listener.getsockname()[1]
    names = {sockets.in_url(name.lower()) for name in (settings.host, host or "") if name}
    names |= {name.lower() for name in settings.hosts}
    return Policy(port, frozenset(names), frozenset(settings.origins), known.holder if known.asked else None)


def _uvicorn(
    gateway: Gateway, rules: Policy, trusted: Proxies, audit: Audit | None, certificate: Certificate | None
) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(gateway, rules, trusted, audit),
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,  # prompts are not logged, nor when they were asked, unless there is an audit
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=16 << 10,
        ssl_context_factory=None if certificate is None else lambda _config, _default: certificate.context,
    )


def _announce(settings: ServeOptions, url: str, known: Keys) -> None:
    """One line that says where, and lines to paste for three clients; on standard error: none is an answer."""
    if not url.startswith("http"):
        _line(f"threadrunner serves on {url}")
        return
    _line(f"threadrunner serves on {url} (Ctrl-C ends it)")
    if not known.asked:
        _line("  Every user of this machine can ask it; `--key auto` keeps the others out.")
    else:
        _line(f"  page         {url}/#key=KEY")
        names = f"{len(known)} with names" if len(known) else "none has a name: `threadrunner serve keys add NAME`"
        _line(f"  keys         {names}{'' if settings.key is None else ', and the one of --key'}")
        if settings.key not in (None, "auto") and not named_keys.is_reference(settings.key or ""):
            _line("  The list of processes shows --key to all users of this machine; `--key auto` does not.")
    if url.startswith("http:") and not sockets.is_local(settings.host) and not settings.proxies:
        _line("  Keys and prompts cross the network as they are; `--tls-cert FILE` encrypts them.")
    shown = "any" if not known.asked else f"$(cat {keys.file()})" if settings.key == "auto" else "KEY"
    _line(f"  OpenAI SDKs  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={shown}")
    _line(f"  Claude Code  ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={shown}")
    _line(f"  llama.vim    let g:llama_config = {{'endpoint_fim': '{url}/infill'}}")


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
