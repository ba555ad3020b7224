"""daemon: the daemon itself, in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import os

from threadrunner.cli.arguments import COUNT, Parser


def arguments(parser: Parser) -> None:
    parser.add_argument("--ready-fd", type=COUNT, metavar="FD", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    from threadrunner.daemon import inherited

    ready_fd = options.ready_fd
    inherited.shed(of_a_shell=ready_fd is not None)
    waiting = None
    if ready_fd is not None and os.environ.get("THREADRUNNER_BACKEND") in (None, "", "llama"):
        from threadrunner.daemon.workers import launch

        with contextlib.suppress(OSError):  # the request that needs one will say why there is none
            waiting = launch.launch("llama")
    from threadrunner.daemon import app

    return app.run(ready_fd, waiting)
