"""The command line's grammar: flags of a prompt, commands, help.

Only the parser that an invocation needs is built; `whole_parser` is for completions.
"""

from __future__ import annotations

import argparse

import threadrunner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

COMMANDS = {
    "status": "what is loaded and how busy it is",
    "stop": "finish what runs, then end the daemon",
    "load": "load a model ahead of its first prompt",
    "unload": "give a model's memory back",
    "models": "list the models, fetch one",
    "logs": "print the daemon's log",
    "doctor": "check this machine and explain what is wrong",
    "daemon": "run the daemon in the foreground",
    "completions": "print completions for your shell",
}
LATER = ("chat", "sessions", "lsp", "bench")
HIDDEN = ("worker",)

EXAMPLES = """\
examples:
  threadrunner "why is the sky blue?"           ask, and read the answer as it is written
  threadrunner -n 40 -t 0 name three colours    words need no quotes, flags stand anywhere
  git diff | threadrunner "write a commit message"
                                                an argument about the text that is piped in
  threadrunner < letter.txt > answer.txt        the piped text is the prompt
  threadrunner --schema colour.json "a colour"  an answer that fits a JSON Schema
  threadrunner -m ./model.gguf hello            any GGUF file
  threadrunner -- status of the union           -- makes a prompt of what begins like a command
"""

NO_PROMPT = """\
there is no prompt. Say `threadrunner "why is the sky blue?"`, or pipe text into it.
Run `threadrunner --help` for flags, commands and examples."""

EXIT_CODES = """\
exit codes: 0 success, 1 unknown, 2 no daemon, 3 the model, 4 timeout, 64 usage, 130 interrupted
"""


class UsageError(Exception):
    """The command line, or what is piped in, cannot be used; the text says why and what to do."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print and exit with 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nRun `{self.prog} --help` to see what there is.")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def prompt_arguments(argv: list[str]) -> argparse.Namespace:
    """Flags and `words` of a prompt. Raises UsageError."""
    head, tail = argv, []
    if "--" in argv:
        at = argv.index("--")
        head, tail = argv[:at], argv[at + 1 :]
    parser = prompt_parser()
    options, words = parser.parse_known_args(head)
    for word in words:
        if word.startswith("-") and word != "-" and " " not in word and not word[1:2].isdigit():
            parser.error(f"there is no flag {word}; a prompt that begins with - goes after --")
    options.forced = bool(tail) and not words
    options.words = words + tail
    return options


def command_arguments(name: str, argv: list[str]) -> argparse.Namespace:
    """Options of the command `name`. Raises UsageError."""
    parser = Parser(
        prog=f"threadrunner {name}", description=COMMANDS.get(name), formatter_class=_Formatter, allow_abbrev=False
    )
    _BUILDERS[name](parser)
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


def prompt_parser() -> Parser:
    parser = Parser(
        prog="threadrunner",
        usage="threadrunner [flags] prompt …\n       … | threadrunner [flags] [prompt …]\n"
        "       threadrunner command …",
        description="A local language model as a Unix tool: the answer goes to stdout, everything else to stderr.",
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    flag = parser.add_argument
    flag("-h", "--help", action="store_true", help="show this help and exit")
    flag("-m", "--model", metavar="MODEL", help="a model's name (see `threadrunner models list`) or a GGUF file")
    flag("-n", "--max-tokens", metavar="N", type=_whole, help="end the answer after N tokens")
    flag("-t", "--temperature", metavar="T", type=_number, help="0 gives the likeliest answer, 1 a varied one")
    flag("--top-p", metavar="P", type=_number, help="choose among the likeliest tokens that have probability P")
    flag("--top-k", metavar="K", type=_whole, help="choose among the K likeliest tokens")
    flag("--seed", metavar="N", type=_whole, help="the same seed gives the same answer")
    flag("-s", "--system", metavar="TEXT", help="what the model is to be, said before the prompt")
    flag("--stop", metavar="TEXT", action="append", help="end the answer before TEXT; may be given again")
    schema = flag("--schema", metavar="FILE", help="the answer is JSON that fits the JSON Schema in FILE")
    grammar = flag("--grammar", metavar="FILE", help="the answer fits the GBNF grammar in FILE")
    flag("--raw", action="store_true", help="no chat template: the model continues the text as it stands")
    flag("--json", action="store_true", help="an event a line: token, progress, result or error")
    flag("--no-stream", action="store_true", help="print the answer when it is whole")
    flag("--stats", action="store_true", help="say on stderr how many tokens it were and how fast")
    flag("--timeout", metavar="SECONDS", type=_number, help="give up after so long (exit code 4)")
    flag("--backend", metavar="NAME", help="what generates: llama, dummy or an installed plugin")
    flag("--offline", action="store_true", help="never fetch a missing model")
    flag("--version", action="store_true", help="print the version and exit")
    _complete_files(schema, grammar)
    return parser


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the daemon's whole answer, as JSON")


def _stop(parser: argparse.ArgumentParser) -> None:
    pass


def _load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a name or a file; without it, the default model")
    parser.add_argument("--backend", metavar="NAME", help="what generates: llama, dummy or an installed plugin")
    parser.add_argument("--offline", action="store_true", help="never fetch a missing model")


def _unload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a loaded model's name; without it, all of them")


def _models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|pull", required=True, parser_class=Parser)
    listing = actions.add_parser("list", help="the models that can be named", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="as JSON")
    pull = actions.add_parser("pull", help="fetch a model", allow_abbrev=False)
    pull.add_argument("model", metavar="MODEL", help="a name that `threadrunner models list` shows")


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("-n", "--lines", metavar="N", type=_whole, help="only the last N lines")


def _daemon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ready-fd", type=int, metavar="FD", help=argparse.SUPPRESS)


def _worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fd", type=int, required=True)


def _completions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


_BUILDERS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "status": _status,
    "stop": _stop,
    "load": _load,
    "unload": _unload,
    "models": _models,
    "logs": _logs,
    "doctor": _stop,
    "daemon": _daemon,
    "worker": _worker,
    "completions": _completions,
}


def whole_parser() -> Parser:
    """All flags and commands in one tree, as shtab wants it."""
    parser = prompt_parser()
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    for name, summary in COMMANDS.items():
        _BUILDERS[name](commands.add_parser(name, help=summary))
    return parser


def help_text() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    flags = prompt_parser().format_help().replace("options:\n", "flags:\n")
    return f"{flags}\ncommands (each has --help):\n{commands}\n\n{EXAMPLES}\n{EXIT_CODES}"


def version_text() -> str:
    return f"threadrunner {threadrunner.__version__}\n"


def _complete_files(*actions: argparse.Action) -> None:
    for action in actions:
        action.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "fish": ""}  # type: ignore[attr-defined]


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is wanted, not {text!r}") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"0 or more is wanted, not {value}")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is wanted, not {text!r}") from None
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"a number is wanted, not {text!r}")
    return value
