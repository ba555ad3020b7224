"""`workspace/executeCommand`: chat and one-shot prompts, streamed; what became of a suggestion; status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from threadrunner import __version__
from threadrunner.api.errors import ApiError
from threadrunner.lsp import actions, code_actions, items

if TYPE_CHECKING:
    from threadrunner.lsp.server import LspServer

TOKEN = "threadrunner/token"
CHAT = "threadrunner.chat"
REWRITE = "threadrunner.rewrite"
STATUS = "threadrunner.status"
PROMPT_LIMIT = 200_000

Command = Callable[[lsp.ExecuteCommandParams], Awaitable[Any]]


def register(server: LspServer) -> None:
    async def accepted(params: lsp.ExecuteCommandParams) -> bool:
        """[id, kind = accepted | word | line | dismissed, characters]"""
        id, kind, characters = (list(params.arguments or []) + ["", "accepted", 0][len(params.arguments or []) :])[:3]
        return server.counters.ended(str(id), str(kind), int(characters) if isinstance(characters, int) else 0)

    async def insert(params: lsp.ExecuteCommandParams) -> bool:
        """[uri, position, text, id]: the text at the position, byte for byte, by way of `workspace/applyEdit`."""
        uri, where, text, id = _arguments(params, 4)
        position = lsp.Position(int(where["line"]), int(where["character"]))
        change = lsp.TextEdit(lsp.Range(position, position), str(text))
        edit = lsp.WorkspaceEdit(changes={str(uri): [change]})
        answer = await server.protocol.ask_client(lsp.WORKSPACE_APPLY_EDIT, lsp.ApplyWorkspaceEditParams(edit))
        if answer.applied:
            server.counters.ended(str(id), "accepted")
        return bool(answer.applied)

    async def act(params: lsp.ExecuteCommandParams) -> bool:
        return await code_actions.act(server, _arguments(params, 1)[0])

    async def rewrite(params: lsp.ExecuteCommandParams) -> bool:
        """[uri, range, instruction]"""
        uri, span, instruction = _arguments(params, 3)
        document = server.documents.get(str(uri))
        if document is None:
            return False
        range = lsp.Range(lsp.Position(**span["start"]), lsp.Position(**span["end"]))
        first, last = actions.selected(document, document.place(range.start), document.place(range.end))
        job = actions.EditJob("rewrite", document.uri, document.version, first, last, str(instruction))
        return await code_actions.act(server, actions.to_data(job))

    async def talk(params: lsp.ExecuteCommandParams) -> dict[str, Any]:
        return await chat(server, _arguments(params, 1)[0], params.work_done_token)

    async def tell_status(params: lsp.ExecuteCommandParams) -> dict[str, Any]:
        return await status(server)

    table: dict[str, Command] = {
        items.ACCEPTED: accepted, items.INSERT: insert, code_actions.ACT: act, REWRITE: rewrite, CHAT: talk,
        STATUS: tell_status,
    }  # fmt: skip
    for name, command in table.items():
        server.command(name)(command)


async def chat(server: LspServer, asked: Any, token: lsp.ProgressToken | None) -> dict[str, Any]:
    """A conversation's next answer.

    `asked` is {prompt | messages, system?, mode?, uri?, range?, stream?, max_tokens?}; the mode is `code` where none is
    named. With `uri` the file's text, or the
    range's, goes along. Pieces are sent as `threadrunner/token` {stream, text} when `stream` (any id) is given, and as
    `$/progress` reports when the client gave a work-done token.
    """
    if not isinstance(asked, dict):
        raise JsonRpcInvalidParams(f"{CHAT} takes an object with `prompt` or `messages`")
    options = server.suggester.settings
    params: dict[str, Any] = {
        "messages": _messages(server, asked), "mode": "code", "priority": "interactive", "stream": True,
        "context_overflow": "truncate",
    }  # fmt: skip
    for name in ("system", "mode", "max_tokens", "temperature", "seed"):
        if asked.get(name) is not None:
            params[name] = asked[name]
    if model := options.chat_model or options.model:
        params["model"] = model
    if options.backend:
        params["backend"] = options.backend
    stream, said = asked.get("stream"), ""

    def progress(value: Any) -> None:
        if token is not None:
            server.protocol.notify(lsp.PROGRESS, lsp.ProgressParams(token=token, value=value))

    def listen(name: str, about: dict[str, Any]) -> None:
        nonlocal said
        if name != "token":
            return
        said += about["text"]
        if stream is not None:
            server.protocol.notify(TOKEN, {"stream": stream, "text": about["text"]})
        progress(lsp.WorkDoneProgressReport(message=said[-80:], cancellable=True))

    progress(lsp.WorkDoneProgressBegin(title="ThreadRunner", cancellable=True))
    try:
        answer = await server.asking.request("generate", params, listen)
    except ApiError as error:
        raise JsonRpcException(error.message, code=error.code, data=error.data) from None
    finally:
        progress(lsp.WorkDoneProgressEnd())
    return {name: answer.get(name) for name in ("text", "finish_reason", "model", "usage", "timings")}


def _messages(server: LspServer, asked: dict[str, Any]) -> list[dict[str, str]]:
    messages = [dict(message) for message in asked.get("messages") or []]
    if asked.get("prompt"):
        messages.append({"role": "user", "content": str(asked["prompt"])})
    if not messages:
        raise JsonRpcInvalidParams(f"{CHAT} takes an object with `prompt` or `messages`")
    document = server.documents.get(str(asked.get("uri", "")))
    if document is not None and server.suggester.ignore.completes(document.path):
        text = document.whole()
        if isinstance(asked.get("range"), dict):
            start, end = (document.place(lsp.Position(**asked["range"][side])) for side in ("start", "end"))
            text = document.between(start, end) or text
        code = f"```{document.language}\n{text[:PROMPT_LIMIT]}\n```"
        messages[-1]["content"] = f"{messages[-1]['content']}\n\n{code}"
    return messages


async def status(server: LspServer) -> dict[str, Any]:
    """What the adapter has counted, and the daemon's own status where one runs; nothing is started for it."""
    options = server.suggester.settings
    daemon = None
    if server.daemon.connected:
        try:
            daemon = await server.daemon.request("status", {})
        except ApiError as error:
            daemon = {"error": error.message}
    return {
        "version": __version__,
        "state": server.state,
        "message": server.state_message,
        "enabled": options.enable,
        "trigger": options.trigger,
        "session": asdict(server.suggester.figures),
        "suggestions": server.counters.totals(),
        "counted_in": server.counters.file if options.count else None,
        "daemon": daemon,
    }


def _arguments(params: lsp.ExecuteCommandParams, count: int) -> list[Any]:
    arguments = list(params.arguments or [])
    if len(arguments) != count:
        raise JsonRpcInvalidParams(f"{params.command} takes {count} arguments, not {len(arguments)}")
    return arguments
