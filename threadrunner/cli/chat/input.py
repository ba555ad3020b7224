"""The chat's input: lines with history, completion of commands and files, pastes of many lines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from threadrunner import paths
from threadrunner.cli import render, signals
from threadrunner.system import files, terminal


class InputLine:
    """Asks for a message. Enter sends, Alt-Enter begins a new line, a paste of many lines stays one message."""

    def __init__(self, commands: dict[str, str]) -> None:
        """`commands` are names to help."""
        self._restore = terminal.restorer()
        self._session: PromptSession[str] = PromptSession(
            history=_History(_history_file()),
            completer=_Completer(commands),
            complete_while_typing=False,
            key_bindings=_keys(),
            enable_open_in_editor=True,
            multiline=False,
        )

    def ask(self, default: str = "", prompt: str = "> ") -> str:
        """What the user typed, from `default` on. Raises EOFError for Ctrl-D, KeyboardInterrupt for Ctrl-C."""
        signals.before_end(self._leave)
        return self._session.prompt(prompt, default=default, prompt_continuation="  ")

    def _leave(self) -> None:
        """As prompt_toolkit would, had it the time: SIGTERM ends the process at once, and the shell needs its echo."""
        self._restore()
        render.put(1, "\x1b[?2004l\r\n")


class _History(FileHistory):
    """Typed bytes that are not UTF-8 arrive as lone surrogates; the message is refused later, in words."""

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the chat
            super().store_string(string.encode("utf-8", "replace").decode())


def _history_file() -> str:
    """Its path. Made by us first, so that no other user can ever read it."""
    path = os.path.join(paths.home(), "chat_history")
    os.makedirs(paths.home(), mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | files.OWN, 0o600))
    return path


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _Completer(Completer):
    """Completes `/com` at the beginning, `@pa/th` anywhere."""

    def __init__(self, commands: dict[str, str]) -> None:
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        if before.startswith("/") and " " not in before:
            for name, help in self._commands.items():
                if name.startswith(before):
                    yield Completion(name, -len(before), display_meta=help)
        elif (word := before.rsplit(None, 1)[-1:]) and word[0].startswith("@") and not before[-1].isspace():
            yield from self._paths.get_completions(Document(word[0][1:]), event)
