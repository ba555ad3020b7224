"""sessions list, show, search, rename, fork, undo, export, import, rm: the conversations that are kept, for people
(tables, text) and for programs (--json)."""

from __future__ import annotations

import os

from threadrunner import exits
from threadrunner.api.names import LAST
from threadrunner.cli import render, request, stdin, tools, transcript
from threadrunner.cli.arguments import COUNT, Actions, Parser, add_json, run_action
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

_IMPORT_CHARS = 1 << 20  # of one `sessions.import`: a request holds 16 MiB, and JSON may take six bytes a character
_STATES = {
    "open": "being answered",
    "stopped": "stopped",
    "failed": "failed",
    "lost": "the answer was lost with the daemon",
}

run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    add_json(actions.add("list", "the conversations, the last used first", listing))
    action = actions.add("show", "what was said in one", show)
    _add_name(action)
    action.add_argument("-n", "--turns", metavar="N", type=COUNT, help="only the last N turns")
    add_json(action)
    action = actions.add("search", "find words in all of them; wor* finds words that start with wor", search)
    action.add_argument("words", nargs="+", metavar="WORD")
    action.add_argument("-S", "--session", metavar="NAME", help="only in this one")
    action.add_argument("-n", "--limit", metavar="N", type=COUNT, help="at most N places")
    add_json(action)
    action = actions.add("rename", "give one another name", rename)
    action.add_argument("session", metavar="NAME")
    action.add_argument("name", metavar="NEW")
    action = actions.add("fork", "copy one, to continue in another direction", fork)
    action.add_argument("session", metavar="NAME")
    action.add_argument("name", nargs="?", metavar="NEW", help="without it, NAME and a number")
    action.add_argument("-n", "--turns", metavar="N", type=COUNT, help="only its first N turns")
    action = actions.add("undo", "delete the last turns of one", undo)
    action.add_argument("session", metavar="NAME")
    action.add_argument("-n", "--turns", metavar="N", type=COUNT, default=1, help="how many, without it one")
    action = actions.add("export", "write one to standard output, as Markdown or JSON", export)
    _add_name(action)
    add_json(action, "as JSON, with everything that is known of each turn")
    action = actions.add("import", "import one: our export, or a list of chat messages", import_)
    action.add_argument("file", metavar="FILE", help="Markdown or JSON; - is standard input")
    action.add_argument("--name", metavar="NAME", help="what to call it")
    action = actions.add("rm", "delete conversations for good", delete)
    action.add_argument("sessions", nargs="+", metavar="NAME")


def _add_name(parser: Parser) -> None:
    parser.add_argument("session", nargs="?", default=LAST, metavar="NAME", help="without it, the one used last")


def listing(options: Namespace) -> int:
    found = request.ask("sessions.list", {})
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    if not found["sessions"]:
        render.say('there is no conversation yet; `threadrunner -S NAME "…"` begins one')
        return exits.OK
    rows = [("NAME", "TURNS", "USED", "MODEL", "SYSTEM PROMPT")]
    for session in found["sessions"]:
        system = render.one_line(session["system"] or "")
        used = render.ago(session["used"])
        rows.append((session["name"], str(session["turns"]), used, session["model"] or "", system))
    render.out(render.table(rows))
    if found["total"] > len(found["sessions"]):
        render.say(f"{found['total'] - len(found['sessions'])} older ones are not shown")
    return exits.OK


def show(options: Namespace) -> int:
    session, turns = request.conversation(options.session, options.turns)
    if options.json:
        render.out(render.json_line({"session": session, "turns": turns}))
        return exits.OK
    facts = [render.counted(session["turns"], "turn"), f"begun {render.date(session['created'])}"]
    facts += [session["model"] or "no model yet", *(f"{name} {value}" for name, value in session["params"].items())]
    lines = [f"{session['name']}: {', '.join(facts)}\n"]
    if session["forked_from"]:
        lines.append(f"copied from {session['forked_from']}\n")
    if session["system"]:
        lines.append(f"system prompt: {session['system']}\n")
    if session.get("tools"):
        lines.append(f"tools: {', '.join(tool['function']['name'] for tool in session['tools'])}\n")
    render.out("".join([*lines, *map(_turn, turns)]))
    return exits.OK


