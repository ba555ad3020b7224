"""The manual page, in man(7)'s macros, from the same declarations that read the command line: pure."""

from __future__ import annotations

import argparse
import textwrap

import threadrunner
from threadrunner import exits, paths
from threadrunner.cli.arguments import EXAMPLES
from threadrunner.cli.flags import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WHAT = "a local language model that works like any other Unix tool"
_EXIT = (
    (exits.OK, "success"),
    (exits.UNKNOWN, "an error of no other kind"),
    (exits.CONNECTION, "no daemon, or a server of another machine, could be reached"),
    (exits.MODEL, "the model is missing, broken or has crashed, or cannot do what was asked"),
    (exits.TIMEOUT, "the time of --timeout is over"),
    (exits.USAGE, "the command line or the input cannot be used"),
    (exits.INTERRUPTED, "interrupted"),
)
_ENVIRONMENT = (
    ("THREADRUNNER_HOME", "the folder of models, options, conversations and logs; ~/.threadrunner by default"),
    ("THREADRUNNER_SOCKET", "the daemon's socket"),
    ("THREADRUNNER_MODEL, THREADRUNNER_MODEL_PATH", "the model of prompts that name none, by name or by file"),
    ("THREADRUNNER_KEEP_ALIVE", "how long a model stays loaded after its last request, in seconds"),
    ("THREADRUNNER_OFFLINE", "1: fetch no model, and ask no other machine"),
    ("THREADRUNNER_…", "and each option of config.toml in capitals, for the daemon that a prompt starts"),
)
_FILES = (
    ("~/.threadrunner/config.toml", "the options; `threadrunner doctor` says what is wrong with it"),
    ("~/.threadrunner/models", "GGUF files, each a model by its name"),
    (f"~/.threadrunner/cache/{paths.LOG_PREFIX}DATE{paths.LOG_SUFFIX}", "the daemon's log; `threadrunner logs`"),
)


def page(commands: dict[str, argparse.ArgumentParser]) -> str:
    """All of it; `commands` are the parsers of the commands by their names."""
    lines = [
        f'.TH THREADRUNNER 1 "" "threadrunner {threadrunner.__version__}" "User Commands"',
        ".SH NAME",
        f"threadrunner \\- {_text(_WHAT)}",
        *_synopsis(),
        ".SH DESCRIPTION",
        _text(
            "The answer goes to standard output, everything else to standard error. The first prompt starts a daemon, "
            "which keeps the model in memory; piped text is the prompt, or what the prompt is about."
        ),
        ".SH FLAGS",
        _text("Before or after the prompt."),
        *_flags(),
        ".SH COMMANDS",
    ]
    for name, parser in commands.items():
        lines += _command(f"threadrunner {name}", parser)
    lines += [".SH EXIT STATUS", *_listed((str(code), text) for code, text in _EXIT)]
    lines += [".SH ENVIRONMENT", *_listed(_ENVIRONMENT), ".SH FILES", *_listed(_FILES)]
    lines += [".SH EXAMPLES", ".nf", *map(_text, textwrap.dedent(EXAMPLES).splitlines()), ".fi"]
    return "\n".join(lines) + "\n"


def _synopsis() -> Iterator[str]:
    yield ".SH SYNOPSIS"
    for line in ("[FLAG…] PROMPT…", "[FLAG…] [PROMPT…] < FILE", "COMMAND [ARGUMENT…]"):
        yield f".B threadrunner\n{_text(line)}\n.br"


def _flags() -> Iterator[str]:
    for short, long, metavar, _, text in FLAGS:
        yield from _listed([(f"{', '.join(filter(None, (short, long)))} {metavar}".rstrip(), text)])


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """What it is for and its options; those of its actions after it."""
    yield f".SS {_text(name)}"
    yield _text(parser.description or "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for word, own in action.choices.items():
                usage = " ".join([name, word, *filter(None, map(_argument, own._actions))])
                yield from _listed([(usage, summaries.get(word, ""))])
                yield from _indented(_options(own))
        elif not isinstance(action, argparse._HelpAction):
            yield from _options(parser, action)


def _options(parser: argparse.ArgumentParser, only: argparse.Action | None = None) -> Iterator[str]:
    for action in [only] if only else parser._actions:
        if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS:
            text = parser._get_formatter()._expand_help(action) if action.help else ""
            yield from _listed([(_name(action), text)])


def _indented(lines: Iterator[str]) -> Iterator[str]:
    inner = list(lines)
    if inner:
        yield from (".RS", *inner, ".RE")


def _argument(action: argparse.Action) -> str:
    """As the usage has a word of it; nothing for a flag."""
    return "" if action.option_strings else _name(action)


def _name(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else ""
    if not value and (action.choices or not action.option_strings):
        value = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    if not value and action.nargs != 0:
        value = action.dest.upper()
    if not action.option_strings:
        return f"[{value}]" if action.nargs in ("?", "*") else value
    return f"{', '.join(action.option_strings)} {value}".rstrip()


def _listed(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in rows:
        yield f".TP\n.B {_text(term)}\n{_text(text)}".rstrip("\n")


def _text(text: str) -> str:
    """As troff takes it: no macro at the beginning of a line, hyphens that can be searched for."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\[u2026]").replace("`", "\\(ga")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
