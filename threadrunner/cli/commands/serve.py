"""serve: the daemon's models over HTTP, in the dialects that other programs speak, and a page to talk with them."""

from __future__ import annotations

import argparse

from threadrunner.cli.arguments import COUNT, Parser


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen; any but this machine's own needs --key"
    )
    parser.add_argument("--port", type=COUNT, default=8765, metavar="PORT", help="8765; 0: one that is free")
    parser.add_argument("--socket", metavar="PATH", help="listen on a Unix socket instead, which only you can open")
    parser.add_argument(
        "--key", metavar="KEY", help="ask clients for this key; auto: one that is made and kept in serve.key"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page that may ask, by its origin; may be repeated",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that this machine is reached by; may be repeated",
    )


def run(options: argparse.Namespace) -> int:
    from threadrunner.http import serve

    return serve.run(
        serve.ServeOptions(
            options.host, options.port, options.socket, options.key, options.allow_origin, options.allow_host
        )
    )
