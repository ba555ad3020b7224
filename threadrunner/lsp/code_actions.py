"""Code actions over LSP: offered as literals or as commands; their edit is made when the client asks for it."""

from __future__ import annotations

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from threadrunner.api.errors import ApiError
from threadrunner.lsp import actions
from threadrunner.lsp.actions import Edit, EditJob
from threadrunner.lsp.session import Session
from threadrunner.lsp.suggest.documents import Document

ACT = "threadrunner.act"
ACTION_KINDS = tuple(actions.LSP_KINDS.values())


class ContentModified(JsonRpcException):
    """The document is no longer the one that the edit is for."""

    CODE = -32801
    MESSAGE = "the text has changed meanwhile"


def offer(session: Session, params: lsp.CodeActionParams) -> list[lsp.CodeAction | lsp.Command]:
    """The actions for a selection, or for the block around the cursor."""
    document = session.documents.get(params.text_document.uri)
    if document is None or not session.settings.enable or not session.ignore.completes(document.name):
        return []
    problems = [(diagnostic.range.start.line, diagnostic.message) for diagnostic in params.context.diagnostics]
    only = None if params.context.only is None else [str(getattr(kind, "value", kind)) for kind in params.context.only]
    start, end = document.place(params.range.start), document.place(params.range.end)
    jobs = actions.offered(document, start, end, problems, only)
    return [_action(session, job) for job in jobs]


def _action(session: Session, job: EditJob) -> lsp.CodeAction | lsp.Command:
    title, data = actions.TITLES[job.kind], actions.to_data(job)
    command = lsp.Command(title, ACT, arguments=[data])
    if not session.client.literal_actions:
        return command
    if session.client.edits_resolved:
        return lsp.CodeAction(title, kind=actions.LSP_KINDS[job.kind], data=data)
    return lsp.CodeAction(title, kind=actions.LSP_KINDS[job.kind], command=command)


async def resolve(session: Session, action: lsp.CodeAction) -> lsp.CodeAction:
    """The action with its edit; VS Code resolves actions that have only a command too, which stay as they are."""
    job = actions.from_data(action.data)
    if job is not None and action.edit is None:
        action.edit = await _edit(session, job)
    return action


async def act(session: Session, job: EditJob | None) -> bool:
    """The same as a command: the client is asked to apply the edit. Whether it did; not without a job."""
    edit = await _edit(session, job) if job is not None else None
    if job is None or edit is None:
        return False
    params = lsp.ApplyWorkspaceEditParams(edit, label=actions.TITLES[job.kind])
    answer = await session.editor.ask(lsp.WORKSPACE_APPLY_EDIT, params)
    return bool(answer.applied)


async def _edit(session: Session, job: EditJob) -> lsp.WorkspaceEdit | None:
    """Ask the model and make the edit; None if there is none to make, which is shown. Raises ContentModified."""
    document = session.documents.get(job.uri)
    if document is None or not 0 <= job.first <= job.last < len(document.lines):
        return None
    if not session.ignore.completes(document.name):  # a command may name any file
        session.editor.show(lsp.MessageType.Info, "ThreadRunner: this file is kept from the model")
        return None
    if job.version is not None and document.version != job.version:
        raise ContentModified
    version = document.version
    options = {"max_tokens": actions.ANSWER_TOKENS, "temperature": 0.0}
    try:
        answer = await session.generate(actions.ask(job, document), options)
    except ApiError as error:
        session.editor.show(lsp.MessageType.Error, f"ThreadRunner: {error.message}")
        return None
    if document.version != version or session.documents.get(job.uri) is not document:
        raise ContentModified
    new_files = session.client.creates_files and session.client.document_changes
    edits = actions.edits(job, document, answer["text"], new_files)
    if not edits:
        session.editor.show(lsp.MessageType.Info, "ThreadRunner: the model had nothing to change here")
        return None
    if session.client.document_changes:
        return lsp.WorkspaceEdit(document_changes=_document_changes(document, edits))
    return lsp.WorkspaceEdit(changes=_changes(document, edits))


def _changes(document: Document, edits: list[Edit]) -> dict[str, list[lsp.TextEdit]]:
    """By URI, for a client that knows no versions."""
    changes: dict[str, list[lsp.TextEdit]] = {}
    for edit in edits:
        changes.setdefault(edit.uri, []).append(_text_edit(document, edit))
    return changes


def _document_changes(
    document: Document, edits: list[Edit]
) -> list[lsp.TextDocumentEdit | lsp.CreateFile | lsp.RenameFile | lsp.DeleteFile]:
    """In order, each for the document's version; a new file is created before its edit."""
    changes: list[lsp.TextDocumentEdit | lsp.CreateFile | lsp.RenameFile | lsp.DeleteFile] = []
    for edit in edits:
        if edit.create:
            changes.append(lsp.CreateFile(edit.uri, options=lsp.CreateFileOptions(ignore_if_exists=True)))
        version = None if edit.create else document.version
        identifier = lsp.OptionalVersionedTextDocumentIdentifier(uri=edit.uri, version=version)
        changes.append(lsp.TextDocumentEdit(identifier, [_text_edit(document, edit)]))
    return changes


def _text_edit(document: Document, edit: Edit) -> lsp.TextEdit:
    if edit.create:
        return lsp.TextEdit(lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0)), edit.text)
    start, end = document.units(edit.start), document.units(edit.end)
    return lsp.TextEdit(lsp.Range(lsp.Position(*start), lsp.Position(*end)), edit.text)
