"""`threadrunner chat`: a conversation at the terminal. Every turn is an ordinary `generate` with a session, so the
conversation can be gone on with from anywhere."""

from __future__ import annotations

import os
import signal

from threadrunner import exits
from threadrunner.api.errors import ApiError, SessionNotFound
from threadrunner.cli import prompt, render, signals, transcript
from threadrunner.cli.chat.files import attach
from threadrunner.cli.chat.view import AnswerView, console
from threadrunner.cli.commands import sessions
from threadrunner.cli.flags import LAST, UsageError
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import Any

NEW = "@new"

COMMANDS = {
    "/help": "show this",
    "/model": "[NAME] go on with another model; without NAME, show it",
    "/system": "[TEXT] change what the model is to be; - takes it away",
    "/session": "[NAME] go to another conversation; without NAME, show this one",
    "/mode": "[NAME] take a preset; without NAME, list them",
    "/memory": "[on|off] put what is remembered before each prompt",
    "/retry": "answer the last prompt anew",
    "/edit": "change the last prompt",
    "/undo": "delete the last turn",
    "/tokens": "what the last turn took",
    "/save": "[FILE] write the conversation, as Markdown, or as JSON for FILE.json",
    "/quit": "end; so does Ctrl-D. The conversation stays",
}


def run(options: Namespace) -> int:
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError('chat needs a terminal; in a script use `threadrunner -S NAME "…"` for each turn')
    from threadrunner.cli.chat.input import InputLine  # only now: it takes 0.2 s

    signal.signal(signal.SIGINT, signal.default_int_handler)  # stops an answer, not the chat
    chat = Chat(options)
    chat.greet()
    line = InputLine(COMMANDS)
    while not chat.over:
        try:
            text = line.ask(chat.take_draft())
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        try:
            chat.hear(text)
        except KeyboardInterrupt:
            chat.say("stopped")
        except (ApiError, UsageError, OSError) as error:
            chat.fail(error)
    return exits.OK


