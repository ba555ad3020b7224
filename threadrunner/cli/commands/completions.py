"""Completions for bash, zsh and fish, from the same parser that reads the command line."""

from __future__ import annotations

import argparse

from threadrunner import exits
from threadrunner.cli import arguments, render


def run(options: argparse.Namespace) -> int:
    import shtab

    parser = arguments.whole_parser()
    _complete_files(parser, shtab.FILE)
    render.put(1, shtab.complete(parser, options.shell).rstrip("\n") + "\n")
    return exits.OK


def _complete_files(parser: argparse.ArgumentParser, how: object) -> None:
    """A model may be a file too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, how)
        elif action.metavar in ("FILE", "MODEL"):
            action.complete = how  # type: ignore[attr-defined]
