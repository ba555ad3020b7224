"""What Ray runs: a replica is the HTTP app over a daemon of its own, which has the one model. Ray imports this."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray import serve

from threadrunner import paths
from threadrunner.api.errors import ApiError, NotSupported
from threadrunner.client.aio import AsyncClient
from threadrunner.cluster import words
from threadrunner.cluster.mount import Mounted, policy
from threadrunner.cluster.one_model import OneModel
from threadrunner.cluster.own_daemon import OwnDaemon
from threadrunner.cluster.serve_config import DEPLOYMENT
from threadrunner.config import ConfigError
from threadrunner.http.app import make_app
from threadrunner.http.gateway import Gateway
from threadrunner.http.proxies import Proxies
from threadrunner.system import files, locks


def application(args: dict[str, Any]) -> Any:
    """The Serve application of one model, by its part of the configuration."""
    return serve.deployment(name=DEPLOYMENT)(serve.ingress()(ModelReplica)).bind(args)


class ModelReplica:
    """Made once its model has said a token. Raises RuntimeError with words for the user where it cannot."""

    async def __init__(self, args: dict[str, Any]) -> None:  # type: ignore[misc]
        try:
            self._own = OwnDaemon(args["model"], args["options"])
            self._client = AsyncClient(dial=self._own.dial)
            named = await self._fetched(args["model"])
            await self._said_something()
        except ApiError as error:
            raise RuntimeError(words.marked(f"{error.kind}: {error.message}")) from None
        except OSError as error:
            raise RuntimeError(words.marked(f"{error.strerror}: {error.filename}")) from None
        except ConfigError as error:
            raise RuntimeError(words.marked(str(error))) from None
        gateway = Gateway(OneModel(self._client, args["name"], named))
        self._app = Mounted(
            make_app(gateway, policy(args), Proxies(), None), args["route"], serve.get_replica_context().replica_tag
        )

    async def _fetched(self, model: str) -> str:
        """The daemon's name for it, once its file is here: of all replicas on a machine, one fetches it."""
        if (await self._client.request("status", {}))["backend"] != "llama":
            return ""
        if not os.path.isabs(model) and not self._own.offline:
            lock = await asyncio.to_thread(_locked, os.path.join(paths.models_dir(), ".cluster.lock"))
            try:
                await self._client.request("models.pull", {"model": model})
            finally:
                os.close(lock)
        return model

    async def _said_something(self) -> None:
        """One real token, or for a model that cannot speak, numbers."""
        await self._client.request("models.load", {})
        try:
            await self._client.request("generate", {"prompt": "a", "raw": True, "max_tokens": 1, "stream": False})
        except NotSupported:
            await self._client.request("embed", {"input": ["a"]})

    def __serve_build_asgi_app__(self) -> Any:
        return self._app

    async def check_health(self) -> None:
        """Raises RuntimeError where the model cannot be loaded any more: only a failure that the daemon has seen, none
        that is guessed from silence, which Serve's own limit of time is for."""
        for model in (await self._client.request("status", {}))["models"]:
            if model["state"] == "failed":
                raise RuntimeError(words.marked(model.get("error") or "the model failed"))

    async def __del__(self) -> None:
        await self._client.close()
        await self._own.end()


def _locked(path: str) -> int:
    """Blocking: a descriptor of the file, locked until it is closed."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | files.OWN, 0o600)
    locks.hold(fd)
    return fd
