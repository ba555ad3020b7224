"""The conversation that a chat is in, on the screen and in the daemon, and what its next turn changes about it."""

from __future__ import annotations

from threadrunner.api.errors import ApiError, SessionNotFound
from threadrunner.api.names import LAST, NEW
from threadrunner.cli import render, request, signals, stdin, thinking, tools
from threadrunner.cli.chat.view import AnswerView, console
from threadrunner.cli.flags import UsageError
from threadrunner.learning import corrections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import Any

_EACH_TURN = ("max_tokens", "offline", "default_model", "default_backend")
"""Params that the conversation does not remember."""


class Chat:
    """One conversation at a time. The commands (commands.py) change what is public here."""

    def __init__(self, options: Namespace) -> None:
        self.session: str = LAST if options.last else request.words_text([options.session or NEW])
        self.settings = _settings(options)
        """Params of the next turn, which the conversation remembers from then on."""
        self.always = {name: self.settings.pop(name) for name in _EACH_TURN if name in self.settings}
        self.replace = 0
        """How many of the latest turns the next one replaces."""
        self.keeps_pictures = False
        """Whether that one has the pictures of the turn that it replaces."""
        self.draft = ""
        """What the input line starts with."""
        self.result: dict[str, Any] = {}
        """The latest answer's; empty while there is none."""
        self.thinking = thinking.shown(options.thinking)
        """Whether what the model thinks is shown."""
        self.results: list[dict[str, Any]] = []
        """Results of calls, as messages, that go with the next message."""
        self._open: list[dict[str, Any]] = []  # the calls of the last answer; `results` are those of the first of them
        self.over = False
        self._remembered = ""  # the model of the conversation that is continued
        self._mode = ""  # of the next answer, and of the last one
        self._truncated = 0  # turns that the model no longer sees, as far as the user was told
        self._console = console()

    def greet(self) -> None:
        """Show where we are. Raises SessionNotFound for -c where there is no conversation."""
        info, turns = self.look()
        if info is None and self.session == LAST:
            raise SessionNotFound("there is no conversation yet; `threadrunner chat` begins one")
        if info is None:
            self.say("a new conversation; /help shows the commands")
            return
        self.session, self._remembered, self._mode = info["name"], info["model"] or "", info["mode"] or ""
        so_far = render.counted(info["turns"], "turn")
        self.say(f"{info['name']}: {so_far} so far, with {info['model']}; /help shows the commands")
        for turn in turns:
            self._show(turn)

    def _show(self, turn: dict[str, Any]) -> None:
        for result in turn.get("tool_results", ()):
            self.say(f"result of {result['tool_call_id']}: {result['content']}")
        if turn["prompt"] or turn.get("pictures"):
            self.say(f"> {render.with_pictures(turn['prompt'], turn.get('pictures', 0))}")
        if turn["answer"]:
            view = AnswerView(self._console)
            view.write(turn["answer"])
            view.finish()
        self._calls(_made(turn))

    def say(self, text: str) -> None:
        self._console.print(render.printable(text), style="dim", markup=False)

    def fail(self, error: Exception) -> None:
        text = error.message if isinstance(error, ApiError) else str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{error.strerror}: {error.filename}"
        self._console.print(render.printable(text), style="red", markup=False)

    @property
    def model(self) -> str:
        """The next answer's, by the name that chose it; empty: the default one."""
        if chosen := self.settings.get("model"):
            return str(chosen)
        if (model := self.result.get("model")) or (model := self._remembered):
            return str(model)
        return str(self.always.get("default_model") or "")

    def take_draft(self) -> str:
        draft, self.draft = self.draft, ""
        return draft

    def go_to(self, name: str) -> None:
        """Another conversation, new or old; of what the next turn changes only /memory is kept."""
        self.replace_none()
        self.session, self.result, self._truncated, self._remembered, self._mode = name, {}, 0, "", ""
        self.results, self._open = [], []
        self.settings = {key: value for key, value in self.settings.items() if key == "memory"}
        self.greet()

    def replace_none(self) -> None:
        """The next turn takes no other's place after all: an edit was left, a retry refused."""
        if self.replace:
            self.replace, self.keeps_pictures, self.results = 0, False, []

    def turn(self, message: str, images: Sequence[dict[str, Any]] = ()) -> None:
        """Ask, and show the answer as it arrives; `message` may be empty where there are results.
        Raises ApiError, UsageError; KeyboardInterrupt, which stops it."""
        self._mode = str(self.settings.get("mode", self._mode))
        params = {**self.always, **self.settings, **self._said(message, images), "priority": "interactive"}
        if self.replace:
            params["replace"] = self.replace
            if not self.keeps_pictures:
                params.setdefault("images", [])
        self.keeps_pictures = False
        reply = request.Reply("generate", {**params, "session": self.session, **request.keep_alive()})
        view = AnswerView(self._console)
        thought = thinking.Thought(self.thinking, reply.progress)
        signals.before_end(reply.progress.clear, thought.break_off)
        try:
            for token in reply:
                if "kind" in token:
                    view.finish()  # it may think again in the midst of an answer
                    thought.piece(token)
                else:
                    thought.end()
                    view.write(token["text"])
            thought.end()
            view.finish()
            self._answered(reply.result)
        finally:
            thought.break_off()
            view.finish()
            if reply.begun:
                self.settings, self.replace, self.results = {}, 0, []
            if self.session == NEW and self.result == {}:
                self.session = self._name_without_answer()

    def _said(self, message: str, images: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not self.results:
            return {"prompt": message, **({"images": images} if images else {})}
        parts = [*({"type": "image", **image} for image in images), {"type": "text", "text": message}]
        said = {"role": "user", "content": parts if images else message}
        return {"messages": self.results + ([said] if message else [])}

    def corrected(self, turn: dict[str, Any], how: str) -> None:
        """The person was not content with this turn's answer."""
        if turn.get("model"):
            corrections.count(turn["model"], self._mode, how)

    def take_up(self) -> None:
        """Show the calls of what is the last turn now, if it has some."""
        _, turns = self.look()
        self.results = []
        self._calls(_made(turns[-1]) if turns else [])

    def give(self, text: str) -> None:
        """The result of the first call that has none; with the last one's, the model is asked. Raises UsageError."""
        waiting = self._open[len(self.results) :]
        if not waiting:
            raise UsageError("no call waits for a result")
        self.results.append({"role": "tool", "tool_call_id": waiting[0]["id"], "content": text})
        if len(waiting) > 1:
            self.say(f"and of {tools.line(waiting[1])}?")
        else:
            self.turn("")

    def _calls(self, calls: list[dict[str, Any]]) -> None:
        """Show the calls of an answer; they wait for a result from now on."""
        made = {call["id"] for call in tools.events({"tool_calls": calls})}
        self._open = [call for call in calls if call["id"] in made]
        for call in calls:
            self.say(f"the model calls {tools.line(call)}")
        if self._open:
            self.say("/result TEXT says what came of it; any other message goes on without")

    def _answered(self, result: dict[str, Any]) -> None:
        self.session, self.result = result["session"], result
        corrections.count(result["model"], self._mode, "answers")
        self._calls(result.get("tool_calls", []))
        truncated = result.get("truncated_turns", 0)
        if truncated == self._truncated:
            result = {**result, "truncated_turns": 0}  # the user knows
        self._truncated = truncated
        render.notices(result)

    def _name_without_answer(self) -> str:
        """The name of a conversation whose first answer was stopped: it exists, with its prompt."""
        info, _ = self.look(LAST)
        return info["name"] if info is not None else NEW

    def look(self, name: str | None = None) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """The conversation and its last turn, if any; None where it has not begun."""
        name = name or self.session
        if name == NEW:
            return None, []
        try:
            return request.conversation(name, 1)
        except SessionNotFound:
            return None, []

    def last_turn(self) -> dict[str, Any]:
        """Raises UsageError where there is none."""
        _, turns = self.look()
        if not turns:
            raise UsageError("this conversation has no turn yet")
        return turns[-1]


def _made(turn: dict[str, Any]) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = turn.get("tool_calls", []) if turn["state"] == "done" else []
    return calls


def _settings(options: Namespace) -> dict[str, Any]:
    """The params that the command line gives."""
    given = {
        "system": options.system,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "mode": options.mode,
        "memory": options.memory or None,
        "tools": None if options.tools is None else tools.read(stdin.file(options.tools), options.tools),
        "reasoning": None if options.thinking is None else thinking.param(options.thinking),
    }
    target = request.target(options.model, options.backend, options.offline)
    return {
        **{name: value for name, value in given.items() if value is not None},
        **request.as_defaults(target, options.model, options.backend),
    }
