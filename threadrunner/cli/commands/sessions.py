"""sessions, remember, memory, modes: what is kept, for people (tables, text) and for programs (--json)."""

from __future__ import annotations

import os
import time

from threadrunner import exits
from threadrunner.cli import prompt, render, stdin, transcript
from threadrunner.cli.flags import UsageError
from threadrunner.client import autostart
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import Any

_IMPORT_CHARS = 1 << 20  # of one `sessions.import`: a request holds 16 MiB, and JSON may take six bytes a character


def run(name: str, options: Namespace) -> int:
    if name == "remember":
        return remember(options)
    if name == "modes":
        return modes(options)
    table = _MEMORY if name == "memory" else _SESSIONS
    return table[options.action](options)


def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of a request to a daemon that is started if need be. Raises ApiError."""
    for event, value in autostart.request(method, params):
        if event == "result":
            return value
    raise AssertionError("a request ends with a result or raises")


# Conversations


def listing(options: Namespace) -> int:
    found = ask("sessions.list", {})
    if options.json:
        return _json(found)
    if not found["sessions"]:
        render.say('there is no conversation yet; `threadrunner -S NAME "…"` begins one')
        return exits.OK
    rows = [("NAME", "TURNS", "USED", "MODEL", "SYSTEM PROMPT")]
    for session in found["sessions"]:
        system = one_line(session["system"] or "")
        rows.append((session["name"], str(session["turns"]), _ago(session["used"]), session["model"] or "", system))
    _put(render.table(rows))
    if found["total"] > len(found["sessions"]):
        render.say(f"{found['total'] - len(found['sessions'])} older ones are not shown")
    return exits.OK


def show(options: Namespace) -> int:
    session, turns = whole(options.session, options.turns)
    if options.json:
        return _json({"session": session, "turns": turns})
    facts = [counted(session["turns"]), f"begun {_date(session['created'])}", session["model"] or "no model yet"]
    facts += [f"{name} {value}" for name, value in session["params"].items()]
    lines = [f"{session['name']}: {', '.join(facts)}\n"]
    if session["forked_from"]:
        lines.append(f"copied from {session['forked_from']}\n")
    if session["system"]:
        lines.append(f"system prompt: {session['system']}\n")
    for turn in turns:
        unseen = "" if turn["in_window"] else ", not shown to the model any more"
        lines.append(f"\n[{turn['number']}] {_date(turn['began'])}{unseen}\n> {turn['prompt']}\n\n")
        if turn["answer"]:
            lines.append(f"{turn['answer']}\n")
        if (state := _STATES.get(turn["state"])) is not None:
            lines.append(f"({state}{': ' + turn['error'] if turn['error'] else ''})\n")
    _put("".join(lines))
    return exits.OK


_STATES = {
    "open": "being answered",
    "stopped": "stopped",
    "failed": "failed",
    "lost": "the answer was lost with the daemon",
}


def whole(name: str, last: int | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A conversation with all its turns, or the last so many, however many requests that takes."""
    params: dict[str, Any] = {"session": name}
    if last is not None:
        if last < 1:
            raise UsageError("-n: 1 or more turns are wanted")
        params["last"] = last
    shown = ask("sessions.show", params)
    turns = shown["turns"]
    while shown["more"]:
        shown = ask("sessions.show", {"session": shown["session"]["name"], "after": turns[-1]["number"]})
        turns += shown["turns"]
    return shown["session"], turns


def search(options: Namespace) -> int:
    params: dict[str, Any] = {"query": prompt.words_text(options.words)}
    if options.session is not None:
        params["session"] = options.session
    if options.limit is not None:
        params["limit"] = options.limit
    found = ask("sessions.search", params)
    if options.json:
        return _json(found)
    rows = [(hit["session"], f"[{hit['turn']}]", one_line(hit["snippet"], 100)) for hit in found["hits"]]
    _put(render.table([("NAME", "TURN", "WHERE"), *rows]) if rows else "")
    if not rows:
        render.say("found nothing; all words must be in one turn, wor* finds what begins so")
    return exits.OK


def rename(options: Namespace) -> int:
    ask("sessions.rename", {"session": options.session, "name": options.name})
    return exits.OK


def fork(options: Namespace) -> int:
    params = {"session": options.session, "name": options.name, "turns": options.turns}
    made = ask("sessions.fork", {name: value for name, value in params.items() if value is not None})
    _put(f"{made['name']}\n")
    return exits.OK


def undo(options: Namespace) -> int:
    if options.turns < 1:
        raise UsageError("-n: 1 or more turns are wanted")
    for text in ask("sessions.undo", {"session": options.session, "turns": options.turns})["prompts"]:
        _put(f"deleted: {one_line(text, 100)}\n")
    return exits.OK


