"""Where the key of a remote is kept, and how it is read and stored. The key itself is in no option, and in no text that
this module raises.

keyring           the system's keyring, by the package `keyring` (`pip install keyring`)
file, file:/PATH  a file that only its owner can read; without a path, `keys/NAME` in THREADRUNNER_HOME
env:NAME          a variable of the daemon's environment, which is that of the shell that started it
command:COMMAND   the first line that a program prints; no shell is between
"""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
from collections.abc import Iterable, MutableMapping
from typing import Any

from threadrunner import paths
from threadrunner.remote_settings import RemoteSettings
from threadrunner.system import files, this_process

SERVICE = "threadrunner"
"""In the keyring."""
MAX_BYTES = 16384
COMMAND_WITHIN = 60.0
"""Seconds: a password manager may ask its owner first."""

_taken: dict[str, str] = {}


class KeyMissing(Exception):
    """There is no key where the table says; the text says why and what to do."""


def take_from_environment(names: Iterable[str], environ: MutableMapping[str, str] = os.environ) -> None:
    """Remember these variables and remove them: no process that is started from now on has them."""
    for name in names:
        if (value := environ.pop(name, None)) is not None:
            _taken[name] = value


def read(remote: RemoteSettings) -> str:
    """The key; empty where the remote needs none. May wait for a program or a keyring. Raises KeyMissing."""
    kind, _, rest = remote.key.partition(":")
    login = f"`threadrunner remotes login {remote.name}`"
    match kind:
        case "":
            return ""
        case "keyring":
            key = _keyring(remote, "get_password", SERVICE, remote.name) or ""
            missing = f"the keyring has no key of {remote.name}; {login} stores one"
        case "env":
            key = _taken.get(rest) or os.environ.get(rest, "")
            missing = f"{rest} is not set in the daemon's environment; set it, then run `threadrunner stop`"
        case "command":
            key = _said(remote, rest)
            missing = f"the command of `key` in [remotes.{remote.name}] prints nothing"
        case _:
            key = _in_file(path(remote))
            missing = f"{path(remote)} has no key; {login} stores one"
    key = key.strip()
    if not key:
        raise KeyMissing(missing)
    if not key.isascii() or not key.isprintable() or len(key) > MAX_BYTES or " " in key:
        raise KeyMissing(f"what is kept as the key of {remote.name} cannot be one; {login} replaces it")
    return key


def store(remote: RemoteSettings, key: str) -> str:
    """Keep it where the table says; what to tell the user of the place. Raises KeyMissing where nothing can be kept."""
    kind = remote.key.partition(":")[0]
    if kind == "keyring":
        _keyring(remote, "set_password", SERVICE, remote.name, key)
        return "in the keyring"
    if kind != "file":
        raise KeyMissing(
            f'[remotes.{remote.name}] keeps no key that could be stored: its `key` is "{remote.key}". Set '
            'key = "file", or "keyring", and run this again'
        )
    place = path(remote)
    if remote.key == "file":
        paths.private_dir(os.path.dirname(place))
    beside = f"{place}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | files.OWN, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{key}\n")
        os.replace(beside, place)
    except BaseException:
        os.unlink(beside)
        raise
    return f"in {place}"


def path(remote: RemoteSettings) -> str:
    """The file of a key that is kept in one."""
    rest = remote.key.partition(":")[2]
    return os.path.expanduser(rest) if rest else os.path.join(paths.home(), "keys", remote.name)


def _in_file(place: str) -> str:
    try:
        with open(place, encoding="utf-8", errors="replace") as file:
            facts = os.fstat(file.fileno())
            if this_process.for_others(facts.st_mode) or facts.st_uid not in (this_process.uid(), 0):
                raise KeyMissing(f"others can read {place}; run `chmod 600 {place}`, and think of a new key")
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise KeyMissing(f"{place}: {error.strerror}") from None


def _said(remote: RemoteSettings, command: str) -> str:
    where = f"the command of `key` in [remotes.{remote.name}]"
    try:
        # Its errors may have parts of the key in them: they are nobody's but its own.
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=COMMAND_WITHIN, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise KeyMissing(f"{where} did not end within {COMMAND_WITHIN:g} s") from None
    except (OSError, ValueError) as error:
        raise KeyMissing(f"{where} cannot be run: {getattr(error, 'strerror', None) or error}") from None
    if done.returncode:
        raise KeyMissing(f"{where} ended with exit code {done.returncode}; run it yourself to see why")
    return done.stdout[: MAX_BYTES + 1].decode("utf-8", "replace").partition("\n")[0]


def _keyring(remote: RemoteSettings, function: str, *arguments: str) -> Any:
    try:
        return getattr(importlib.import_module("keyring"), function)(*arguments)
    except ImportError:
        raise KeyMissing(
            f'the package `keyring` is not installed; run `pip install keyring`, or set key = "file" in '
            f"[remotes.{remote.name}]"
        ) from None
    except Exception as error:  # its backends raise what they like
        raise KeyMissing(
            f'the keyring does not answer ({type(error).__name__}); set key = "file" in [remotes.{remote.name}]'
        ) from None
