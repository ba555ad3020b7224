"""What argparse does for us: the commands' own options, help, and the tree that completions are rendered from."""

from __future__ import annotations

import argparse

import threadrunner
from threadrunner.cli import render
from threadrunner.cli.flags import COMMANDS, FLAGS, LAST, REPEATABLE, UsageError, number, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

EXAMPLES = """\
examples:
  threadrunner "why is the sky blue?"           ask, and read the answer as it is written
  threadrunner -n 40 -t 0 name three colours    words need no quotes, flags stand anywhere
  git diff | threadrunner "write a commit message"
                                                an argument about the text that is piped in
  threadrunner < letter.txt > answer.txt        the piped text is the prompt
  threadrunner --schema colour.json "a colour"  an answer that fits a JSON Schema
  threadrunner -m ./model.gguf hello            any GGUF file
  threadrunner -S trip "and by train?"          a conversation that lasts; -c goes on with the last one
  git diff | threadrunner --mode commit         a preset: model, system prompt, sampling, template
  threadrunner -- status of the union           -- makes a prompt of what begins like a command

exit codes: 0 success, 1 unknown, 2 no daemon, 3 the model, 4 timeout, 64 usage, 130 interrupted
"""

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

    def print_help(self, file: object = None) -> None:
        render.put(1, self.format_help())

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown


def read(name: str, argv: list[str]) -> argparse.Namespace:
    """Options of the command `name`. Raises UsageError."""
    parser = Parser(prog=f"threadrunner {name}", description=COMMANDS[name])
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


def _nothing(parser: argparse.ArgumentParser) -> None:
    pass


def _status(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="the daemon's whole answer, as JSON")
    forms.add_argument("--metrics", action="store_true", help="as Prometheus reads it")
    again = "again and again, each second unless said otherwise"
    parser.add_argument("--watch", nargs="?", const=1.0, metavar="SECONDS", type=_type(_interval), help=again)


def _load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a name or a file; without it, the default")
    parser.add_argument("--backend", metavar="NAME", help="what generates: llama, dummy or an installed plugin")
    parser.add_argument("--offline", action="store_true", help="never fetch a missing model")


def _bench(parser: argparse.ArgumentParser) -> None:
    _load(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def _unload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="NAME", help="a loaded model's name; without it, all of them")


def _models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|show|pull|rm", required=True, parser_class=Parser)
    listing = actions.add_parser("list", help="the models that can be named")
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = actions.add_parser("show", help="all that is known of one")
    show.add_argument("model", metavar="MODEL", help="a name or a file")
    show.add_argument("--json", action="store_true", help="as JSON")
    pull = actions.add_parser("pull", help="fetch one")
    what = "a catalog name, hf:owner/repo[:quantization or file], or a file or folder to copy"
    pull.add_argument("model", metavar="MODEL", help=what)
    remove = actions.add_parser("rm", help="delete one's files from the models folder")
    remove.add_argument("model", metavar="MODEL", help="a name that `threadrunner models list` shows")


def _service(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="install|uninstall|status", required=True, parser_class=Parser
    )
    install = actions.add_parser("install", help="start it by the system's service manager, for you alone")
    install.add_argument("--print", action="store_true", help="only show the files that would be written")
    actions.add_parser("uninstall", help="take that back")
    actions.add_parser("status", help="whether it is installed, and runs")


def _sessions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="list|show|search|rename|fork|undo|export|import|rm", required=True, parser_class=Parser
    )
    listing = actions.add_parser("list", help="the conversations, the last used first")
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = actions.add_parser("show", help="what was said in one")
    show.add_argument("session", nargs="?", default=LAST, metavar="NAME", help="without it, the one used last")
    show.add_argument("-n", "--turns", metavar="N", type=_type(whole), help="only the last N turns")
    show.add_argument("--json", action="store_true", help="as JSON")
    search = actions.add_parser("search", help="find words in all of them; wor* finds what begins so")
    search.add_argument("words", nargs="+", metavar="WORD")
    search.add_argument("-S", "--session", metavar="NAME", help="only in this one")
    search.add_argument("-n", "--limit", metavar="N", type=_type(whole), help="at most N places")
    search.add_argument("--json", action="store_true", help="as JSON")
    rename = actions.add_parser("rename", help="give one another name")
    rename.add_argument("session", metavar="NAME")
    rename.add_argument("name", metavar="NEW")
    fork = actions.add_parser("fork", help="copy one, to go on in another direction")
    fork.add_argument("session", metavar="NAME")
    fork.add_argument("name", nargs="?", metavar="NEW", help="without it, NAME and a number")
    fork.add_argument("-n", "--turns", metavar="N", type=_type(whole), help="only its first N turns")
    undo = actions.add_parser("undo", help="delete the last turns of one")
    undo.add_argument("session", metavar="NAME")
    undo.add_argument("-n", "--turns", metavar="N", type=_type(whole), default=1, help="how many, without it one")
    export = actions.add_parser("export", help="write one to standard output, as Markdown or JSON")
    export.add_argument("session", nargs="?", default=LAST, metavar="NAME", help="without it, the one used last")
    export.add_argument("--json", action="store_true", help="as JSON, with everything that is known of each turn")
    take_in = actions.add_parser("import", help="take one in: our export, or a list of chat messages")
    take_in.add_argument("file", metavar="FILE", help="Markdown or JSON; - is standard input")
    take_in.add_argument("--name", metavar="NAME", help="what to call it")
    delete = actions.add_parser("rm", help="delete conversations for good")
    delete.add_argument("sessions", nargs="+", metavar="NAME")


