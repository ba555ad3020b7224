"""Handlers of sessions.*: each asks the store one thing."""

from __future__ import annotations

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
from threadrunner.daemon.conversations import sessions
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.sessions import REMEMBERED_PARAMS
from threadrunner.daemon.methods.context import Handler, plain


class SessionMethods:
    """What people do with conversations beside talking."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    def handlers(self) -> dict[str, Handler]:
        return {
            "sessions.list": plain(self.listing),
            "sessions.show": plain(self.show),
            "sessions.delete": plain(self.delete),
            "sessions.rename": plain(self.rename),
            "sessions.fork": plain(self.fork),
            "sessions.undo": plain(self.undo),
            "sessions.import": plain(self.import_),
            "sessions.search": plain(self.search),
        }

    async def listing(self, params: SessionsListParams) -> SessionList:
        return await self._conversations.run_in_order(
            lambda store: sessions.listing(store, params.limit, params.offset)
        )

    async def show(self, params: SessionShowParams) -> SessionShown:
        return await self._conversations.run_in_order(
            lambda store: sessions.show(store, params.session, params.after, params.last)
        )

    async def delete(self, params: SessionParam) -> SessionDeleted:
        return SessionDeleted(
            await self._conversations.run_in_order(lambda store: sessions.delete(store, params.session))
        )

    async def rename(self, params: SessionRenameParams) -> SessionInfo:
        return await self._conversations.run_in_order(lambda store: sessions.rename(store, params.session, params.name))

    async def fork(self, params: SessionForkParams) -> SessionInfo:
        return await self._conversations.run_in_order(
            lambda store: sessions.fork(store, params.session, params.name, params.turns)
        )

    async def undo(self, params: SessionUndoParams) -> Undone:
        return await self._conversations.run_in_order(lambda store: sessions.undo(store, params.session, params.turns))

    async def import_(self, params: SessionImportParams) -> SessionInfo:
        if unknown := sorted(set(params.params) - set(REMEMBERED_PARAMS)):
            raise InvalidParams(
                f"a conversation does not remember {', '.join(unknown)}; it may: {', '.join(REMEMBERED_PARAMS)}"
            )
        for turn in params.turns:
            ids = [call.id for call in turn.tool_calls]
            if len(set(ids)) < len(ids):
                raise InvalidParams("two calls of one turn have the same id")
        try:
            msgspec.convert({"prompt": "", **params.params}, GenerateParams)
        except msgspec.ValidationError as error:
            raise InvalidParams(f"params: {error}") from None
        return await self._conversations.run_in_order(lambda store: sessions.import_session(store, params))

    async def search(self, params: SessionSearchParams) -> SearchHits:
        return SearchHits(
            await self._conversations.run_in_order(
                lambda store: sessions.search(store, params.query, params.session, params.limit)
            )
        )
