"""serve: the daemon's models over HTTP, in the dialects that other programs speak, and a page to talk with them."""

from __future__ import annotations

import argparse

from threadrunner.cli.arguments import PORT, Actions, Parser, check_log_level, converter
from threadrunner.cli.flags import DAY, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REPEATED = "may be repeated"


def arguments(parser: Parser) -> None:
    from threadrunner.cli.commands import serve_keys

    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen; any but this machine's own needs --key"
    )
    parser.add_argument("--port", type=PORT, default=8765, metavar="PORT", help="8765; 0: one that is free")
    parser.add_argument("--socket", metavar="PATH", help="listen on a Unix socket instead, which only you can open")
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="ask clients for this key; auto: one that is made and kept in serve.key; file:PATH or env:NAME",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="speak HTTPS, with the certificates of this PEM file")
    parser.add_argument("--tls-key", metavar="FILE", help="their key; by itself in the same file")
    _repeated(parser, "--allow-origin", "URL", "a web page that may ask, by its origin", converter(_origin))
    _repeated(parser, "--allow-host", "NAME", "a name that this machine is reached by")
    _repeated(parser, "--trusted-proxy", "ADDRESS", "a reverse proxy that is believed, or a network; unix: of --socket")
    parser.add_argument(
        "--base-path", type=converter(_base), default="", metavar="PATH", help="where a proxy has it: /llm"
    )
    parser.add_argument("--audit", metavar="FILE", help="add a line for each request: who, what model, tokens, status")
    parser.add_argument(
        "--drain",
        type=converter(_drain),
        default=None,
        metavar="SECONDS",
        help="for answers to finish after SIGTERM; 25",
    )
    actions = Actions(parser, required=False)
    serve_keys.arguments(actions.add("keys", "keys with names and limits, for a team", run))


def _repeated(parser: Parser, flag: str, metavar: str, help: str, convert: Callable[[str], str] = str) -> None:
    parser.add_argument(flag, action="append", default=[], metavar=metavar, type=convert, help=f"{help}; {_REPEATED}")


def _origin(text: str) -> str:
    """As a browser sends it: anything else would allow no page, and nothing would say so."""
    origin = text.removesuffix("/").lower()
    scheme, _, host = origin.partition("://")
    if origin != "null" and (not scheme or not host or not host.isascii() or set(origin) & set(' /?#*"<>') != {"/"}):
        raise ValueError(f"expected an origin such as https://chat.example, got {text[:80]!r}")
    if origin.count("/") > 2:
        raise ValueError(f"an origin has no path: {scheme}://{host.partition('/')[0]}, not {text[:80]!r}")
    return origin


def _base(text: str) -> str:
    path = text.rstrip("/")
    if path and (not path.startswith("/") or "//" in path or not path.isascii() or set(path) & set(' ?#%"<>')):
        raise ValueError(f"expected a path such as /llm, got {text[:40]!r}")
    return path


def _drain(text: str) -> float:
    seconds = number(text)
    if not 0 <= seconds <= DAY:
        raise ValueError(f"expected 0 to {DAY} seconds, got {text[:40]}")
    return seconds


def run(options: argparse.Namespace) -> int:
    if "run_action" in options:
        code: int = options.run_action(options)
        return code
    check_log_level("THREADRUNNER_HTTP_LOG")
    from threadrunner.http import serve

    return serve.run(
        serve.ServeOptions(
            options.host,
            options.port,
            options.socket,
            options.key,
            options.allow_origin,
            options.allow_host,
            options.tls_cert,
            options.tls_key,
            options.trusted_proxy,
            options.base_path,
            options.audit,
            serve.DRAIN if options.drain is None else options.drain,
        )
    )
