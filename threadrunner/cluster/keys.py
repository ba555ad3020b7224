"""The token by which Ray's processes know each other, and the keys that clients are asked for."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Sequence

from threadrunner.cluster.settings import ClusterSettings
from threadrunner.http.keys import Holder
from threadrunner.system import private_files


class BadKeyFile(Exception):
    """The text says why and what to do."""


def made(path: str, prefix: str = "") -> None:
    """Make a secret in a file of our own, where there is none. Raises OSError."""
    private_files.make_once(path, f"{prefix}{secrets.token_urlsafe(32)}\n")


def private(path: str) -> str:
    """A secret file's text. Raises BadKeyFile."""
    try:
        with open(path) as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise BadKeyFile(f"others can read {path}; run `chmod 600 {path}`")
            return file.read()
    except (OSError, ValueError) as error:
        raise BadKeyFile(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def key_file(settings: ClusterSettings, folder: str) -> str:
    """Empty: clients are asked for none."""
    return os.path.join(folder, "keys") if settings.keys == "auto" else settings.keys.removeprefix("file:")


def digests(path: str) -> list[str]:
    """Of the keys in a file, one on each line, `#` begins a note. Only digests leave this machine: what Serve is told
    stands in its state. A key has 16 characters at least, so that its digest tells nothing. Raises BadKeyFile."""
    lines = [line.partition("#")[0].strip() for line in private(path).splitlines()]
    keys = [line for line in lines if line]
    if not keys:
        raise BadKeyFile(f"{path} has no key; write one on each line")
    for key in keys:
        if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
            raise BadKeyFile(f"{path}: a key has at least 16 letters, digits or signs and no blanks, one on each line")
    return [hashlib.sha256(key.encode()).hexdigest() for key in keys]


def known_by(digests: Sequence[str]) -> Callable[[str], Holder | None]:
    """Who sends a key: one of these, each looked at, in a time that tells nothing of them; None for any other text. The
    keys have no names, and reach all there is: a replica has a model and nothing else."""
    anyone = Holder("cluster")

    def who(given: str) -> Holder | None:
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
        return anyone if sum(hmac.compare_digest(digest, known) for known in digests) > 0 else None

    return who