class Chat:
    """One conversation at a time, and what the next turn changes about it."""

    def __init__(self, options: Namespace) -> None:
        self.over = False
        self._console = console()
        self._session: str = LAST if options.last else prompt.words_text([options.session or NEW])
        self._next: dict[str, Any] = {}
        self._replace = 0
        self._draft = ""
        self._result: dict[str, Any] = {}
        self._left_out = 0
        given = {
            "system": options.system,
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "mode": options.mode,
            "memory": options.memory or None,
        }
        self._next |= {name: value for name, value in given.items() if value is not None}
        target = prompt.target(options.model, options.backend, options.offline)
        self._next |= prompt.weaker(target, options.model, options.backend)
        self._always = {name: self._next.pop(name) for name in _EACH_TURN if name in self._next}

    def greet(self) -> None:
        """Say where we are. Raises SessionNotFound for -c where there is none."""
        info, turns = self._look(1)
        if info is None and self._session == LAST:
            raise SessionNotFound("there is no conversation yet; `threadrunner chat` begins one")
        if info is None:
            self.say("a new conversation; /help shows what there is")
        else:
            self._session = info["name"]
            so_far = sessions.counted(info["turns"])
            self.say(f"{info['name']}: {so_far} so far, with {info['model']}; /help shows what there is")
            for turn in turns:
                self._console.print(f"> {render.printable(turn['prompt'])}", style="dim", markup=False)
                if turn["answer"]:
                    view = AnswerView(self._console)
                    view.write(turn["answer"])
                    view.finish()

    def take_draft(self) -> str:
        draft, self._draft = self._draft, ""
        return draft

    def hear(self, text: str) -> None:
        """One line of the user's: a command or a message."""
        text = text.strip()
        if not text:
            self._replace = 0
            return
        if text.startswith("/") and not text.startswith("//"):
            name, _, argument = text.partition(" ")
            command = self._commands().get(name)
            if command is None:
                raise UsageError(f"there is no {name}; /help shows what there is. A message that begins so: /{name}")
            command(argument.strip())
            return
        message, files = attach(text.removeprefix("/"))
        if files:
            self.say(f"with {', '.join(files)}")
        self._turn(message)

    def say(self, text: str) -> None:
        self._console.print(render.printable(text), style="dim", markup=False)

    def fail(self, error: Exception) -> None:
        text = error.message if isinstance(error, ApiError) else str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{error.strerror}: {error.filename}"
        self._console.print(render.printable(text), style="red", markup=False)

    # A turn

    def _turn(self, message: str) -> None:
        params = {**self._always, **self._next, "prompt": message, "session": self._session, "priority": "interactive"}
        if self._replace:
            params["replace"] = self._replace
        params |= prompt.keep_alive()
        prompt.check_size(params)
        view, progress = AnswerView(self._console), render.ProgressLine()
        signals.before_end(progress.clear)
        began = False
        try:
            for event, about in autostart.request("generate", params):
                began = True
                if event == "progress":
                    progress.show(about["stage"], about["done"], about["total"])
                elif event == "token":
                    progress.finish()
                    view.write(about["text"])
                elif event == "result":
                    progress.finish()
                    self._answered(about)
        finally:
            progress.clear()
            view.finish()
            if began:
                self._next, self._replace = {}, 0
            if self._session == NEW and self._result == {}:
                self._session = self._begun_anyway()

    def _answered(self, result: dict[str, Any]) -> None:
        self._session, self._result = result["session"], result
        if result.get("truncated_turns", 0) == self._left_out:
            result = {**result, "truncated_turns": 0}  # said before
        self._left_out = self._result.get("truncated_turns", 0)
        render.notices(result)

    def _begun_anyway(self) -> str:
        """The name of a conversation whose first answer was stopped: it is there, with what was said."""
        info, _ = self._look(1, LAST)
        return info["name"] if info is not None else NEW

    def _look(self, last: int, name: str | None = None) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """The conversation and its last turns; None where it has not begun."""
        name = name or self._session
        if name == NEW:
            return None, []
        try:
            return sessions.whole(name, last)
        except SessionNotFound:
            return None, []

    # Commands

    def _commands(self) -> dict[str, Callable[[str], None]]:
        return {
            "/help": self._help, "/model": self._model, "/system": self._system, "/session": self._go_to,
            "/mode": self._mode, "/memory": self._memory, "/retry": self._retry, "/edit": self._edit,
            "/undo": self._undo, "/tokens": self._tokens, "/save": self._save, "/quit": self._quit,
        }  # fmt: skip

    def _help(self, _: str) -> None:
        width = max(map(len, COMMANDS))
        for name, about in COMMANDS.items():
            self.say(f"{name:{width}}  {about}")
        self.say("Enter sends, Alt-Enter begins a new line, @path attaches a file, Ctrl-C stops an answer.")

    def _model(self, name: str) -> None:
        if not name:
            info, _ = self._look(1)
            model = self._next.get("model") or (info and info["model"]) or self._always.get("default_model")
            self.say(f"{model or 'the default model'}; `threadrunner models list` shows the others")
            return
        params = prompt.target(name, self._next.get("backend"))
        sessions.ask("models.load", params)
        self._next["model"] = params["model"]
        self.say(f"the next answer is {name}'s")

    def _system(self, text: str) -> None:
        if not text:
            info, _ = self._look(1)
            system = self._next.get("system", info and info["system"])
            self.say(system or "no system prompt")
            return
        self._next["system"] = "" if text == "-" else text
        self.say("no system prompt from now on" if text == "-" else "from the next answer on")

    def _go_to(self, name: str) -> None:
        if name:
            if name[0] in "-@" or not name.isprintable():
                raise UsageError(f"{name!r} cannot name a conversation: - and @ are not for the first character")
            self._session, self._result, self._left_out = name, {}, 0
            self._next = {key: value for key, value in self._next.items() if key == "memory"}
            self.greet()
            return
        info, _ = self._look(1)
        if info is None:
            self.say("not begun yet: the first message names it, /session NAME does so too")
        else:
            so_far = sessions.counted(info["turns"])
            self.say(f"{info['name']}: {so_far}; `threadrunner sessions list` shows the others")

    def _mode(self, name: str) -> None:
        modes = {mode["name"]: mode for mode in sessions.ask("modes.list", {})["modes"]}
        if not name:
            for mode in modes.values():
                self.say(f"{mode['name']}: {mode['description']}")
        elif name in modes:
            self._next["mode"] = name
            self.say("from the next answer on")
        else:
            raise UsageError(f"there is no mode {name}; there are {', '.join(modes)}")

    def _memory(self, what: str) -> None:
        if what not in ("on", "off"):
            raise UsageError("/memory on, or /memory off")
        self._next["memory"] = what == "on"
        self.say("from the next answer on")

    def _retry(self, _: str) -> None:
        self._replace = 1
        self._turn(self._last()["prompt"])

    def _edit(self, _: str) -> None:
        self._draft = self._last()["prompt"]
        self._replace = 1
        self.say("change it and press Enter; without any text the old one stays")

    def _undo(self, _: str) -> None:
        self._last()
        (text,) = sessions.ask("sessions.undo", {"session": self._session})["prompts"]
        self.say(f"deleted: {sessions.one_line(text)}")

    def _tokens(self, _: str) -> None:
        if not self._result:
            raise UsageError("there is no answer of this chat yet")
        self.say(render.stats_line(self._result))

    def _save(self, name: str) -> None:
        self._last()
        session, turns = sessions.whole(self._session)
        path = os.path.expanduser(name) if name else f"{session['name'].replace(os.sep, '-')}.md"
        write = transcript.to_json if path.endswith(".json") else transcript.to_markdown
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(write(session, turns))
        except FileExistsError:
            raise UsageError(f"{path} is there already; /save FILE takes another name") from None
        self.say(f"written to {path}")

    def _quit(self, _: str) -> None:
        self.over = True

    def _last(self) -> dict[str, Any]:
        """The conversation's last turn. Raises UsageError where there is none."""
        _, turns = self._look(1)
        if not turns:
            raise UsageError("this conversation has no turn yet")
        return turns[-1]


_EACH_TURN = ("max_tokens", "offline", "default_model", "default_backend")
"""Params that the conversation does not remember."""
