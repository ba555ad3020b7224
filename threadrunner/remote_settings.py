"""Models on other machines: the `[remotes.NAME]` tables of config.toml, each checked when it is used.

A remote is asked by its name alone, `remote:NAME/MODEL`, and is sent what its table allows; docs/remotes.md explains
both. A mistake in a table is an error of this remote alone.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from threadrunner.config import Config, ConfigError
from threadrunner.syntax import infill_families

PREFIX = "remote:"
"""What the names of models on other machines begin with."""

BACKEND = "remote"
"""The backend that asks them."""

DIALECTS = ("openai", "compatible", "llama-server", "threadrunner", "vllm", "anthropic")
"""What servers speak: backends/remote/dialects.py has a row for each."""

ALLOWED = {
    "prompt": "what a request itself says: its prompt or messages, its tools, its schema",
    "history": "turns of a conversation that were not said to this remote",
    "memory": "notes and passages of other conversations, and texts of them to be embedded",
    "completions": "the text around the cursor of an editor",
    "context": "with a completion: passages of the editor's other files",
}
"""What a remote may be sent."""

FAMILIES = tuple(family.name for family in infill_families.FAMILIES)
"""Models whose markers for infilling are known, by family."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(KEY|TOKEN|SECRET|PASSWORD)", re.IGNORECASE)


class RemoteSettings(NamedTuple):
    """One table."""

    name: str
    url: str
    """Without a slash at its end."""
    key: str = ""
    """Where its key is kept, never the key itself: see remote_keys.py. Empty: it needs none."""
    models: tuple[str, ...] = ()
    """The first is the one of `remote:NAME` alone; none: the server is asked which it has."""
    allow: tuple[str, ...] = ("prompt",)
    dialect: str = ""
    """Empty: by what the server says of itself."""
    fim: str = ""
    """The family by whose markers a middle is asked for; empty: as the server does it."""
    certificates: str = ""
    """A file with the certificates that vouch for it; empty: the system's."""
    read_timeout: float = 0.0
    """Seconds without a byte after which an answer has failed; 0: no limit of its own."""

    @property
    def host(self) -> str:
        """The machine, as users are told of it."""
        return urlsplit(self.url).hostname or ""


class RemoteModel(NamedTuple):
    """A model on another machine, as `remote:NAME/MODEL` names it."""

    remote: str
    model: str = ""
    """Empty: the remote's first."""

    def __str__(self) -> str:
        return f"{PREFIX}{self.remote}/{self.model}" if self.model else f"{PREFIX}{self.remote}"


def parse(name: str) -> RemoteModel | None:
    """None for the name of a model that is here."""
    if not name.startswith(PREFIX):
        return None
    remote, _, model = name.removeprefix(PREFIX).partition("/")
    return RemoteModel(remote, model)


def find(options: Config, name: str) -> RemoteSettings:
    """The table of that name. Raises ConfigError for one that is not there, or cannot be used."""
    if name not in options.remotes:
        known = ", ".join(options.remotes) or "none"
        raise ConfigError(f"config.toml has no table [remotes.{name}]; there are: {known}. docs/remotes.md shows one")
    return _read(name, options.remotes[name])


def every(options: Config) -> Iterator[RemoteSettings | ConfigError]:
    """All tables, and what is wrong with those that cannot be used."""
    for name in options.remotes:
        try:
            yield find(options, name)
        except ConfigError as error:
            yield error


def environment_names(options: Config) -> set[str]:
    """The variables that hold keys: no process that is started by us may inherit them."""
    tables = [table for table in options.remotes.values() if isinstance(table, dict)]
    keys = [str(table.get("key", "")) for table in tables]
    return {key.removeprefix("env:") for key in keys if key.startswith("env:")}


def is_secret(variable: str) -> bool:
    """Whether an environment variable holds something of this kind, by its name."""
    return _ENVIRONMENT.fullmatch(variable) is not None


def _read(name: str, table: Any) -> RemoteSettings:
    where = f"[remotes.{name}]"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a remote's name is letters, digits and . _ -, at most 64")
    if not isinstance(table, dict):
        raise ConfigError(f'{where} must be a table, with lines such as url = "https://box.example/v1"')
    known = RemoteSettings._fields[1:]
    for option in table:
        if option not in known:
            raise ConfigError(f"{where}: a remote has no option {option!r}; it may have {', '.join(known)}")
    return RemoteSettings(
        name,
        _url(where, _text(where, table, "url")),
        _key(where, name, _text(where, table, "key")),
        _texts(where, table, "models", ()),
        _words(where, "allow", _texts(where, table, "allow", ("prompt",)), tuple(ALLOWED)),
        _words(where, "dialect", (_text(where, table, "dialect"),), ("", *DIALECTS))[0],
        _words(where, "fim", (_text(where, table, "fim"),), ("", *FAMILIES))[0],
        os.path.expanduser(_text(where, table, "certificates")),
        _seconds(where, table.get("read_timeout", 0)),
    )


def _text(where: str, table: dict[str, Any], option: str) -> str:
    value = table.get(option, "")
    if not isinstance(value, str) or not value.isprintable() or len(value) > 4096:
        raise ConfigError(f"{where}: {option} must be a text on one line")
    return value


def _texts(where: str, table: dict[str, Any], option: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = table.get(option, default)
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(text, str) and text and text.isprintable() for text in value
    ):
        raise ConfigError(f'{where}: {option} must be a list of texts, such as ["{(default or ("a",))[0]}"]')
    return tuple(value)


def _words(where: str, option: str, given: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for word in given:
        if word not in known:
            raise ConfigError(f"{where}: {option} knows no {word!r}; it may be {', '.join(filter(None, known))}")
    return given


def _seconds(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400:
        raise ConfigError(f"{where}: read_timeout must be 0 to 86400 seconds; 0 is no limit")
    return float(value)


def _url(where: str, url: str) -> str:
    example = 'such as url = "https://box.example/v1"'
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"{where}: its url cannot be read; give one {example}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{where}: it needs a url, {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{where}: a url has no key, password or question in it; `key` says where a key is kept")
    if parts.scheme == "http" and not may_be_plain(host):
        raise ConfigError(
            f"{where}: {host} is not in your own network, and http would send prompts and the key as everyone can "
            "read them; use https"
        )
    return url.rstrip("/")


def may_be_plain(host: str) -> bool:
    """Whether http may be used, as far as the name tells; what a name leads to is looked at when it is asked."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    return address.is_private or address.is_loopback or address.is_link_local


def _key(where: str, name: str, key: str) -> str:
    kind, _, rest = key.partition(":")
    if key in ("", "keyring", "file"):
        return key
    if kind not in ("file", "env", "command") or not rest:
        raise ConfigError(
            f'{where}: key says where the key is kept, and is never the key: "keyring", "file", "file:/path", '
            f'"env:{name.upper()}_KEY" or "command:pass show {name}"'
        )
    if kind == "env" and not is_secret(rest):
        raise ConfigError(
            f"{where}: the variable of a key must be named as one, ending in KEY, TOKEN, SECRET or PASSWORD, so that "
            "no process inherits it"
        )
    if kind == "file" and not os.path.isabs(os.path.expanduser(rest)):
        raise ConfigError(f"{where}: the file of a key needs its full path, from / or ~ on")
    return key
