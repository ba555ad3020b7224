"""The handlers of `sessions.*`: each asks the store one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from threadrunner.api.conversations import (
    SearchHits,
    SessionDeleted,
    SessionForkParams,
    SessionImportParams,
    SessionInfo,
    SessionList,
    SessionParam,
    SessionRenameParams,
    SessionSearchParams,
    SessionShown,
    SessionShowParams,
    SessionsListParams,
    SessionUndoParams,
    Undone,
)
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.methods.turn import REMEMBERED
from threadrunner.daemon.peer import Call

if TYPE_CHECKING:
    from threadrunner.daemon.methods.generation import Daemon


async def listing(daemon: Daemon, call: Call, params: SessionsListParams) -> SessionList:
    return await daemon.sessions.run(lambda store: store.listing(params.limit, params.offset))


async def show(daemon: Daemon, call: Call, params: SessionShowParams) -> SessionShown:
    return await daemon.sessions.run(lambda store: store.show(params.session, params.after, params.last))


async def delete(daemon: Daemon, call: Call, params: SessionParam) -> SessionDeleted:
    return SessionDeleted(await daemon.sessions.run(lambda store: store.delete(params.session)))


async def rename(daemon: Daemon, call: Call, params: SessionRenameParams) -> SessionInfo:
    return await daemon.sessions.run(lambda store: store.rename(params.session, params.name))


async def fork(daemon: Daemon, call: Call, params: SessionForkParams) -> SessionInfo:
    return await daemon.sessions.run(lambda store: store.fork(params.session, params.name, params.turns))


async def undo(daemon: Daemon, call: Call, params: SessionUndoParams) -> Undone:
    return await daemon.sessions.run(lambda store: store.undo(params.session, params.turns))


async def take_in(daemon: Daemon, call: Call, params: SessionImportParams) -> SessionInfo:
    if unknown := sorted(set(params.params) - set(REMEMBERED)):
        raise InvalidParams(f"a conversation does not remember {', '.join(unknown)}; it may: {', '.join(REMEMBERED)}")
    try:
        msgspec.convert({"prompt": "", **params.params}, GenerateParams)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"params: {error}") from None
    return await daemon.sessions.run(lambda store: store.take_in(params))


async def search(daemon: Daemon, call: Call, params: SessionSearchParams) -> SearchHits:
    return SearchHits(await daemon.sessions.run(lambda s_: s_.search(params.query, params.session, params.limit)))
