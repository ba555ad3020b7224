"""`threadrunner …`: which command it is, and the exit code of whatever comes of it.

Modules are imported where they are needed: a prompt pays only for its own.
"""

from __future__ import annotations

import os
import sys

from threadrunner.cli import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from threadrunner.api.errors import ApiError


_NO_PROMPT = """\
there is no prompt. Say `threadrunner "why is the sky blue?"`, or pipe text into it.
Run `threadrunner --help` for flags, commands and examples."""


def main() -> int:
    argv = sys.argv[1:]
    if argv and argv[0] in ("daemon", "lsp"):
        return _process(argv[0], argv[1:])
    # Nothing of ours is in a buffer, and tidying up the interpreter would take 5 ms of every prompt.
    os._exit(run(argv))


def run(argv: list[str]) -> int:
    """The exit code of anything but the daemon and the language server."""
    signals.install()
    _open_standard_files()
    from threadrunner import exits
    from threadrunner.api.errors import ApiError
    from threadrunner.cli import flags, render

    try:
        return _run(argv)
    except flags.UsageError as error:
        render.say(str(error))
        return exits.USAGE
    except ApiError as error:
        render.say(_advice(error))
        return exits.for_kind(error.kind)
    except BrokenPipeError:  # `| head -1` has what it wants
        return exits.OK
    except OSError as error:
        render.say(f"{error.strerror}: {error.filename}" if error.filename else f"cannot write: {error.strerror}")
        return exits.UNKNOWN


def _process(name: str, argv: list[str]) -> int:
    """The daemon or the language server: other programs that share our name, with their own way to end."""
    from threadrunner import exits
    from threadrunner.cli import arguments, flags

    try:
        options = arguments.read(name, argv)
    except arguments.HelpShown:
        return exits.OK
    except flags.UsageError as error:
        sys.stderr.write(f"threadrunner: {error}\n")
        return exits.USAGE
    if name == "lsp":
        if options.at:
            from threadrunner.lsp import once

            return once.run(options.at, options.path, options.language, options.model)
        from threadrunner.lsp import server

        return server.run()
    from threadrunner.daemon import app

    return app.run(options.ready_fd)


def _run(argv: list[str]) -> int:
    from threadrunner import exits
    from threadrunner.cli import flags

    first = argv[0] if argv else ""
    if first in flags.COMMANDS:
        from threadrunner.cli import arguments

        try:
            parsed = arguments.read(first, argv[1:])
        except arguments.HelpShown:
            return exits.OK
        return _command(first, parsed)
    options = flags.read(argv)
    if options.help or options.version:
        from threadrunner.cli import arguments, render

        render.put(1, arguments.help_text() if options.help else arguments.version_text())
        return exits.OK
    if not options.words and os.isatty(0):
        raise flags.UsageError(_NO_PROMPT)
    if options.words and not options.forced and options.words[0] in flags.COMMANDS:
        raise flags.UsageError(
            f"{options.words[0]!r} is a command and comes first, before its flags: threadrunner {options.words[0]} …\n"
            "If that was to be a prompt, put -- before it."
        )
    from threadrunner.cli import prompt

    return prompt.run(options)


def _command(name: str, options: Namespace) -> int:
    if name == "chat":
        from threadrunner.cli.chat import loop

        return loop.run(options)
    if name in ("sessions", "remember", "memory", "modes"):
        from threadrunner.cli.commands import sessions

        return sessions.run(name, options)
    if name == "logs":
        from threadrunner.cli.commands import logs

        return logs.run(options)
    if name == "doctor":
        from threadrunner.cli.commands import doctor

        return doctor.run(options)
    if name == "bench":
        from threadrunner.cli.commands import bench

        return bench.run(options)
    if name == "completions":
        from threadrunner.cli.commands import completions

        return completions.run(options)
    if name == "models":
        from threadrunner.cli.commands import models

        return models.run(options)
    if name == "status":
        from threadrunner.cli.commands import status

        return status.run(options)
    if name == "service":
        from threadrunner.cli.commands import service

        return service.run(options)
    from threadrunner.cli import admin

    return admin.run(name, options)


def _advice(error: ApiError) -> str:
    """The daemon speaks of members of params, the user knows them as flags."""
    text = error.message
    if error.kind == "InvalidParams":
        fault, at, place = text.partition(" - at `$.")
        if at:
            text = f"--{place.rstrip('`').replace('_', '-')}: {fault.removeprefix('generate: ')}"
    return text or f"the daemon answered with error {error.code} ({error.kind}) and no text; see `threadrunner logs`"


def _open_standard_files() -> None:
    """A closed standard file (`>&-`) leaves its number to the next file opened: the answer would go to the socket."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
