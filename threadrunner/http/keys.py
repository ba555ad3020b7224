"""The keys that `serve` asks its clients for, and who has them."""

from __future__ import annotations

import hmac
import logging
import os
from dataclasses import dataclass

from threadrunner import paths
from threadrunner.client import named_keys
from threadrunner.client.named_keys import OWNER, RIGHTS, BadKey, NamedKey
from threadrunner.http.allowance import KeyLimits
from threadrunner.system import private_files

log = logging.getLogger("threadrunner.http")

LEAST = 8
"""Letters of the owner's key, which is compared and not kept as a hash."""


def file() -> str:
    return os.path.join(paths.home(), "serve.key")


def read(given: str | None) -> str | None:
    """`auto`: the one in our file, which is made the first time; `file:/PATH` or `env:NAME`: the one that is there;
    else what was given. None: no key is asked for.

    Raises BadKey, OSError.
    """
    if given is None or given == "":
        return None
    if named_keys.is_reference(given):
        return named_keys.referred(given, LEAST)
    if given != "auto":
        try:
            return named_keys.usable(given, LEAST)
        except BadKey as error:
            raise BadKey(f"{error}; `--key auto` makes one") from None
    paths.make_home()
    private_files.make_once(file(), f"{named_keys.generated()}\n")
    return _kept()


def _kept() -> str:
    with open(file()) as kept:
        if os.fstat(kept.fileno()).st_mode & 0o077:
            raise BadKey(f"others can read {file()}; run `chmod 600 {file()}`, or remove it and get a new key")
        key = kept.read().strip()
    if not key:
        raise BadKey(f"{file()} is empty; remove it and get a new key")
    return key


@dataclass(frozen=True)
class Holder:
    """Whoever sends a key. `limits` None: as much as the machine can do."""

    name: str
    may: frozenset[str] = frozenset(RIGHTS)
    limits: KeyLimits | None = None


class Keys:
    """The owner's key, and those of the file, which is read again when it has changed: a key that is revoked ends with
    the next request, and no `serve` has to be started again."""

    def __init__(self, owner: str | None, path: str) -> None:
        """Raises BadKey, OSError."""
        self._owner = None if owner is None else owner.encode()
        self._path = path
        self._limits: dict[str, KeyLimits] = {}
        self._seen = self._mark()
        self._by_digest = self._read()
        self.asked = owner is not None or self._seen is not None
        """Whether a key is asked for; one that was asked for at the start always is."""

    def __len__(self) -> int:
        """How many have names."""
        return len(self._by_digest)

    def holder(self, given: str) -> Holder | None:
        """Whose key this is. The owner's is compared in a time that does not depend on how much of it is right; of the
        others a hash is looked up, which a client cannot bring near to another."""
        if self._owner is not None and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._owner):
            return Holder(OWNER)
        if (mark := self._mark()) != self._seen:
            self._seen = mark
            self._again()
        return self._by_digest.get(named_keys.digest(given))

    def _again(self) -> None:
        try:
            self._by_digest = self._read()
        except (BadKey, OSError) as error:  # a file that is half mended must not lock all out, nor let all in
            log.error("the keys are as they were, for %s", error)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            facts = os.stat(self._path)
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns, facts.st_size

    def _read(self) -> dict[str, Holder]:
        return {key.digest or _digest(key): self._holder(key) for key in named_keys.load(self._path)}

    def _holder(self, key: NamedKey) -> Holder:
        """What a key has used of this minute stays used, and what it has under way stays counted."""
        limits = self._limits.setdefault(key.name, KeyLimits())
        limits.allow(key.requests, key.tokens, key.at_once)
        return Holder(key.name, frozenset(key.may), limits)


def _digest(key: NamedKey) -> str:
    try:
        return named_keys.digest(named_keys.referred(key.source, named_keys.LEAST))
    except BadKey as error:
        raise BadKey(
            f"the key of {key.name}: {error}; mend that, or `threadrunner serve keys revoke {key.name}`"
        ) from None
