"""stop: finish the running requests, then end the daemon; returns when it has gone. Starts no daemon."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import render
from threadrunner.cli.arguments import Parser
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def arguments(parser: Parser) -> None:
    pass


def run(_options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        render.say("no daemon is running")
    else:
        autostart.stop(connection, autostart.socket_path())
    return exits.OK
