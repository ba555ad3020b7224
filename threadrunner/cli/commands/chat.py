"""chat: a conversation at the terminal."""

from __future__ import annotations

import os

from threadrunner.cli.arguments import COUNT, NUMBER, Parser, add_source, converter
from threadrunner.cli.flags import UsageError, thinking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def arguments(parser: Parser) -> None:
    parser.add_argument("session", nargs="?", metavar="NAME", help="a conversation to continue, or a new one's name")
    parser.add_argument("-c", "--continue", dest="last", action="store_true", help="continue the one used last")
    parser.add_argument("-m", "--model", metavar="MODEL", help="a model's name or a GGUF file")
    parser.add_argument("-s", "--system", metavar="TEXT", help="system prompt")
    parser.add_argument("-t", "--temperature", metavar="T", type=NUMBER, help="0: likeliest answer, 1: varied")
    parser.add_argument("-n", "--max-tokens", metavar="N", type=COUNT, help="end each answer after N tokens")
    parser.add_argument("--mode", metavar="NAME", help="a preset, see `threadrunner modes`")
    parser.add_argument("--memory", action="store_true", help="add relevant notes and past turns to each prompt")
    parser.add_argument("--tools", metavar="FILE", help="functions that the model may ask to call, as JSON")
    parser.add_argument("--thinking", metavar="HOW", type=converter(thinking), help="show, hide, or off: do without")
    add_source(parser)


def run(options: Namespace) -> int:
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError('chat needs a terminal; in a script use `threadrunner -S NAME "…"` for each turn')
    from threadrunner.cli.chat import loop  # only now: it takes 0.2 s

    return loop.run(options)
