"""remember: keep a note for prompts with --memory."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import render, request, stdin
from threadrunner.cli.arguments import Parser
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def arguments(parser: Parser) -> None:
    parser.add_argument("words", nargs="*", metavar="TEXT", help="the note; without it, standard input")


def run(options: Namespace) -> int:
    text = request.words_text(options.words) or stdin.read(expected=True).strip()
    if not text:
        raise UsageError('there is nothing to remember; type `threadrunner remember "…"`, or pipe a text in')
    note = request.ask("memory.add", {"text": text})
    render.out(f"{note['id']}\n")
    return exits.OK