def delete(options: Namespace) -> int:
    for name in options.sessions:
        ask("sessions.delete", {"session": name})
    return exits.OK


def export(options: Namespace) -> int:
    session, turns = whole(options.session)
    _put(transcript.to_json(session, turns) if options.json else transcript.to_markdown(session, turns))
    return exits.OK


def take_in(options: Namespace) -> int:
    if options.file == "-":
        text, name = stdin.read(expected=True), "imported"
    else:
        name = os.path.splitext(os.path.basename(options.file))[0]
        try:
            with open(options.file, "rb") as file:
                text = stdin.decode(file.read(), options.file)
        except OSError as error:
            raise UsageError(f"cannot read {options.file}: {error.strerror}") from None
    params = transcript.read(text, name)
    if options.name is not None:
        params["name"] = options.name
    turns = params.pop("turns")
    made: dict[str, Any] = {}
    for number, some in enumerate(_portions(turns)):
        first = params if not number else {"name": params["name"], "append": True}
        made = ask("sessions.import", {**first, "turns": some})
    _put(f"{made['name']}: {counted(made['turns'])}\n")
    return exits.OK


def _portions(turns: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The turns in requests that are not too long."""
    portions: list[list[dict[str, Any]]] = [[]]
    size = 0
    for turn in turns:
        size += len(turn["prompt"]) + len(turn.get("answer") or "")
        if portions[-1] and size > _IMPORT_CHARS:
            portions.append([])
            size = 0
        portions[-1].append(turn)
    return portions


# Modes and memory


def modes(options: Namespace) -> int:
    found = ask("modes.list", {})
    if options.json:
        return _json(found)
    rows = [("NAME", "MODEL", "SETS", "FOR")]
    for mode in found["modes"]:
        sets = [name for name in ("system", "template", "memory") if mode[name]] + sorted(mode["params"])
        rows.append((mode["name"], mode["model"] or "", " ".join(sets), mode["description"]))
    _put(render.table(rows))
    return exits.OK


def remember(options: Namespace) -> int:
    text = prompt.words_text(options.words) or stdin.read(expected=True).strip()
    if not text:
        raise UsageError('there is nothing to remember; say `threadrunner remember "…"`, or pipe a text in')
    note = ask("memory.add", {"text": text})
    _put(f"{note['id']}\n")
    return exits.OK


def notes(options: Namespace) -> int:
    found = ask("memory.list", {})
    if options.json:
        return _json(found)
    rows = [(str(note["id"]), _date(note["created"]), one_line(note["text"], 120)) for note in found["notes"]]
    _put(render.table([("NUMBER", "SINCE", "NOTE"), *rows]) if rows else "")
    if not rows:
        render.say('nothing is remembered; `threadrunner remember "…"` changes that')
    return exits.OK


def recall(options: Namespace) -> int:
    params: dict[str, Any] = {"query": prompt.words_text(options.words)}
    if options.limit is not None:
        params["limit"] = options.limit
    found = ask("memory.search", params)
    if options.json:
        return _json(found)
    rows = []
    for source in found["sources"]:
        where = f"note {source['id']}" if source["kind"] == "note" else f"{source['session']} [{source['id']}]"
        rows.append((where, f"{source['score']:.3f}", one_line(source["text"], 100)))
    _put(render.table([("FROM", "SCORE", "PASSAGE"), *rows]) if rows else "")
    if not rows:
        render.say("nothing that is remembered bears on this")
    return exits.OK


def forget(options: Namespace) -> int:
    for id in options.ids:
        note = ask("memory.delete", {"note": id})
        _put(f"forgotten: {one_line(note['text'], 100)}\n")
    return exits.OK


_SESSIONS: dict[str, Callable[[Namespace], int]] = {
    "list": listing,
    "show": show,
    "search": search,
    "rename": rename,
    "fork": fork,
    "undo": undo,
    "export": export,
    "import": take_in,
    "rm": delete,
}
_MEMORY: dict[str, Callable[[Namespace], int]] = {"list": notes, "search": recall, "rm": forget}


def _put(text: str) -> None:
    render.put(1, render.printable(text) if os.isatty(1) else text)


def _json(value: dict[str, Any]) -> int:
    _put(messages.encode(value).decode() + "\n")
    return exits.OK


def counted(turns: int) -> str:
    return f"{turns} turn{'' if turns == 1 else 's'}"


def one_line(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _ago(seconds: float) -> str:
    passed = max(0.0, time.time() - seconds)
    return _date(seconds) if passed > 86400 else f"{render.duration(passed)} ago"
