"""Code actions over LSP: offered as literals or as commands, their edit made when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from threadrunner.api.errors import ApiError
from threadrunner.lsp import actions
from threadrunner.lsp.actions import Edit, EditJob
from threadrunner.lsp.suggest.documents import Document

if TYPE_CHECKING:
    from threadrunner.lsp.server import LspServer

ACT = "threadrunner.act"
ACTION_KINDS = tuple(actions.LSP_KINDS.values())


class ContentModified(JsonRpcException):
    CODE = -32801
    MESSAGE = "the text has changed meanwhile"


def offer(server: LspServer, params: lsp.CodeActionParams) -> list[lsp.CodeAction | lsp.Command]:
    document = server.documents.get(params.text_document.uri)
    if document is None or not server.suggester.settings.enable or not server.suggester.ignore.completes(document.path):
        return []
    problems = [(diagnostic.range.start.line, diagnostic.message) for diagnostic in params.context.diagnostics]
    only = None if params.context.only is None else [str(getattr(kind, "value", kind)) for kind in params.context.only]
    start, end = document.place(params.range.start), document.place(params.range.end)
    jobs = actions.offered(document, start, end, problems, only)
    return [_action(server, job) for job in jobs]


def _action(server: LspServer, job: EditJob) -> lsp.CodeAction | lsp.Command:
    title, data = actions.TITLES[job.kind], actions.to_data(job)
    command = lsp.Command(title, ACT, arguments=[data])
    if not server.client.literal_actions:
        return command
    if server.client.edits_resolved:
        return lsp.CodeAction(title, kind=actions.LSP_KINDS[job.kind], data=data)
    return lsp.CodeAction(title, kind=actions.LSP_KINDS[job.kind], command=command)


async def resolve(server: LspServer, action: lsp.CodeAction) -> lsp.CodeAction:
    """The action with its edit; VS Code asks for actions with only a command too, which stay as they are."""
    job = actions.from_data(action.data)
    if job is not None and action.edit is None:
        action.edit = await work(server, job)
    return action


async def act(server: LspServer, data: Any) -> bool:
    """The same as a command: the client is asked to apply the edit. Whether it did."""
    job = actions.from_data(data)
    edit = await work(server, job) if job is not None else None
    if edit is None:
        return False
    params = lsp.ApplyWorkspaceEditParams(edit, label=actions.TITLES[job.kind] if job else None)
    answer = await server.protocol.ask_client(lsp.WORKSPACE_APPLY_EDIT, params)
    return bool(answer.applied)


async def work(server: LspServer, job: EditJob) -> lsp.WorkspaceEdit | None:
    """Ask the model and make the edit; None, and a message, where nothing came of it. Raises ContentModified."""
    document = server.documents.get(job.uri)
    if document is None or job.last >= len(document.lines):
        return None
    if job.version is not None and document.version != job.version:
        raise ContentModified
    options = server.suggester.settings
    params: dict[str, Any] = {
        "messages": actions.ask(job, document),
        "max_tokens": actions.ANSWER_TOKENS,
        "temperature": 0.0,
        "priority": "interactive",
        "stream": False,
    }
    if model := options.chat_model or options.model:
        params["model"] = model
    if options.backend:
        params["backend"] = options.backend
    version = document.version
    try:
        answer = await server.asking.request("generate", params)
    except ApiError as error:
        server.tell(lsp.MessageType.Error, f"ThreadRunner: {error.message}")
        return None
    if document.version != version or server.documents.get(job.uri) is not document:
        raise ContentModified
    found = actions.edits(job, document, answer["text"], server.client.creates_files and server.client.document_changes)
    if not found:
        server.tell(lsp.MessageType.Info, "ThreadRunner: the model had nothing to change here")
        return None
    return workspace_edit(server, document, found)


def workspace_edit(server: LspServer, document: Document, found: list[Edit]) -> lsp.WorkspaceEdit:
    if not server.client.document_changes:
        changes: dict[str, list[lsp.TextEdit]] = {}
        for edit in found:
            changes.setdefault(edit.uri, []).append(_text_edit(document, edit))
        return lsp.WorkspaceEdit(changes=changes)
    steps: list[lsp.TextDocumentEdit | lsp.CreateFile | lsp.RenameFile | lsp.DeleteFile] = []
    for edit in found:
        if edit.create:
            steps.append(lsp.CreateFile(edit.uri, options=lsp.CreateFileOptions(ignore_if_exists=True)))
        version = None if edit.create else document.version
        steps.append(
            lsp.TextDocumentEdit(
                lsp.OptionalVersionedTextDocumentIdentifier(uri=edit.uri, version=version),
                [_text_edit(document, edit)],
            )
        )
    return lsp.WorkspaceEdit(document_changes=steps)


def _text_edit(document: Document, edit: Edit) -> lsp.TextEdit:
    if edit.create:
        return lsp.TextEdit(lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0)), edit.text)
    start, end = document.units(edit.start), document.units(edit.end)
    return lsp.TextEdit(lsp.Range(lsp.Position(*start), lsp.Position(*end)), edit.text)
