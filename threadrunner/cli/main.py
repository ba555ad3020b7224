"""`threadrunner …`: which command it is, and the exit code of whatever comes of it.

Modules are imported where they are needed: a prompt pays only for its own.
"""

from __future__ import annotations

import os
import sys

from threadrunner.cli import flags, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threadrunner.api.errors import ApiError


_NO_PROMPT = """\
there is no prompt. Type `threadrunner "why is the sky blue?"`, or pipe text into it.
Run `threadrunner --help` for flags, commands and examples."""


def main() -> int:
    argv = sys.argv[1:]
    if argv and argv[0] in flags.PROCESSES and not _is_short(argv):
        return _process(argv[0], argv[1:])
    # Nothing of ours is in a buffer, and tidying up the interpreter would take 5 ms of every prompt.
    os._exit(run(argv))


def _is_short(argv: list[str]) -> bool:
    """Whether what has a process's name is over at once, as any command: its help, the keys of `serve`, one suggestion
    of `lsp`."""
    return argv[1:2] == ["keys"] or any(word in ("--help", "-h") or word.startswith("--at") for word in argv)


def run(argv: list[str]) -> int:
    """The exit code of anything but the daemon and the language server."""
    signals.install()
    _open_standard_files()
    from threadrunner import exits, paths
    from threadrunner.api.errors import ApiError, InternalError, InvalidParams, Unreachable
    from threadrunner.cli import render

    try:
        return _command(argv[0], argv[1:]) if argv and argv[0] in flags.COMMANDS else _prompt(argv)
    except BrokenPipeError:  # `| head -1` has read enough
        return exits.OK
    except OSError as error:
        render.say(f"{error.strerror}: {error.filename}" if error.filename else f"cannot write: {error.strerror}")
        return exits.UNKNOWN
    except flags.UsageError as error:
        failure: ApiError = InvalidParams(str(error))
    except paths.PathError as error:
        failure = Unreachable(str(error))
    except ApiError as error:
        failure = error
    except Exception as error:
        failure = InternalError(_defect(error))
    return _failed(failure)


def _failed(error: ApiError) -> int:
    """The exit code of a command that ends in `error`, which the user is told."""
    from threadrunner import exits
    from threadrunner.cli import render

    code = exits.for_kind(error.kind)
    try:  # noqa: SIM105 - contextlib is one more import for every prompt
        signals.report(error, code)
    except OSError:
        pass
    render.say(_advice(error))
    return code


def _defect(error: Exception) -> str:
    """A user is not shown a traceback; whoever mends it needs the place."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})" if trace is not None else ""
    return f"a defect of threadrunner's: {type(error).__name__}: {error}{place}; please report it with what you typed"


def _process(name: str, argv: list[str]) -> int:
    """The daemon or the language server: other programs that share our name, with their own way to end."""
    from threadrunner import exits
    from threadrunner.cli import render

    try:
        return _command(name, argv)
    except flags.UsageError as error:
        render.say(str(error))
        return exits.USAGE
    except KeyboardInterrupt:  # while it is being imported; later it has a handler of its own
        return exits.INTERRUPTED


def _command(name: str, argv: list[str]) -> int:
    from threadrunner import exits
    from threadrunner.cli import arguments, commands

    command = commands.import_command(name)
    try:
        options = arguments.read(name, command, argv)
    except arguments.HelpShown:
        return exits.OK
    code: int = command.run(options)
    return code


def _prompt(argv: list[str]) -> int:
    options = flags.read(argv)
    if options.help or options.version:
        from threadrunner import exits
        from threadrunner.cli import arguments, render

        render.put(1, arguments.help_text() if options.help else arguments.version_text())
        return exits.OK
    if not (options.words or options.result or options.image) and os.isatty(0):
        raise flags.UsageError(_NO_PROMPT)
    if options.words and not options.forced and options.words[0] in flags.COMMANDS:
        raise flags.UsageError(
            f"{options.words[0]!r} is a command and comes first, before its flags: threadrunner {options.words[0]} …\n"
            "If that was to be a prompt, put -- before it."
        )
    from threadrunner.cli import prompt

    return prompt.run(options)


def _advice(error: ApiError) -> str:
    """The error's text, with flags where the daemon names members of params."""
    text = error.message
    if error.kind == "InvalidParams":
        text = _placed(text)
    if error.kind in ("InvalidParams", "NotSupported", "InvalidGrammar"):
        text = flags.with_flags(text)
    return text or f"the daemon answered with error {error.code} ({error.kind}) and no text; see `threadrunner logs`"


def _placed(text: str) -> str:
    """`METHOD: FAULT - at `$.MEMBER`` with the flag of the member first; of other methods than `generate`, the member:
    most commands have no flag for it, but a word."""
    import re

    if not (found := re.fullmatch(r"([\w.]+): (.*) - at (?:`key` in )?`\$\.([^`]+)`", text, re.DOTALL)):
        return text
    method, fault, place = found.groups()
    return f"{flags.named(place) if method == 'generate' else place}: {fault}"


def _open_standard_files() -> None:
    """A closed standard file (`>&-`) leaves its number to the next file opened: the answer would go to the socket."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
