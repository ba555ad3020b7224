"""daemon: the daemon itself, in the foreground."""

from __future__ import annotations

import argparse

from threadrunner.cli.arguments import COUNT, Parser


def arguments(parser: Parser) -> None:
    parser.add_argument("--ready-fd", type=COUNT, metavar="FD", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    from threadrunner.daemon import begin

    return begin.run(options.ready_fd)
