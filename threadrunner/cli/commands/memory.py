"""memory list, search, rm: the notes, and what a prompt with --memory would be given."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import render, request
from threadrunner.cli.arguments import COUNT, Actions, Parser, add_json, run_action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    add_json(actions.add("list", "the notes, the newest first", listing))
    found = actions.add("search", "the notes and past turns that are relevant to a text", search)
    found.add_argument("words", nargs="+", metavar="WORD")
    found.add_argument("-n", "--limit", metavar="N", type=COUNT, help="at most N passages")
    add_json(found)
    deleted = actions.add("rm", "delete notes, by the numbers that `memory list` shows", delete)
    deleted.add_argument("ids", nargs="+", metavar="NUMBER", type=COUNT)


def listing(options: Namespace) -> int:
    found = request.ask("memory.list", {})
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    rows = [
        (str(note["id"]), render.date(note["created"]), render.one_line(note["text"], 120)) for note in found["notes"]
    ]
    if rows:
        render.out(render.table([("NUMBER", "SINCE", "NOTE"), *rows]))
    else:
        render.say('nothing is remembered; `threadrunner remember "…"` changes that')
    return exits.OK


def search(options: Namespace) -> int:
    params: dict[str, Any] = {"query": request.words_text(options.words)}
    if options.limit is not None:
        params["limit"] = options.limit
    found = request.ask("memory.search", params)
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    rows = []
    for source in found["sources"]:
        where = f"note {source['id']}" if source["kind"] == "note" else f"{source['session']} [{source['id']}]"
        rows.append((where, f"{source['score']:.3f}", render.one_line(source["text"], 100)))
    if rows:
        render.out(render.table([("FROM", "SCORE", "PASSAGE"), *rows]))
    else:
        render.say("nothing that is remembered is relevant to this")
    return exits.OK


def delete(options: Namespace) -> int:
    for id in options.ids:
        note = request.ask("memory.delete", {"note": id})
        render.out(f"forgotten: {render.one_line(note['text'], 100)}\n")
    return exits.OK
