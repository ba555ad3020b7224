"""`threadrunner …`: which command it is, and the exit code of whatever comes of it.

Modules are imported where they are needed: a prompt pays only for its own.
"""

from __future__ import annotations

import os
import sys

from threadrunner.cli import ends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from threadrunner.api.errors import ApiError


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("daemon", "worker"):
        return _process(argv[0], argv[1:])
    ends.install()
    _open_standard_files()
    from threadrunner import exits
    from threadrunner.api.errors import ApiError
    from threadrunner.cli import arguments, render

    try:
        return _run(argv)
    except arguments.UsageError as error:
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
    """The daemon and the worker: other programs that share our name, with their own way to end."""
    from threadrunner import exits
    from threadrunner.cli import arguments

    try:
        options = arguments.command_arguments(name, argv)
    except arguments.UsageError as error:
        sys.stderr.write(f"threadrunner: {error}\n")
        return exits.USAGE
    if name == "daemon":
        from threadrunner.daemon import app

        return app.run(options.ready_fd)
    from threadrunner.worker import loop

    return loop.run(options.fd)


def _run(argv: list[str]) -> int:
    from threadrunner import exits
    from threadrunner.cli import arguments, render

    first = argv[0] if argv else ""
    if first in arguments.LATER:
        raise arguments.UsageError(
            f"`threadrunner {first}` is not in this version\nIf that was to be a prompt: threadrunner -- {first} …"
        )
    if first in arguments.COMMANDS:
        return _command(first, arguments.command_arguments(first, argv[1:]))
    options = arguments.prompt_arguments(argv)
    if options.help or options.version:
        render.put(1, arguments.help_text() if options.help else arguments.version_text())
        return exits.OK
    if not options.words and os.isatty(0):
        raise arguments.UsageError(arguments.NO_PROMPT)
    if options.words and not options.forced and options.words[0] in (*arguments.COMMANDS, *arguments.LATER):
        raise arguments.UsageError(
            f"{options.words[0]!r} is a command and comes first, before its flags: threadrunner {options.words[0]} …\n"
            f"If that was to be a prompt, put -- before it."
        )
    from threadrunner.cli import prompt

    return prompt.run(options)


def _command(name: str, options: Namespace) -> int:
    if name == "logs":
        from threadrunner.cli import logs

        return logs.run(options)
    if name == "doctor":
        from threadrunner.cli import doctor

        return doctor.run(options)
    if name == "completions":
        from threadrunner.cli import completions

        return completions.run(options)
    from threadrunner.cli import admin

    return admin.run(name, options)


def _advice(error: ApiError) -> str:
    """The daemon speaks of members of params, the user knows them as flags."""
    text = error.message
    if error.kind == "InvalidParams":
        for name in ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "timeout", "model", "backend"):
            text = text.replace(f"`$.{name}`", f"--{name.replace('_', '-')}")
    return text or f"the daemon answered with error {error.code} ({error.kind}) and no text; see `threadrunner logs`"


def _open_standard_files() -> None:
    """A closed standard file (`>&-`) leaves its number to the next file opened: the answer would go to the socket."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
