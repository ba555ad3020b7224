"""The chat's commands, such as /model: each declared once, with its help and its function."""

from __future__ import annotations

import os

from threadrunner.cli import render, request, thinking, transcript
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from threadrunner.cli.chat.conversation import Chat

_NEXT = "from the next answer on"


def run(chat: Chat, line: str) -> None:
    """`/name argument`. Raises UsageError, ApiError, OSError."""
    name, _, argument = line.partition(" ")
    if name not in COMMANDS:
        raise UsageError(
            f"there is no {name}; /help shows the commands. To send a message that begins like that: /{name}"
        )
    COMMANDS[name][1](chat, argument.strip())


def _help(chat: Chat, _: str) -> None:
    width = max(map(len, COMMANDS))
    for name, (help, _run) in COMMANDS.items():
        chat.say(f"{name:{width}}  {help}")
    chat.say("Enter sends, Alt-Enter begins a new line, @path attaches a file, Ctrl-C stops an answer.")


def _model(chat: Chat, name: str) -> None:
    if not name:
        info, _ = chat.look()
        model = chat.settings.get("model") or (info and info["model"]) or chat.always.get("default_model")
        chat.say(f"{model or 'the default model'}; `threadrunner models list` shows the others")
        return
    params = request.target(name, chat.settings.get("backend"))
    request.ask("models.load", params)
    chat.settings["model"] = params["model"]
    chat.say(f"the next answer is {name}'s")


def _system(chat: Chat, text: str) -> None:
    if not text:
        info, _ = chat.look()
        system = chat.settings.get("system", info and info["system"])
        chat.say(system or "no system prompt")
        return
    chat.settings["system"] = "" if text == "-" else text
    chat.say("no system prompt from now on" if text == "-" else _NEXT)


def _session(chat: Chat, name: str) -> None:
    if name:
        if name[0] in "-@" or not name.isprintable():
            raise UsageError(f"{name!r} cannot name a conversation: the first character must not be - or @")
        chat.go_to(name)
        return
    info, _ = chat.look()
    if info is None:
        chat.say("not begun yet: the first message names it, or /session NAME")
    else:
        so_far = render.counted(info["turns"], "turn")
        chat.say(f"{info['name']}: {so_far}; `threadrunner sessions list` shows the others")


def _mode(chat: Chat, name: str) -> None:
    modes = {mode["name"]: mode for mode in request.ask("modes.list", {})["modes"]}
    if not name:
        for mode in modes.values():
            chat.say(f"{mode['name']}: {mode['description']}")
    elif name == "-":
        chat.settings["mode"] = ""
        chat.say("no mode from now on")
    elif name in modes:
        chat.settings["mode"] = name
        chat.say(_NEXT)
    else:
        raise UsageError(f"there is no mode {name}; there are {', '.join(modes)}")


def _memory(chat: Chat, state: str) -> None:
    if state not in ("on", "off"):
        raise UsageError("/memory on, or /memory off")
    chat.settings["memory"] = state == "on"
    chat.say(_NEXT)


def _thinking(chat: Chat, how: str) -> None:
    if how not in ("show", "hide", "off"):
        raise UsageError("/thinking show, /thinking hide, or /thinking off: the model does without")
    chat.thinking = how == "show"
    chat.settings["reasoning"] = thinking.param(how)
    chat.say(_NEXT)


def _result(chat: Chat, text: str) -> None:
    chat.give(text)


def _retry(chat: Chat, _: str) -> None:
    turn = chat.last_turn()
    chat.replace, chat.results, chat.keeps_pictures = 1, _results(turn), True
    chat.corrected(turn, "retried")
    try:
        chat.turn(turn["prompt"])
    finally:
        chat.replace_none()


def _results(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that a turn began with, as messages, for a turn in its place."""
    return [{"role": "tool", **result} for result in turn.get("tool_results", ())]


def _edit(chat: Chat, _: str) -> None:
    turn = chat.last_turn()
    chat.draft = turn["prompt"]
    chat.replace, chat.results, chat.keeps_pictures = 1, _results(turn), True
    chat.corrected(turn, "edited")
    chat.say("change it and press Enter; without any text the old one is kept")


def _undo(chat: Chat, _: str) -> None:
    turn = chat.last_turn()
    (text,) = request.ask("sessions.undo", {"session": chat.session})["prompts"]
    chat.replace_none()  # after an /edit; that turn is gone
    chat.corrected(turn, "undone")
    chat.say(f"deleted: {render.one_line(text) or 'the results of calls'}")
    chat.take_up()


def _tokens(chat: Chat, _: str) -> None:
    if not chat.result:
        raise UsageError("there is no answer in this chat yet")
    chat.say(render.stats_line(chat.result))


def _save(chat: Chat, name: str) -> None:
    chat.last_turn()
    session, turns = request.conversation(chat.session)
    path = os.path.expanduser(name) if name else f"{session['name'].replace(os.sep, '-')}.md"
    write = transcript.to_json if path.endswith(".json") else transcript.to_markdown
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(write(session, turns))
    except FileExistsError:
        raise UsageError(f"{path} is there already; /save FILE takes another name") from None
    chat.say(f"written to {path}")


def _quit(chat: Chat, _: str) -> None:
    chat.over = True


COMMANDS: dict[str, tuple[str, Callable[[Chat, str], None]]] = {
    "/help": ("show this", _help),
    "/model": ("[NAME] continue with another model; without NAME, show it", _model),
    "/system": ("[TEXT] change the system prompt; - removes it", _system),
    "/session": ("[NAME] go to another conversation; without NAME, show this one", _session),
    "/mode": ("[NAME] take a preset; - takes none; without NAME, list them", _mode),
    "/memory": ("[on|off] add relevant notes and past turns to each prompt", _memory),
    "/thinking": ("show|hide|off what the model thinks; off: it does without", _thinking),
    "/result": ("TEXT what came of the call that the model has asked for", _result),
    "/retry": ("answer the last prompt again", _retry),
    "/edit": ("change the last prompt", _edit),
    "/undo": ("delete the last turn", _undo),
    "/tokens": ("show the tokens and times of the last turn", _tokens),
    "/save": ("[FILE] write the conversation, as Markdown, or as JSON for FILE.json", _save),
    "/quit": ("end; so does Ctrl-D. The conversation is kept", _quit),
}
"""Name to help and function."""
