"""`threadrunner serve`: the process. Listens, says where, and ends on a signal with every stream told so."""

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
from threadrunner.client.aio import AsyncClient
from threadrunner.http import keys, policy, sockets
from threadrunner.http.app import make_app
from threadrunner.http.gateway import Gateway
from threadrunner.http.patience import PatientProtocol
from threadrunner.http.policy import Policy

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than clients keep theirs, or a request meets the hang-up."""

GRACE = 5
"""Seconds for streams to end in after a signal."""


@dataclass(frozen=True)
class ServeOptions:
    """What the command line says."""

    host: str = "127.0.0.1"
    port: int = 8765
    socket: str | None = None
    key: str | None = None
    origins: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)


class _Server(uvicorn.Server):
    """uvicorn's, which ends its streams first, and does not raise the signal again once it has ended."""

    gateway: Gateway

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.gateway.end(ShuttingDown("`threadrunner serve` is ending; ask again once it is back"))
        self.force_exit = self.should_exit  # a second Ctrl-C does not wait
        self.should_exit = True


def run(settings: ServeOptions) -> int:
    """Serve until a signal comes; the exit code."""
    logging.basicConfig(level=os.environ.get("THREADRUNNER_HTTP_LOG", "ERROR").upper(), stream=sys.stderr)
    try:
        key = keys.read(settings.key or os.environ.get("THREADRUNNER_HTTP_KEY"))
        listener = _listener(settings, key)
    except (sockets.CannotListen, keys.BadKey, paths.PathError) as error:
        return _say(str(error))
    except OSError as error:
        return _say(f"{error.strerror}: {error.filename}")
    options, fault = config.readable()
    if fault:
        _say(fault)
    gateway = Gateway(AsyncClient(), options.aliases)
    server = _Server(_uvicorn(gateway, _policy(settings, listener, key)))
    server.gateway = gateway
    _announce(settings, listener, key)
    asyncio.run(server.serve(sockets=[listener]))
    if settings.socket:
        with contextlib.suppress(OSError):
            os.unlink(paths.absolute(settings.socket))
    return exits.OK


def _say(text: str) -> int:
    print(f"threadrunner: {text}", file=sys.stderr)
    return exits.CONNECTION


def _listener(settings: ServeOptions, key: str | None) -> socket.socket:
    """Raises CannotListen."""
    if settings.socket:
        return sockets.on_path(paths.absolute(settings.socket))
    if key is None and not sockets.is_local(settings.host):
        raise sockets.CannotListen(
            f"{settings.host} can be reached from other machines, so it needs a key: add `--key auto`"
        )
    return sockets.on_port(settings.host, settings.port)


def _policy(settings: ServeOptions, listener: socket.socket, key: str | None) -> Policy:
    port = None if settings.socket else listener.getsockname()[1]
    names = {settings.host.lower(), *(host.lower() for host in settings.hosts)}
    is_key = None if key is None else policy.same_key(key)
    return Policy(port, frozenset(names), frozenset(settings.origins), is_key)


def _uvicorn(gateway: Gateway, rules: Policy) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(gateway, rules),
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,  # prompts are not logged, nor when they were asked
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=16 << 10,
    )


def _announce(settings: ServeOptions, listener: socket.socket, key: str | None) -> None:
    """One line that says where, and lines to paste for three clients; on standard error: none is an answer."""
    if settings.socket:
        _line(f"threadrunner serves on {settings.socket}")
        return
    url = f"http://{settings.host}:{listener.getsockname()[1]}"
    _line(f"threadrunner serves on {url} (Ctrl-C ends it)")
    if key is None:
        _line("  Every user of this machine can ask it; `--key auto` keeps the others out.")
    else:
        _line(f"  page         {url}/#key=KEY")
    shown = "any" if key is None else f"$(cat {keys.file()})" if settings.key == "auto" else "KEY"
    _line(f"  OpenAI SDKs  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={shown}")
    _line(f"  Claude Code  ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={shown}")
    _line(f"  llama.vim    let g:llama_config = {{'endpoint_fim': '{url}/infill'}}")


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
