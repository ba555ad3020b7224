"""A person who types a stretch of a file, sees what is suggested, and takes it by a rule of their own.

They press keys at a steady pace and look up where a person pauses: at a line's begin and before each word. Enter
brings the next line's indentation, as editors do. Shown text stays while what is typed agrees with it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

SECONDS = 0.2
"""Between two keys."""

_KEY = re.compile(r"\n[ \t]*|.", re.DOTALL)


@dataclass
class Tally:
    """What came of a stretch."""

    typed: int = 0
    """Characters of the stretch."""
    keys: int = 0
    saved: int = 0
    """Characters that were taken, less the keys to take them."""
    looked: int = 0
    """Pauses."""
    shown: int = 0
    """Different suggestions."""
    taken: int = 0
    wrong: int = 0
    """Different suggestions that were wrong."""
    wrong_keys: int = 0
    """Keys at which a wrong one was in view."""

    def __iadd__(self, other: Tally) -> Tally:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass
class Typing:
    """Where the person is in the text that is to come."""

    text: str
    at: int = 0
    shown: str = ""
    tally: Tally = field(default_factory=Tally)

    @property
    def rest(self) -> str:
        return self.text[self.at :]


@dataclass(frozen=True)
class Person:
    """Takes what is right as far as whole lines go, if that is worth it to them."""

    name: str
    about: str
    least: int = 3
    """Characters; to take fewer is no less work than to type them."""
    most_lines: int = 99
    """Of more lines than these, nothing is taken: they do not read on."""
    seldom: int = 1
    """One in so many of those that they would take is seen in time."""

    def takes(self, shown: str, rest: str) -> int:
        """How many characters of what is shown."""
        count = right(shown, rest)
        if len(shown[:count].strip()) < self.least or shown.strip("\n").count("\n") >= self.most_lines:
            return 0
        return 0 if zlib.crc32(shown.encode()) % self.seldom else count


PEOPLE = (
    Person("eager", "takes all that is right, from 3 characters on"),
    Person("picky", "takes what is right from 12 characters on", least=12),
    Person("brief", "takes what is right and of one line", most_lines=1),
    Person("seldom", "takes one in three of what is right", seldom=3),
)


def right(shown: str, rest: str) -> int:
    """How many characters of what is shown are right, by whole lines."""
    taken = 0
    lines = shown.split("\n")
    for number, line in enumerate(lines):
        end = taken + len(line) + (1 if number else 0)
        if not rest.startswith(shown[:end]) or _within_word(rest, end):
            break
        taken = end
    return taken


def _within_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _letter(text[at - 1]) and _letter(text[at])


def _letter(char: str) -> bool:
    return char.isalnum() or char == "_"


def pauses(text: str, at: int) -> bool:
    """Whether the person looks up here: at a line's begin, and before each word."""
    if not text[:at].rpartition("\n")[2].strip():
        return text[at] != "\n"
    return not _letter(text[at - 1]) and _letter(text[at])


Look = Callable[[int], Awaitable[str]]
"""What is suggested after so many characters of the stretch."""


async def type_out(
    text: str,
    person: Person,
    look: Look,
    pressed: Callable[[int, str], None],
    took: Callable[[int, str], None],
) -> Tally:
    """Types the text. `pressed` and `took` are told of each change: where, and which text came."""
    typing = Typing(text.rstrip("\n"))
    tally = typing.tally
    tally.typed = len(typing.text)
    while typing.rest:
        if pauses(typing.text, typing.at):
            tally.looked += 1
            found = await look(typing.at)
            fresh = found != typing.shown
            typing.shown = found
            if found:
                count = person.takes(found, typing.rest)
                tally.shown += fresh
                if count:
                    took(typing.at, found[:count])
                    keys = 1 if count == len(found) else found[:count].count("\n") + 1
                    tally.taken += 1
                    tally.keys += keys
                    tally.saved += count - keys
                    typing.at += count
                    typing.shown = ""
                    continue
                tally.wrong += fresh and not ignored(found, typing.rest)
        if typing.shown and not ignored(typing.shown, typing.rest):
            tally.wrong_keys += 1
        match = _KEY.match(typing.text, typing.at)
        assert match is not None
        key = match[0]
        pressed(typing.at, key)
        tally.keys += 1
        typing.at += len(key)
        typing.shown = typing.shown[len(key) :] if typing.shown.startswith(key) else ""
    return tally


def ignored(shown: str, rest: str) -> bool:
    """Right, and too short to be taken: neither a hit nor a nuisance."""
    first = shown.split("\n", 1)[0] if shown.split("\n", 1)[0].strip() else shown
    return rest.startswith(first) and not _within_word(rest, len(first))
