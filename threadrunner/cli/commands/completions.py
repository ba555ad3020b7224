"""completions: for bash, zsh and fish, and the manual page, from the same declarations that read the command line."""

from __future__ import annotations

import argparse

from threadrunner import exits
from threadrunner.cli import commands, render
from threadrunner.cli.arguments import Parser
from threadrunner.cli.flags import COMMANDS, FLAGS, REPEATABLE, SETTABLE

_WORDS = {
    "--tool-choice": ["auto", "none", "required"],
    "--thinking": ["show", "hide", "off"],
    "--set": [f"{name}=" for name in SETTABLE],
}
"""What a flag's value may begin with."""


def arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish", "man"], help="a shell; man: the manual page")


def run(options: argparse.Namespace) -> int:
    render.put(1, rendered(options.shell))
    return exits.OK


def rendered(kind: str) -> str:
    """The text for a shell, or the manual page. The wheel's build (.packaging) puts them into it, where there is only
    the standard library and shtab."""
    parser = _whole_parser()
    if kind == "man":
        from threadrunner.cli import manual

        return manual.page(_commands(parser))
    import shtab

    _complete_files(parser, shtab.FILE)
    return shtab.complete(parser, kind).rstrip("\n") + "\n"


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: command for name, command in subparsers.choices.items() if name in COMMANDS}


def _whole_parser() -> Parser:
    """All flags and commands in one tree."""
    parser = Parser(prog="threadrunner", add_help=False)
    for short, long, metavar, _, text in FLAGS:
        names = (short, long) if short else (long,)
        if metavar:
            action = "append" if long in REPEATABLE else "store"
            parser.add_argument(*names, metavar=metavar, action=action, help=text, choices=_WORDS.get(long))
        else:
            parser.add_argument(*names, action="store_true", help=text)
    subparsers = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    for name, summary in COMMANDS.items():
        commands.import_command(name).arguments(subparsers.add_parser(name, help=summary, description=summary))
    return parser


def _complete_files(parser: argparse.ArgumentParser, how: object) -> None:
    """A model may be a file too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, how)
        elif action.metavar in ("FILE", "MODEL"):
            action.complete = how  # type: ignore[attr-defined]