def _turn(turn: dict[str, Any]) -> str:
    unseen = "" if turn["in_window"] else ", not shown to the model any more"
    text = f"\n[{turn['number']}] {render.date(turn['began'])}{unseen}\n"
    for result in turn.get("tool_results", ()):
        text += f"result of {result['tool_call_id']}: {result['content']}\n"
    if turn["prompt"] or not turn.get("tool_results"):
        text += f"> {render.with_pictures(turn['prompt'], turn.get('pictures', 0))}\n"
    if turn.get("reasoning"):
        text += "".join(f"\n| {line}" for line in turn["reasoning"].strip().splitlines()) + "\n"
    text += "\n"
    if turn["answer"]:
        text += f"{turn['answer']}\n"
    text += "".join(f"calls {tools.line(call)}\n" for call in turn.get("tool_calls", ()))
    if (state := _STATES.get(turn["state"])) is not None:
        text += f"({state}{': ' + turn['error'] if turn['error'] else ''})\n"
    return text


def search(options: Namespace) -> int:
    params: dict[str, Any] = {"query": request.words_text(options.words)}
    if options.session is not None:
        params["session"] = options.session
    if options.limit is not None:
        params["limit"] = options.limit
    found = request.ask("sessions.search", params)
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    rows = [(hit["session"], f"[{hit['turn']}]", render.one_line(hit["snippet"], 100)) for hit in found["hits"]]
    if rows:
        render.out(render.table([("NAME", "TURN", "WHERE"), *rows]))
    else:
        render.say("found nothing; all words must be in one turn, wor* finds words that start with wor")
    return exits.OK


def rename(options: Namespace) -> int:
    request.ask("sessions.rename", {"session": options.session, "name": options.name})
    return exits.OK


def fork(options: Namespace) -> int:
    params = {"session": options.session, "name": options.name, "turns": options.turns}
    made = request.ask("sessions.fork", {name: value for name, value in params.items() if value is not None})
    render.out(f"{made['name']}\n")
    return exits.OK


def undo(options: Namespace) -> int:
    if options.turns < 1:
        raise UsageError("-n: expected 1 or more turns")
    deleted = request.ask("sessions.undo", {"session": options.session, "turns": options.turns})["prompts"]
    if not deleted:
        render.say(f"{options.session} has no turn, so nothing was deleted")
    for text in deleted:
        render.out(f"deleted: {render.one_line(text, 100) or 'the results of calls'}\n")
    return exits.OK


def export(options: Namespace) -> int:
    session, turns = request.conversation(options.session)
    render.out(transcript.to_json(session, turns) if options.json else transcript.to_markdown(session, turns))
    return exits.OK


def import_(options: Namespace) -> int:
    if options.file == "-":
        text, name = stdin.read(expected=True), "imported"
    else:
        name = os.fsencode(os.path.splitext(os.path.basename(options.file))[0]).decode("utf-8", "replace")
        try:
            with open(os.path.expanduser(options.file), "rb") as file:
                text = stdin.decode(file.read(), options.file)
        except OSError as error:
            raise UsageError(f"cannot read {options.file}: {error.strerror}") from None
    params = transcript.read(text, name)
    if options.name is not None:
        params["name"] = options.name
    turns = params.pop("turns")
    made: dict[str, Any] = {}
    for number, portion in enumerate(_portions(turns)):
        first = params if not number else {"name": params["name"], "append": True}
        made = request.ask("sessions.import", {**first, "turns": portion})
    render.out(f"{made['name']}: {render.counted(made['turns'], 'turn')}\n")
    return exits.OK


def _portions(turns: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The turns, cut into requests of at most _IMPORT_CHARS, or one turn."""
    portions: list[list[dict[str, Any]]] = [[]]
    chars = 0
    for turn in turns:
        more = sum(len(text) for _, text in transcript.sections(turn))
        if portions[-1] and chars + more > _IMPORT_CHARS:
            portions.append([])
            chars = 0
        portions[-1].append(turn)
        chars += more
    return portions


def delete(options: Namespace) -> int:
    for name in options.sessions:
        request.ask("sessions.delete", {"session": name})
    return exits.OK
