"""The handlers of `sessions.*`: each asks the store one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from threadrunner.api import sessions as s
from threadrunner.api import types as t
from threadrunner.api.errors import InvalidParams
from threadrunner.daemon.peer import Call
from threadrunner.daemon.sessions_turn import REMEMBERED

if TYPE_CHECKING:
    from threadrunner.daemon.wanted import Daemon


async def listing(daemon: Daemon, call: Call, params: s.SessionsListParams) -> s.SessionList:
    return await daemon.sessions.run(lambda store: store.listing(params.limit, params.offset))


async def show(daemon: Daemon, call: Call, params: s.SessionShowParams) -> s.SessionShown:
    return await daemon.sessions.run(lambda store: store.show(params.session, params.after, params.last))


async def delete(daemon: Daemon, call: Call, params: s.SessionParam) -> s.SessionDeleted:
    return s.SessionDeleted(await daemon.sessions.run(lambda store: store.delete(params.session)))


async def rename(daemon: Daemon, call: Call, params: s.SessionRenameParams) -> s.SessionInfo:
    return await daemon.sessions.run(lambda store: store.rename(params.session, params.name))


async def fork(daemon: Daemon, call: Call, params: s.SessionForkParams) -> s.SessionInfo:
    return await daemon.sessions.run(lambda store: store.fork(params.session, params.name, params.turns))


async def undo(daemon: Daemon, call: Call, params: s.SessionUndoParams) -> s.Undone:
    return await daemon.sessions.run(lambda store: store.undo(params.session, params.turns))


async def take_in(daemon: Daemon, call: Call, params: s.SessionImportParams) -> s.SessionInfo:
    if unknown := sorted(set(params.params) - set(REMEMBERED)):
        raise InvalidParams(f"a conversation does not remember {', '.join(unknown)}; it may: {', '.join(REMEMBERED)}")
    try:
        msgspec.convert({"prompt": "", **params.params}, t.GenerateParams)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"params: {error}") from None
    return await daemon.sessions.run(lambda store: store.take_in(params))


async def search(daemon: Daemon, call: Call, params: s.SessionSearchParams) -> s.SearchHits:
    return s.SearchHits(await daemon.sessions.run(lambda s_: s_.search(params.query, params.session, params.limit)))
