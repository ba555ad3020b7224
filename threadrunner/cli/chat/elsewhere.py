"""Whether the next answer of a chat comes from another machine, and how its input line says so."""

from __future__ import annotations

from threadrunner import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threadrunner.cli.chat.conversation import Chat

PROMPT = "> "
_ALIAS_DEPTH = 8


def prompt(chat: Chat) -> str:
    """What stands before the input: the model's name too, where it is on another machine."""
    name = _followed(chat.model)
    return f"{name}{PROMPT}" if name.startswith("remote:") else PROMPT


def _followed(name: str) -> str:
    """What an alias leads to; no name is the default model's."""
    try:
        known = config.load()
    except config.ConfigError:  # the daemon says so
        return name
    name = name or known.model
    for _ in range(_ALIAS_DEPTH):
        name = known.aliases.get(name, name)
    return name
