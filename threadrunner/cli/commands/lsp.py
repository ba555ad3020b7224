"""lsp: the language server on standard input and output, or one suggestion for the text on standard input."""

from __future__ import annotations

import argparse

from threadrunner.cli.arguments import Parser, check_log_level
from threadrunner.cli.flags import whole_number


def arguments(parser: Parser) -> None:
    parser.add_argument("--stdio", action="store_true", help=argparse.SUPPRESS)  # as some editors start every server
    at = "print one suggestion for the text on stdin, at this position; both count from 1, columns in bytes"
    parser.add_argument("--at", metavar="LINE:COLUMN", type=_position, help=at)
    parser.add_argument("--path", default="", metavar="FILE", help="with --at: the file that the text is from")
    parser.add_argument("--language", default="", metavar="NAME", help="with --at: its language")
    parser.add_argument("-m", "--model", metavar="MODEL", help="with --at: the model that completes it")


def run(options: argparse.Namespace) -> int:
    if options.at:
        from threadrunner.lsp import once

        return once.run(options.at, options.path, options.language, options.model)
    check_log_level("THREADRUNNER_LSP_LOG")
    from threadrunner.lsp import server

    return server.run()


def _position(text: str) -> tuple[int, int]:
    line, colon, column = text.partition(":")
    try:
        if colon:
            return whole_number(line), whole_number(column)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a line and a column, e.g. 3:1, got {text!r}")
