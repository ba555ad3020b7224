"""The editor: what can be sent to it, and what it can do.

The second is read from its `initialize`: capabilities where it tells them, its name where it cannot. docs/editors.md
and tests/clients record what each real editor was seen to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from lsprotocol import types as lsp
from pygls.capabilities import get_capability


class EditorClient(Protocol):
    """The editor, as far as features need it."""

    async def ask(self, method: str, params: object) -> Any:
        """The result of a request to the editor. Raises pygls's JsonRpcException."""

    def notify(self, method: str, params: object) -> None: ...

    def show(self, kind: lsp.MessageType, text: str) -> None:
        """Show the person a message."""


@dataclass(frozen=True)
class ClientTraits:
    """What an editor can do, and what it does differently."""

    name: str = ""
    inline: bool = False
    """Asks for inline completion."""
    as_is: bool = False
    """Takes `insertTextMode: asIs`; without it, it may indent what we insert once more."""
    by_command: bool = False
    """Its menu damages a text with blanks or several lines: the item is the typed word, a command inserts the rest."""
    filter_is_text: bool = False
    """Where filterText is not the text, it expands the text as a snippet."""
    markdown: bool = False
    """Shows Markdown beside its menu; others would show the fences."""
    edits_resolved: bool = False
    """Asks for a code action's edit when it is chosen."""
    literal_actions: bool = False
    """Takes code actions; others take commands only."""
    document_changes: bool = False
    """Takes edits that name the version they were made for, and refuses them when it is outdated."""
    creates_files: bool = False
    """Takes edits that create a file."""
    work_done: bool = False
    """Shows progress bars that we ask for."""
    configuration: bool = False
    """Answers `workspace/configuration`."""
    debounces: bool = False
    """Waits after a key by itself, so that we do not."""
    status: bool = False
    """Takes `threadrunner/status` notifications; others would report them as unknown."""


def read_traits(params: lsp.InitializeParams) -> ClientTraits:
    """The traits of the editor that sent this `initialize`."""
    capabilities = params.capabilities
    info = params.client_info
    name = info.name.lower() if info else ""
    item = "text_document.completion.completion_item"
    modes = get_capability(capabilities, f"{item}.insert_text_mode_support.value_set", [])
    formats = get_capability(capabilities, f"{item}.documentation_format", [])
    resolves = get_capability(capabilities, "text_document.code_action.resolve_support.properties", [])
    operations = get_capability(capabilities, "workspace.workspace_edit.resource_operations", [])
    ours = capabilities.experimental
    ours = ours.get("threadrunner") if isinstance(ours, dict) else getattr(ours, "threadrunner", None)
    inline = get_capability(capabilities, "text_document.inline_completion") is not None
    return ClientTraits(
        name=name,
        inline=inline,
        as_is=lsp.InsertTextMode.AsIs in (modes or []),
        by_command=name.startswith("neovim"),
        filter_is_text=name.startswith("kak"),
        markdown=lsp.MarkupKind.Markdown in (formats or []),
        edits_resolved="edit" in (resolves or []),
        literal_actions=get_capability(capabilities, "text_document.code_action.code_action_literal_support")
        is not None,
        document_changes=bool(get_capability(capabilities, "workspace.workspace_edit.document_changes", False)),
        creates_files=lsp.ResourceOperationKind.Create in (operations or []),
        work_done=bool(get_capability(capabilities, "window.work_done_progress", False)),
        configuration=bool(get_capability(capabilities, "workspace.configuration", False)),
        # Neovim's own inline completion (0.12) waits 200 ms after a key, lsp-mode seconds.
        debounces=(name.startswith("neovim") and inline and not ours) or name == "emacs",
        status=bool(ours),
    )
