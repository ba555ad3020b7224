"""Completions for bash, zsh and fish, from the same parser that reads the command line."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import arguments, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def run(options: Namespace) -> int:
    import shtab

    render.put(1, shtab.complete(arguments.whole_parser(), options.shell).rstrip("\n") + "\n")
    return exits.OK
