"""The chat's loop: a line of the user's, then what comes of it. Every turn is an ordinary `generate` with a session, so
the conversation can be continued from anywhere."""

from __future__ import annotations

import signal

from threadrunner import exits
from threadrunner.api.errors import ApiError
from threadrunner.cli import pictures
from threadrunner.cli.chat import commands, elsewhere
from threadrunner.cli.chat.conversation import Chat
from threadrunner.cli.chat.files import attach
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from threadrunner.cli.chat.input import InputLine


def run(options: Namespace) -> int:
    from threadrunner.cli.chat.input import InputLine  # only now: it takes 0.2 s

    chat = Chat(options)
    chat.greet()
    line = InputLine({name: help for name, (help, _) in commands.COMMANDS.items()})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # from now on it stops an answer, not the chat
    converse(chat, line)
    return exits.OK


def converse(chat: Chat, line: InputLine) -> None:
    """Line after line, until one ends it."""
    while not chat.over:
        try:
            _line(chat, line)
        except KeyboardInterrupt:  # one more, while the last one was being dealt with
            continue


def _line(chat: Chat, line: InputLine) -> None:
    """Ask for a line, and do what it says."""
    try:
        text = line.ask(chat.take_draft(), elsewhere.prompt(chat))
    except KeyboardInterrupt:
        chat.replace_none()
        return
    except EOFError:
        chat.over = True
        return
    try:
        _answer(chat, text.strip())
    except KeyboardInterrupt:
        chat.say("stopped")
    except (ApiError, UsageError, OSError, ValueError) as error:  # ValueError: a path that the system refuses
        chat.fail(error)


def _answer(chat: Chat, text: str) -> None:
    """One line of the user's: a command or a message. Raises ApiError, UsageError, OSError."""
    if not text:
        chat.replace_none()
    elif text.startswith("/") and not text.startswith("//"):
        commands.run(chat, text)
    else:
        message = attach(text.removeprefix("/"))
        shown = pictures.images(message.pictures)
        if message.names:
            chat.say(f"with {', '.join(message.names)}")
        chat.turn(message.text, shown)
