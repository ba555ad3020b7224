"""The command line as data: the flags of a prompt, the commands; and reading the former.

A prompt is read without argparse, which with its translations is 5 ms: it renders the help and completions from this
same table, and reads the commands (arguments.py).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Flag = tuple[str, str, str, Callable[[str], Any] | None, str]

COMMANDS = {
    "setup": "find a good model for this machine, and fetch it",
    "chat": "talk with the model, line by line",
    "sessions": "list, show, search, copy and delete conversations",
    "remember": "keep a note for prompts with --memory",
    "memory": "list, search and delete what is remembered",
    "modes": "list the presets for --mode",
    "status": "show what is loaded and how busy it is",
    "stop": "finish the running requests, then end the daemon",
    "load": "load a model ahead of its first prompt",
    "unload": "free a model's memory",
    "models": "list, show, fetch and remove models",
    "learn": "show or delete what is learned of how you use suggestions, or turn that off",
    "rerank": "sort lines by how well they answer a question",
    "remotes": "list, test and log in to servers on other machines",
    "logs": "print the daemon's log",
    "doctor": "check this machine and explain what is wrong",
    "daemon": "run the daemon in the foreground",
    "service": "have the system start the daemon",
    "lsp": "complete code for an editor: a language server on stdin and stdout",
    "serve": "answer over HTTP as OpenAI, Ollama and llama-server do, with a page to talk",
    "cluster": "serve models from many machines, by Ray",
    "completions": "print completions for your shell",
    "bench": "measure how fast a model is on this machine",
}
"""Name to summary. The command itself is the module of that name in cli/commands."""

DAY = 86400  # seconds

PROCESSES = ("daemon", "lsp", "serve")
"""Commands that are programs of their own, with their own way to end."""


class UsageError(Exception):
    """The command line, or the piped input, cannot be used; the text says why and what to do."""


class Options:
    """The flags of a prompt, each under its long name, and its words."""

    help = False
    version = False
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    system: str | None = None
    image: list[str] | None = None
    lora: list[str] | None = None
    stop: list[str] | None = None
    schema: str | None = None
    grammar: str | None = None
    raw = False
    json = False
    no_stream = False
    stats = False
    timeout: float | None = None
    backend: str | None = None
    offline = False
    session: str | None = None
    mode: str | None = None
    memory = False
    tools: str | None = None
    tool_choice: str | None = None
    result: list[str] | None = None
    thinking: str | None = None
    set: list[str] | None = None
    n: int | None = None
    vote = False
    key_field: str | None = None
    key_pattern: str | None = None
    least: float | None = None
    otherwise: str | None = None
    check: str | None = None
    check_timeout: float | None = None
    verbose = False

    def __init__(self) -> None:
        self.words: list[str] = []
        self.forced = False
        """The prompt's first word follows --, so it is not a command."""


def whole_number(text: str) -> int:
    return _whole(text, 2**31 - 1)


def port(text: str) -> int:
    """The system takes 99999 too, and listens on 34463."""
    value = whole_number(text)
    if value > 65535:
        raise ValueError(f"expected a port, 0 to 65535, got {_short(text)}")
    return value


def seed(text: str) -> int:
    return _whole(text, 2**32 - 1)


