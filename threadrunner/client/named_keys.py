"""The keys of `threadrunner serve` that have names: one a line of `serve.keys`, which only its owner can read.

Of a key that was made here the file has a hash (SHA-256: it has 192 random bits, so there is nothing to guess); of one
that is kept elsewhere, where that is: `file:/PATH`, or `env:NAME` of the environment that `serve` is started in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from threadrunner import paths
from threadrunner.system import locks, private_files, this_process

RIGHTS = ("conversations", "metrics")
"""What a key may do only if it was given: reach the conversations and what is remembered, with the page; read
/metrics, which names the other keys."""

OWNER = "owner"
"""Whoever has the one key of `serve --key`; no other key has this name."""

MAX = 2**31 - 1
LEAST = 20
"""Letters of a key that was not made here: of a shorter one the hash could be tried out."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class BadKey(Exception):
    """The text says why and what to do; no key is in it."""


@dataclass(frozen=True)
class NamedKey:
    """One of `digest` and `source` is not empty. `requests` and `tokens` are of a minute, `at_once` is how
    many requests may be under way; 0: no limit. `made`: a date."""

    name: str
    made: str
    digest: str = ""
    source: str = ""
    requests: int = 0
    tokens: int = 0
    may: tuple[str, ...] = ()
    at_once: int = 0


def file() -> str:
    return os.path.join(paths.home(), "serve.keys")


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def generated() -> str:
    return f"tr-{secrets.token_urlsafe(24)}"


def usable(key: str, least: int) -> str:
    """The key. Raises BadKey for one that is too short, or that no header can carry."""
    if len(key) < least or not key.isascii() or not key.isprintable() or " " in key:
        raise BadKey(f"a key has at least {least} letters, digits or signs and no blanks")
    return key


def load(path: str) -> list[NamedKey]:
    """None of them where there is no file. Raises BadKey, OSError."""
    try:
        with open(path, encoding="utf-8") as kept:
            _check_private(path, kept.fileno())
            lines = kept.read().splitlines()
    except FileNotFoundError:
        return []
    try:
        return [_from_line(line) for line in lines if line.strip()]
    except (ValueError, TypeError, KeyError) as error:
        raise BadKey(f"{path} cannot be read ({error}); mend the line, or remove the file and add keys again") from None


def add(key: NamedKey) -> None:
    """Raises BadKey where there is one of that name, OSError."""
    with _changing() as keys:
        if any(each.name == key.name for each in keys):
            raise BadKey(f"there is a key {key.name!r}; take another name, or revoke that one first")
        keys.append(key)


def revoke(name: str) -> None:
    """Raises BadKey where there is none of that name, OSError."""
    with _changing() as keys:
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise BadKey(f"there is no key {name!r}; there are: {known}")
        keys[:] = left


def checked_name(name: str) -> str:
    """Raises BadKey."""
    if not _NAME.fullmatch(name) or name == OWNER:
        raise BadKey(f"{name[:80]!r} cannot be a name: up to 64 of A-Z, a-z, 0-9 and . _ @ -, and not {OWNER!r}")
    return name


def _from_line(line: str) -> NamedKey:
    given = json.loads(line)
    key = NamedKey(**{**given, "may": tuple(given.get("may", ()))})
    numbers, texts = (key.requests, key.tokens, key.at_once), (key.name, key.made, key.digest, key.source)
    if not all(isinstance(number, int) and 0 <= number <= MAX for number in numbers):
        raise ValueError(f"the limits of {key.name!r} must be whole numbers")
    if not all(isinstance(text, str) for text in texts) or bool(key.digest) == bool(key.source):
        raise ValueError(f"{key.name!r} needs a digest, or a source")
    if unknown := set(key.may) - set(RIGHTS):
        raise ValueError(f"{key.name!r} may not {sorted(unknown)[0]!r}")
    return key


def _check_private(path: str, descriptor: int) -> None:
    facts = os.fstat(descriptor)
    if facts.st_uid != this_process.uid():
        raise BadKey(f"{path} belongs to another user; remove it as that user")
    if this_process.for_others(facts.st_mode):
        raise BadKey(f"others can read {path}; run `chmod 600 {path}`")


@contextlib.contextmanager
def _changing() -> Iterator[list[NamedKey]]:
    """All keys, to be changed in place; no other process changes them meanwhile, and a reader sees all or nothing."""
    paths.make_home()
    path = file()
    with open(f"{path}.lock", "w", opener=private_files.opener) as lock:
        locks.hold(lock)
        keys = load(path)
        yield keys
        private_files.write(path, "".join(f"{json.dumps(asdict(key))}\n" for key in keys), lasting=True)


_taken: dict[str, str] = {}


def referred(source: str, least: int) -> str:
    """The key that is kept at `source`. A variable is taken out of the environment: no process that is started from
    now on has it. Raises BadKey."""
    kind, _, rest = source.partition(":")
    if kind == "env":
        if (value := os.environ.pop(rest, None)) is not None:
            _taken[rest] = value
        return _found(_taken.get(rest, ""), f"the variable {rest}", least)
    try:
        with open(os.path.expanduser(rest), encoding="utf-8", errors="replace") as kept:
            if (facts := os.fstat(kept.fileno())).st_uid != 0 and facts.st_mode & 0o077:
                # One that root has put there is not ours to change: containers mount their secrets so.
                raise BadKey(f"others can read {rest}; run `chmod 600 {rest}`, and think of a new key")
            return _found(kept.readline(1 << 14).strip(), rest, least)
    except OSError as error:
        raise BadKey(f"{rest}: {error.strerror}") from None


def _found(key: str, place: str, least: int) -> str:
    try:
        return usable(key, least)
    except BadKey as error:
        raise BadKey(f"what {place} has is no key: {error}" if key else f"{place} has no key") from None


def is_reference(text: str) -> bool:
    kind, _, rest = text.partition(":")
    return kind in ("env", "file") and bool(rest)
