"""What argparse does for us: the commands' own options, and help."""

from __future__ import annotations

import argparse

import threadrunner
from threadrunner.cli import render
from threadrunner.cli.flags import COMMANDS, FLAGS, UsageError, number, port, whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any, NoReturn

EXAMPLES = """\
  threadrunner "why is the sky blue?"           ask, and read the answer as it is written
  threadrunner -n 40 -t 0 name three colours    words need no quotes, flags go anywhere
  git diff | threadrunner "write a commit message"
                                                an argument about the piped text
  threadrunner < letter.txt > answer.txt        the piped text is the prompt
  threadrunner --schema colour.json "a colour"  an answer that fits a JSON Schema
  threadrunner -m ./model.gguf hello            any GGUF file
  threadrunner -S trip "and by train?"          a conversation that is kept; -c continues the last one
  git diff | threadrunner --mode commit         a preset: model, system prompt, sampling, template
  threadrunner -- status of the union           put -- before a prompt that starts with a command's name
"""
_CODES = "exit codes: 0 success, 1 unknown, 2 no daemon, 3 the model, 4 timeout, 64 usage, 130 interrupted\n"

_WIDTH = 100


class HelpShown(Exception):
    """--help was asked for and has been printed."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        # One is made for each option that is added; without a width each asks shutil, which is 2 ms to import.
        super().__init__(prog, max_help_position=28, width=_WIDTH)


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print and exit with 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nRun `{self.prog} --help` to see what there is.")

    def print_help(self, _file: object = None) -> None:
        render.put(1, self.format_help())

    def exit(self, _status: int = 0, _message: str | None = None) -> NoReturn:
        raise HelpShown


def check_log_level(variable: str) -> None:
    """Of a process that has its level in a variable of its own. Raises UsageError."""
    import logging
    import os

    known = logging.getLevelNamesMapping()
    if (level := os.environ.get(variable, "ERROR")).upper() not in known:
        raise UsageError(f"{variable}: {level[:40]!r} is not a level; use one of {', '.join(known).lower()}")


class Actions:
    """The actions of a command such as `threadrunner models`: each is declared once, with its help and its function."""

    def __init__(self, parser: Parser, required: bool = True) -> None:
        self._subparsers = parser.add_subparsers(required=required, parser_class=Parser)

    def add(self, name: str, help: str, run: Callable[[argparse.Namespace], int]) -> Parser:
        """The action's own parser, for its options. `run_action` calls `run` with them."""
        parser = self._subparsers.add_parser(name, help=help)
        parser.set_defaults(run_action=run)
        self._subparsers.metavar = "|".join(self._subparsers.choices)
        return parser


def run_action(options: argparse.Namespace) -> int:
    code: int = options.run_action(options)
    return code


def read(name: str, command: ModuleType, argv: list[str]) -> argparse.Namespace:
    """Options of the command `name`, which the module `command` declares. Raises UsageError, HelpShown."""
    parser = Parser(prog=f"threadrunner {name}", description=COMMANDS[name])
    command.arguments(parser)
    options, extra = parser.parse_known_args(argv)
    if extra:
        flag = next((word for word in extra if word.startswith("-") and word != "-"), None)
        if flag is not None:
            parser.error(f"there is no flag {flag} of `threadrunner {name}`")
        raise UsageError(
            f"`threadrunner {name}` does not take {extra[0]!r}\n"
            f"If that was to be a prompt: threadrunner -- {' '.join([name, *argv])}"
        )
    return options


def add_json(parser: Parser, help: str = "as JSON") -> None:
    parser.add_argument("--json", action="store_true", help=help)


def add_model(parser: Parser) -> None:
    """A model as the argument, and how it is found."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a name or a file; without it, the default")
    add_source(parser)


def add_source(parser: Parser) -> None:
    """With the model's name, the params of `request.target`."""
    parser.add_argument("--backend", metavar="NAME", help="what generates: llama, dummy or an installed plugin")
    parser.add_argument("--offline", action="store_true", help="never fetch a missing model, and ask no other machine")


def converter(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """`convert` as an argument's type, with the text of its ValueError, which argparse would replace by its own."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


COUNT = converter(whole_number)
NUMBER = converter(number)
PORT = converter(port)


def help_text() -> str:
    flags = []
    for short, long, metavar, _, text in FLAGS:
        names = f"{short}, {long}" if short else f"    {long}"
        flags.append((f"{names} {metavar}", text))
    return (
        "usage: threadrunner [flags] prompt …\n"
        "       … | threadrunner [flags] [prompt …]\n"
        "       threadrunner command …\n\n"
        "A local language model as a Unix tool: the answer goes to stdout, everything else to stderr.\n\n"
        f"flags, before or after the prompt:\n{_columns(flags)}\n"
        f"commands (each has --help):\n{_columns(COMMANDS.items())}\n"
        f"examples:\n{EXAMPLES}\n{_CODES}"
    )


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(left) for left, _ in rows)
    return "".join(f"  {left:{width}}  {right}\n" for left, right in rows)


def version_text() -> str:
    return f"threadrunner {threadrunner.__version__}\n"
