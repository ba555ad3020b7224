"""unload: free a model's memory. Starts no daemon."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import render, request
from threadrunner.cli.arguments import Parser
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def arguments(parser: Parser) -> None:
    parser.add_argument("model", nargs="?", metavar="NAME", help="a loaded model's name; without it, all of them")


def run(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        render.say("no daemon is running, so nothing is loaded")
        return exits.OK
    params = {} if options.model is None else {"model": request.model_name(options.model)}
    names = connection.call("models.unload", params)["models"]
    render.out("".join(f"{name}: unloaded\n" for name in names))
    if not names:
        render.say("nothing is loaded")
    return exits.OK
