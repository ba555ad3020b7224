"""load: have a model ready before its first prompt."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import render, request
from threadrunner.cli.arguments import Parser, add_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def arguments(parser: Parser) -> None:
    add_model(parser)


def run(options: Namespace) -> int:
    params = {**request.target(options.model, options.backend, options.offline), **request.keep_alive()}
    loaded = request.ask("models.load", params)
    seconds = loaded["load_ms"] / 1e3
    context = f", {loaded['context']} tokens of context" if loaded["context"] else ""  # another machine's is not known
    render.out(f"{loaded['model']}: ready in {seconds:.1f} s{context}\n")
    return exits.OK