def _remember(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="TEXT", help="the note; without it, standard input")


def _memory(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|search|rm", required=True, parser_class=Parser)
    listing = actions.add_parser("list", help="the notes, the newest first")
    listing.add_argument("--json", action="store_true", help="as JSON")
    search = actions.add_parser("search", help="the notes and past turns that bear on a text")
    search.add_argument("words", nargs="+", metavar="WORD")
    search.add_argument("-n", "--limit", metavar="N", type=_type(whole), help="at most N passages")
    search.add_argument("--json", action="store_true", help="as JSON")
    delete = actions.add_parser("rm", help="forget notes, by the numbers that `memory list` shows")
    delete.add_argument("ids", nargs="+", metavar="NUMBER", type=_type(whole))


def _modes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _chat(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", nargs="?", metavar="NAME", help="a conversation to go on with, or a new one's name")
    parser.add_argument("-c", "--continue", dest="last", action="store_true", help="go on with the one used last")
    parser.add_argument("-m", "--model", metavar="MODEL", help="a model's name or a GGUF file")
    parser.add_argument("-s", "--system", metavar="TEXT", help="what the model is to be")
    parser.add_argument("-t", "--temperature", metavar="T", type=_type(number), help="0: likeliest answer, 1: varied")
    parser.add_argument("-n", "--max-tokens", metavar="N", type=_type(whole), help="end each answer after N tokens")
    parser.add_argument("--mode", metavar="NAME", help="a preset, see `threadrunner modes`")
    parser.add_argument("--memory", action="store_true", help="put what is remembered before each prompt")
    parser.add_argument("--backend", metavar="NAME", help="what generates: llama, dummy or an installed plugin")
    parser.add_argument("--offline", action="store_true", help="never fetch a missing model")


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("-n", "--lines", metavar="N", type=_type(whole), help="only the last N lines")


def _daemon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ready-fd", type=int, metavar="FD", help=argparse.SUPPRESS)


def _lsp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stdio", action="store_true", help=argparse.SUPPRESS)  # as some editors start every server
    at = "print one suggestion for the text on stdin, at this place, counted from 1, columns in bytes"
    parser.add_argument("--at", metavar="LINE:COLUMN", type=_place, help=at)
    parser.add_argument("--path", default="", metavar="FILE", help="with --at: the file that the text is of")
    parser.add_argument("--language", default="", metavar="NAME", help="with --at: its language")
    parser.add_argument("-m", "--model", metavar="MODEL", help="with --at: the model that completes it")


def _place(text: str) -> tuple[int, int]:
    line, colon, column = text.partition(":")
    if not (colon and line.isdecimal() and column.isdecimal()):
        raise argparse.ArgumentTypeError(f"a line and a column are wanted, say 3:1, not {text!r}")
    return int(line), int(column)


def _completions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


_BUILDERS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "status": _status,
    "stop": _nothing,
    "load": _load,
    "unload": _unload,
    "models": _models,
    "chat": _chat,
    "sessions": _sessions,
    "remember": _remember,
    "memory": _memory,
    "modes": _modes,
    "logs": _logs,
    "bench": _bench,
    "doctor": _nothing,
    "daemon": _daemon,
    "service": _service,
    "lsp": _lsp,
    "completions": _completions,
}


def whole_parser() -> Parser:
    """All flags and commands in one tree."""
    parser = Parser(prog="threadrunner", add_help=False)
    for short, long, metavar, _, text in FLAGS:
        names = (short, long) if short else (long,)
        if metavar:
            action = "append" if long in REPEATABLE else "store"
            parser.add_argument(*names, metavar=metavar, action=action, help=text)
        else:
            parser.add_argument(*names, action="store_true", help=text)
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    for name, summary in COMMANDS.items():
        _BUILDERS[name](commands.add_parser(name, help=summary, description=summary))
    return parser


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
        f"{EXAMPLES}"
    )


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(left) for left, _ in rows)
    return "".join(f"  {left:{width}}  {right}\n" for left, right in rows)


def version_text() -> str:
    return f"threadrunner {threadrunner.__version__}\n"


def _interval(text: str) -> float:
    seconds = number(text)
    if seconds < 0.1:
        raise ValueError(f"at least 0.1 seconds, not {text}")
    return seconds


def _type(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """With the text of the error, which argparse would replace by its own."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted
