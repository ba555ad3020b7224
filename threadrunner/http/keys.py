"""The key that `serve` asks its clients for."""

from __future__ import annotations

import os
import secrets
import stat

from threadrunner import paths


class BadKey(Exception):
    """The text says why and what to do."""


def file() -> str:
    return os.path.join(paths.home(), "serve.key")


def read(given: str | None) -> str | None:
    """`auto`: the one in our file, which is made the first time; else what was given. None: no key is asked for.

    Raises BadKey, OSError.
    """
    if given is None or given == "":
        return None
    if given != "auto":
        if len(given) < 8 or not given.isascii() or not given.isprintable() or " " in given:
            raise BadKey("a key has at least 8 letters, digits or signs and no blanks; `--key auto` makes one")
        return given
    paths.make_home()
    try:
        descriptor = os.open(file(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _kept()
    with os.fdopen(descriptor, "w") as made:
        key = f"tr-{secrets.token_urlsafe(24)}"
        made.write(f"{key}\n")
    return key


def _kept() -> str:
    with open(file()) as kept:
        if stat.S_IMODE(os.fstat(kept.fileno()).st_mode) & 0o077:
            raise BadKey(f"others can read {file()}; run `chmod 600 {file()}`, or remove it and get a new key")
        key = kept.read().strip()
    if not key:
        raise BadKey(f"{file()} is empty; remove it and get a new key")
    return key