def _whole(text: str, maximum: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"expected a whole number (0 or more), got {_short(text)}")
    if len(text) > 4000 or int(text) > maximum:  # int() takes no more than 4300 digits
        raise ValueError(f"expected at most {maximum}, got {_short(text)}")
    return int(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ValueError(f"expected a number, got {_short(text)}")
    return value


def seconds(text: str) -> float:
    """A time that a timer takes: up to a day, as the daemon has it too."""
    value = number(text)
    if not 0 < value <= DAY:
        raise ValueError(f"expected more than 0 and at most {DAY} seconds, got {_short(text)}")
    return value


def share(text: str) -> float:
    value = number(text)
    if not 0 < value <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, e.g. 0.6, got {_short(text)}")
    return value


def thinking(text: str) -> str:
    if text not in ("show", "hide", "off"):
        raise ValueError(f"expected show, hide or off, got {_short(text)}")
    return text


FLAGS: tuple[Flag, ...] = (
    # short, long, what its value is called ("": it has none), the value's type, help
    ("-h", "--help", "", None, "show this help"),
    ("-m", "--model", "MODEL", str, "a model's name (see `threadrunner models list`) or a GGUF file"),
    ("-n", "--max-tokens", "N", whole_number, "end the answer after N tokens"),
    ("-t", "--temperature", "T", number, "0 gives the likeliest answer, 1 a varied one"),
    ("", "--top-p", "P", number, "sample from the smallest set of tokens whose probabilities add up to P"),
    ("", "--top-k", "K", whole_number, "sample from the K likeliest tokens"),
    ("", "--seed", "N", seed, "the same seed gives the same answer"),
    ("-s", "--system", "TEXT", str, "system prompt"),
    ("-i", "--image", "FILE", str, "a picture to look at, as is @FILE among the words; may be repeated"),
    ("", "--lora", "NAME[=SCALE]", str, "apply this adapter of the model and no other, or `none`; may be repeated"),
    ("-S", "--session", "NAME", str, "the prompt is the next turn of the conversation NAME"),
    ("-c", "--continue", "", None, "the prompt is the next turn of the conversation used last"),
    ("", "--mode", "NAME", str, "a preset: chat, code, writing, commit or one of config.toml"),
    ("", "--memory", "", None, "add relevant notes and past turns to the prompt"),
    ("", "--stop", "TEXT", str, "end the answer before TEXT; may be repeated"),
    ("", "--schema", "FILE", str, "the answer is JSON that fits the JSON Schema in FILE"),
    ("", "--grammar", "FILE", str, "the answer fits the GBNF grammar in FILE"),
    ("", "--tools", "FILE", str, "functions that the model may ask to call, as JSON; they are never called here"),
    ("", "--tool-choice", "CHOICE", str, "auto, none, required, or the name of the tool to call"),
    ("", "--result", "ID[=TEXT]", str, "with -c or -S: what a call came to; without TEXT, the piped text"),
    ("", "--thinking", "HOW", thinking, "show what the model thinks, hide it, or off: do without"),
    ("", "--n", "N", whole_number, "make N answers, 2 to 8, of which --vote or --check chooses one"),
    ("", "--vote", "", None, "of several answers, 5 without --n, print the one that most of them agree with"),
    (
        "",
        "--key-field",
        "FIELD",
        str,
        "with --vote: answers agree where this part of their JSON does, e.g. order.total",
    ),
    ("", "--key-pattern", "REGEX", str, "with --vote: answers agree where this regular expression's last match does"),
    ("", "--least", "SHARE", share, "with --vote: choose none where fewer agree, e.g. 0.6 (exit code 5)"),
    ("", "--otherwise", "MODEL", str, "with --least: ask this model then"),
    ("", "--check", "COMMAND", str, "print the first answer that COMMAND, which reads it, ends with exit code 0 for"),
    (
        "",
        "--check-timeout",
        "SECONDS",
        seconds,
        "time for one run of COMMAND, 60 without; it is killed then, and fails",
    ),
    ("-v", "--verbose", "", None, "with --vote or --check: show each answer, and what the check writes, on stderr"),
    ("", "--set", "NAME=VALUE", str, "another param, e.g. repeat_penalty=1.1; may be repeated"),
    ("", "--raw", "", None, "no chat template: the model continues the text as it is"),
    ("", "--json", "", None, "one event per line: token, progress, call, result or error"),
    ("", "--no-stream", "", None, "print the answer when it is complete"),
    ("", "--stats", "", None, "print to stderr how many tokens, and how fast"),
    ("", "--timeout", "SECONDS", seconds, "give up after this time (exit code 4)"),
    ("", "--backend", "NAME", str, "what generates: llama, dummy or an installed plugin"),
    ("", "--offline", "", None, "never fetch a missing model, and ask no other machine"),
    ("", "--version", "", None, "print the version"),
)
REPEATABLE = ("--image", "--lora", "--stop", "--result", "--set")
SETTABLE = (
    "min_p", "typical_p", "top_n_sigma", "repeat_penalty", "presence_penalty", "frequency_penalty", "penalty_window",
    "dry", "xtc", "mirostat", "dynamic_temperature", "logit_bias", "min_tokens", "ignore_eos", "reasoning",
    "reasoning_budget", "template_vars", "parallel_tool_calls", "json_schema_check", "logprobs", "prompt_logprobs",
    "echo", "replace", "context_overflow", "priority", "keep_alive",
)  # fmt: skip
"""What --set takes: the params of `generate` that no flag sets, and nothing else does."""


_OF_PARAMS = {"images": "--image", "json_schema": "--schema", "messages": "--result"}


_OF_VOTES = {
    "vote.pattern": "--key-pattern", "vote.field": "--key-field", "vote.least": "--least",
    "vote.otherwise": "--otherwise",
}  # fmt: skip


def with_flags(text: str) -> str:
    """An error's text with flags in the place of the members of params that it names, each between backticks."""
    import re

    return re.sub(r"`([a-z_]+(?:\.[a-z_.]+)?)`", lambda found: _flag_of(found[1]) or found[0], text)


def named(place: str) -> str:
    """The flag that sets a member of params, or a part of one such as `dry.multiplier` or `tools[0].function`."""
    place = place.replace("[...]", "")  # an entry of an object, whose name is not told
    return _flag_of(place) or f"--{place.replace('_', '-')}"


def _flag_of(place: str) -> str | None:
    name = place.partition(".")[0].partition("[")[0]
    if place in _OF_VOTES:
        return _OF_VOTES[place]
    if name in SETTABLE:
        return f"--set {place}"
    flag = _OF_PARAMS.get(name, f"--{name.replace('_', '-')}")
    return flag + place[len(name) :] if any(flag == long for _, long, *_ in FLAGS) else None


def read(argv: list[str]) -> Options:
    """Flags and words of a prompt; flags may come before or after the words, up to a --. Raises UsageError."""
    options = Options()
    by_name = {name: flag for flag in FLAGS for name in flag[:2] if name}
    rest = iter(argv)
    for item in rest:
        if item == "--":
            options.forced = not options.words
            options.words += rest
            break
        name, value = _split(item)
        flag = by_name.get(name)
        if flag is not None:
            _set(options, flag, name, value, rest)
        elif _is_word(item):
            options.words.append(item)
        else:
            raise UsageError(
                f"there is no flag {name}; `threadrunner --help` shows them. A prompt that begins with - goes after --"
            )
    return options


def _split(item: str) -> tuple[str, str | None]:
    """`--seed=1` and `-n5` as name and value."""
    if item.startswith("--"):
        name, equals, value = item.partition("=")
        return name, value if equals else None
    if item.startswith("-") and len(item) > 2:
        return item[:2], item[2:]
    return item, None


def _is_word(item: str) -> bool:
    """A list's dash, a sentence that begins with one and a negative number are text."""
    return not item.startswith("-") or item == "-" or " " in item or item[1].isdigit()


def _set(options: Options, flag: Flag, name: str, value: str | None, rest: Iterator[str]) -> None:
    """Set what `flag`, typed as `name`, says; its value is the next of `rest` where it was not typed with it."""
    _, long, metavar, convert, _ = flag
    attribute = long[2:].replace("-", "_")
    if convert is None:
        if value is not None:
            raise UsageError(f"{name} takes no value; leave out {value!r}")
        if long == "--continue":
            from threadrunner.api.names import LAST

            options.session = LAST
        else:
            setattr(options, attribute, True)
        return
    if value is None:
        value = next(rest, None)
        if value is None:
            raise UsageError(f"{name} needs a value: {name} {metavar}")
    try:
        converted = convert(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if long in REPEATABLE:
        converted = [*(getattr(options, attribute) or []), converted]
    setattr(options, attribute, converted)
