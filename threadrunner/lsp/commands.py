"""`workspace/executeCommand`: what became of a suggestion, code actions, chat; and `threadrunner/status`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams

from threadrunner import __version__
from threadrunner.lsp import actions, code_actions, items
from threadrunner.lsp.chat import CHAT, chat
from threadrunner.lsp.session import Session

REWRITE = "threadrunner.rewrite"
STATUS = "threadrunner.status"

Command = Callable[[Session, lsp.ExecuteCommandParams], Awaitable[Any]]


async def _accepted(session: Session, params: lsp.ExecuteCommandParams) -> bool:
    """[id, kind = accepted | word | line | dismissed, characters]"""
    given = list(params.arguments or [])
    id, kind, characters = (given + ["", "accepted", 0][len(given) :])[:3]
    return session.ended(str(id), str(kind), int(characters) if isinstance(characters, int) else 0)


async def _insert(session: Session, params: lsp.ExecuteCommandParams) -> bool:
    """[uri, position, text, id]: the text at the position, byte for byte, by way of `workspace/applyEdit`."""
    uri, where, text, id = _arguments(params, 4)
    position = lsp.Position(int(where["line"]), int(where["character"]))
    change = lsp.TextEdit(lsp.Range(position, position), str(text))
    edit = lsp.WorkspaceEdit(changes={str(uri): [change]})
    answer = await session.editor.ask(lsp.WORKSPACE_APPLY_EDIT, lsp.ApplyWorkspaceEditParams(edit))
    if answer.applied:
        session.ended(str(id), "accepted")
    return bool(answer.applied)


async def _act(session: Session, params: lsp.ExecuteCommandParams) -> bool:
    """[an action's data]"""
    return await code_actions.act(session, actions.from_data(_arguments(params, 1)[0]))


async def _rewrite(session: Session, params: lsp.ExecuteCommandParams) -> bool:
    """[uri, range, instruction]"""
    uri, span, instruction = _arguments(params, 3)
    document = session.documents.get(str(uri))
    if document is None:
        return False
    start, end = (document.place(lsp.Position(**span[side])) for side in ("start", "end"))
    first, last = actions.selected(document, start, end)
    job = actions.EditJob("rewrite", document.uri, document.version, first, last, str(instruction))
    return await code_actions.act(session, job)


async def _chat(session: Session, params: lsp.ExecuteCommandParams) -> dict[str, Any]:
    """[the request]"""
    return await chat(session, _arguments(params, 1)[0], params.work_done_token)


async def _status(session: Session, params: lsp.ExecuteCommandParams) -> dict[str, Any]:
    return await status(session, params)


COMMANDS: dict[str, Command] = {
    items.ACCEPTED: _accepted,
    items.INSERT: _insert,
    code_actions.ACT: _act,
    REWRITE: _rewrite,
    CHAT: _chat,
    STATUS: _status,
}


async def status(session: Session, _params: object) -> dict[str, Any]:
    """What was counted here, and the daemon's own status where one runs; no daemon is started for it."""
    daemon, settings = await session.daemon_status(), session.settings
    return {
        "version": __version__,
        "state": session.state,
        "message": session.state_message,
        "enabled": settings.enable,
        "trigger": settings.trigger,
        "session": asdict(session.figures),
        "suggestions": session.counters.totals(),
        "counted_in": session.counters.file if settings.count else None,
        "daemon": daemon,
    }


def _arguments(params: lsp.ExecuteCommandParams, count: int) -> list[Any]:
    """The command's arguments. Raises JsonRpcInvalidParams unless there are `count` of them."""
    arguments = list(params.arguments or [])
    if len(arguments) != count:
        raise JsonRpcInvalidParams(f"{params.command} takes {count} arguments, not {len(arguments)}")
    return arguments
