"""Params and results of remotes.*: servers on other machines."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from threadrunner.api.fields import Timeout, described

RemoteName = Annotated[str, described("the NAME of a table [remotes.NAME]", min_length=1, max_length=64)]


class RemoteInfo(Struct, kw_only=True):
    """One table of config.toml. Nothing was asked to make this."""

    name: str
    host: str = ""
    url: str = ""
    dialect: Annotated[str, described("empty: by what the server says of itself")] = ""
    models: list[str] = field(default_factory=list)
    allow: Annotated[list[str], described("what it may be sent")] = field(default_factory=list)
    key: Annotated[str, described("where its key is kept, never the key; empty: it needs none")] = ""
    problem: Annotated[str, described("why it cannot be used")] | None = None


class RemoteList(Struct):
    remotes: list[RemoteInfo]


class RemoteModelsParams(Struct, kw_only=True, forbid_unknown_fields=True):
    """Asks the server for the models that it has; nothing else is sent."""

    remote: RemoteName
    timeout: Timeout | None = None


class RemoteModelInfo(Struct, kw_only=True):
    """One model, as the server tells of it."""

    name: str
    context: Annotated[int, Meta(description="tokens; 0: it does not say")] = 0


class RemoteModels(Struct, kw_only=True):
    """What a server has, and what it seems to be."""

    host: str
    dialect: str
    models: list[RemoteModelInfo]
    took_ms: float
