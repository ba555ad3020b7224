"""What a worker is told of the server that it asks: a table of config.toml, with its key and its certificates read."""

from __future__ import annotations

import asyncio

from threadrunner import remote_keys, remote_settings
from threadrunner.api.errors import InvalidParams, RemoteRefused
from threadrunner.backends.base import RemoteServer
from threadrunner.config import Config, ConfigError
from threadrunner.remote_keys import KeyMissing
from threadrunner.remote_settings import RemoteSettings


class Servers:
    """By name, as they were when they were last made ready."""

    def __init__(self) -> None:
        self._ready: dict[str, RemoteServer] = {}

    async def make_ready(self, options: Config, name: str) -> None:
        """Read what a worker will need, on a thread: a keyring may ask its owner first. Now, and not when the worker is
        loaded: a key that is missing would count as a load that failed, and be remembered for a while. Raises
        InvalidParams, RemoteRefused."""
        try:
            settings = remote_settings.find(options, name)
        except ConfigError as error:
            raise InvalidParams(f"{error}. Mend config.toml, and ask again") from None
        self._ready[name] = await asyncio.to_thread(_server, settings)

    def get(self, name: str) -> RemoteServer | None:
        return self._ready.get(name)


def _server(settings: RemoteSettings) -> RemoteServer:
    try:
        key = remote_keys.read(settings)
    except KeyMissing as missing:
        raise RemoteRefused(str(missing), host=settings.host) from None
    return RemoteServer(
        name=settings.name, url=settings.url, key=key, models=list(settings.models), dialect=settings.dialect,
        fim=settings.fim, certificates=_certificates(settings), read_timeout=settings.read_timeout,
    )  # fmt: skip


def _certificates(settings: RemoteSettings) -> str:
    if not settings.certificates:
        return ""
    try:
        with open(settings.certificates, encoding="ascii") as file:
            text = file.read(1 << 20)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no PEM"
        raise InvalidParams(f"[remotes.{settings.name}]: {settings.certificates}: {why}") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise InvalidParams(f"[remotes.{settings.name}]: {settings.certificates} has no certificate in it")
    return text
