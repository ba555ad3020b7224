"""Handlers of remotes.*: the servers on other machines that config.toml names."""

from __future__ import annotations

import msgspec

from threadrunner.api.models import LoadParams
from threadrunner.api.remotes import RemoteInfo, RemoteList, RemoteModels, RemoteModelsParams
from threadrunner.api.status import NoParams
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.methods.context import Call, Handler, plain
from threadrunner.daemon.methods.generation import Generation, deadline
from threadrunner.remote_settings import RemoteModel, RemoteSettings, every


class RemoteMethods:
    """A list is made of tables alone; only `remotes.models` asks a server."""

    def __init__(self, config: LiveConfig, generation: Generation) -> None:
        self._config = config
        self._generation = generation

    def handlers(self) -> dict[str, Handler]:
        return {"remotes.list": plain(self.listing), "remotes.models": self.models}

    async def listing(self, _params: NoParams) -> RemoteList:
        self._config.look()
        names = list(self._config.current.remotes)
        tables = zip(names, every(self._config.current), strict=True)
        return RemoteList([_info(name, table) for name, table in tables])

    async def models(self, call: Call, params: RemoteModelsParams) -> RemoteModels:
        target = LoadParams(model=str(RemoteModel(params.remote)))
        async with (
            deadline(params.timeout),
            self._generation.use(self._generation.choose(target), target, call.outlet) as model,
        ):
            return msgspec.json.decode(await model.ask_server("remotes.models", params, call.outlet), type=RemoteModels)


def _info(name: str, table: RemoteSettings | Exception) -> RemoteInfo:
    if not isinstance(table, RemoteSettings):
        return RemoteInfo(name=name, problem=str(table))
    return RemoteInfo(
        name=name, host=table.host, url=table.url, dialect=table.dialect, models=list(table.models),
        allow=list(table.allow), key=table.key,
    )  # fmt: skip
