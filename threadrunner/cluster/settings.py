"""The cluster's file: which models, how often, where. Read and checked whole, so that a mistake costs a second and not
a start of Ray. Pure but for reading."""

from __future__ import annotations

import os
import re
import tomllib
from typing import Any, NamedTuple

from threadrunner import config


class BadClusterFile(Exception):
    """The text says where the mistake is and what may stand there."""


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_ROUTE = re.compile(r"/|(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_NOT_FOR_REPLICAS = ("model", "model_path", "aliases", "idle_exit", "keep_alive")
"""Options that a replica's daemon has from us."""
MOST_REPLICAS = 1000


class ClusterModel(NamedTuple):
    """One table [models.NAME]: an application of its own."""

    name: str
    """What clients call it, and its place below the address."""
    model: str
    """As `threadrunner -m` takes it, on the machine of the replica."""
    route: str
    least: int = 1
    most: int = 1
    requests: float = 2.0
    """Under way at each replica, that scaling aims at."""
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    """Bytes that a machine must have free of other replicas; 0: any."""
    needs: str = ""
    """A label that the replica's machine must have."""
    options: dict[str, Any] = {}  # noqa: RUF012 - of the replica's daemon, as config.toml has them


class ClusterSettings(NamedTuple):
    """The file."""

    name: str
    address: str = "127.0.0.1"
    """Of the first machine, as the others reach it."""
    port: int = 6380
    """There, of Ray's own."""
    listen: str = "127.0.0.1"
    listen_port: int = 8770
    proxies: str = "head"
    keys: str = ""
    """Where the keys are that clients are asked for, never a key; empty: none is."""
    hosts: tuple[str, ...] = ()
    """Names that clients reach it by, beside its addresses."""
    certificate: str = ""
    certificate_key: str = ""
    cpus: float = -1.0
    """That each machine offers; below 0: all that it has."""
    object_store: int = 80 << 20
    """Bytes of shared memory on each machine; no weights go through it."""
    models: tuple[ClusterModel, ...] = ()

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"


def read(path: str) -> ClusterSettings:
    """Raises BadClusterFile."""
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise BadClusterFile(f"{path}: {error.strerror}; docs/cluster.md shows such a file") from None
    except (ValueError, RecursionError) as error:
        raise BadClusterFile(f"{path}: not TOML: {error}") from None
    name = os.path.basename(path).removesuffix(".toml").lower()
    try:
        return checked(tables, name)
    except BadClusterFile as error:
        raise BadClusterFile(f"{path}: {error}") from None


def checked(tables: dict[str, Any], name: str) -> ClusterSettings:
    """Raises BadClusterFile."""
    table = _Table("", tables)
    table.only("name", "address", "port", "listen", "proxies", "keys", "hosts", "tls", "cpus", "object_store", "models")
    name = table.text("name", name)
    if not _NAME.fullmatch(name):
        raise BadClusterFile("name: a cluster's name is small letters, digits and . _ -, at most 40")
    host, port = _listen(table.text("listen", "127.0.0.1:8770"))
    tls = _Table("tls", table.table("tls"))
    tls.only("certificate", "key")
    settings = ClusterSettings(
        name=name,
        address=table.text("address", "127.0.0.1"),
        port=int(table.number("port", 6380, 1, 65535)),
        listen=host,
        listen_port=port,
        proxies=table.word("proxies", ("head", "every")),
        keys=_keys(table.text("keys", "")),
        hosts=tuple(table.texts("hosts")),
        certificate=_path(tls.text("certificate", "")),
        certificate_key=_path(tls.text("key", "")),
        cpus=table.number("cpus", -1.0, -1.0, 4096.0),
        object_store=int(table.number("object_store", 80 << 20, 80 << 20, 1 << 40)),
        models=_models(table.table("models")),
    )
    _check_whole(settings)
    return settings


def _check_whole(settings: ClusterSettings) -> None:
    if bool(settings.certificate) != bool(settings.certificate_key):
        raise BadClusterFile("[tls] needs both, certificate and key: the paths of two PEM files on each machine")
    if not is_loopback(settings.listen) and not settings.keys:
        raise BadClusterFile(
            f'listen: {settings.listen} can be reached from other machines, so it needs keys: add keys = "auto"'
        )
    routes = [model.route for model in settings.models]
    if twice := next((route for route in routes if routes.count(route) > 1), None):
        raise BadClusterFile(f"two models have the route {twice}; give each its own")


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _models(tables: dict[str, Any]) -> tuple[ClusterModel, ...]:
    if not tables:
        raise BadClusterFile('it names no model; add a table such as [models.small] with model = "smollm2:135m"')
    return tuple(_model(name, table) for name, table in tables.items())


def _model(name: str, value: Any) -> ClusterModel:
    if not _NAME.fullmatch(name):
        raise BadClusterFile(f"[models.{name[:60]}]: a name is small letters, digits and . _ -, at most 40")
    table = _Table(f"models.{name}", value)
    table.only("model", "route", "replicas", "requests", "cpus", "gpus", "memory", "needs", "options")
    model = table.text("model", "")
    if not model or (
        model.startswith(("remote:", ".")) or ("/" in model and model[0] not in "/~" and ":" not in model)
    ):
        raise BadClusterFile(
            f'{table.at("model")} must be a name such as "smollm2:135m" or "hf:owner/repo:Q4_K_M", or a full path that '
            "is the same on each machine"
        )
    route = table.text("route", f"/{name}")
    if not _ROUTE.fullmatch(route):
        raise BadClusterFile(f'{table.at("route")} must be a path such as "/{name}"')
    least, most = _replicas(table)
    return ClusterModel(
        name, model, route, least, most,
        requests=table.number("requests", 2.0, 0.1, 64.0),
        cpus=table.number("cpus", 1.0, 0.0, 4096.0),
        gpus=table.number("gpus", 0.0, 0.0, 64.0),
        memory=int(table.number("memory", 0, 0, 1 << 50)),
        needs=_label(table),
        options=_options(table),
    )  # fmt: skip


def _replicas(table: _Table) -> tuple[int, int]:
    value = table.value.get("replicas", 1)
    both = value if isinstance(value, list) else [value, value]
    whole = all(type(number) is int for number in both) and len(both) == 2
    if not whole or not 0 <= both[0] <= both[1] <= MOST_REPLICAS or both[1] < 1:
        raise BadClusterFile(
            f"{table.at('replicas')} must be a number, or the least and the most as [1, 4], at most {MOST_REPLICAS}"
        )
    return both[0], both[1]


def _label(table: _Table) -> str:
    label = table.text("needs", "")
    if label and (not _NAME.fullmatch(label) or label in ("memory", "object_store_memory")):
        raise BadClusterFile(f"{table.at('needs')} must be a label of small letters, as `cluster up --has` takes it")
    return label


def _options(table: _Table) -> dict[str, Any]:
    """As config.toml's, checked as such."""
    read = {}
    known = config.options()
    for key, value in table.table("options").items():
        if key not in known or key in _NOT_FOR_REPLICAS:
            raise BadClusterFile(f"{table.at('options')} has no {key!r}; docs/configuration.md lists what it may have")
        try:
            read[key] = known[key].from_toml(value, f"[{table.name}.options]")
        except config.ConfigError as error:
            raise BadClusterFile(str(error)) from None
    return read


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise BadClusterFile('listen must be an address and a port, as "127.0.0.1:8770"')
    return host.strip("[]"), int(port)


def _keys(text: str) -> str:
    if text in ("", "auto"):
        return text
    kind, _, path = text.partition(":")
    if kind != "file" or not os.path.isabs(os.path.expanduser(path)):
        raise BadClusterFile('keys says where they are, and is never a key: "auto", or "file:/full/path"')
    return f"file:{os.path.expanduser(path)}"


def _path(text: str) -> str:
    path = os.path.expanduser(text)
    if path and not os.path.isabs(path):
        raise BadClusterFile(f"[tls]: {text} must be a full path")
    return path


class _Table:
    """One table, and how its lines are read. Each raises BadClusterFile with the place."""

    def __init__(self, name: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise BadClusterFile(f"{name} must be a table, [{name}]")
        self.name = name
        self.value = value

    def at(self, key: str) -> str:
        return f"[{self.name}]: {key}" if self.name else key

    def only(self, *known: str) -> None:
        for key in self.value:
            if key not in known:
                raise BadClusterFile(f"{self.at(repr(key)[:60])} is no option; there are {', '.join(known)}")

    def table(self, key: str) -> dict[str, Any]:
        value = self.value.get(key, {})
        if not isinstance(value, dict):
            raise BadClusterFile(f"{self.at(key)} must be a table")
        return value

    def text(self, key: str, default: str) -> str:
        value = self.value.get(key, default)
        if not isinstance(value, str) or not value.isprintable() or len(value) > 4096:
            raise BadClusterFile(f"{self.at(key)} must be a text on one line, in quotes")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text.isprintable() for text in value):
            raise BadClusterFile(f'{self.at(key)} must be a list of texts, as ["box.example"]')
        return value

    def word(self, key: str, words: tuple[str, ...]) -> str:
        value = self.text(key, words[0])
        if value not in words:
            raise BadClusterFile(f"{self.at(key)} must be {' or '.join(words)}")
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        value = self.value.get(key, default)
        if type(value) not in (int, float) or not least <= value <= most:
            raise BadClusterFile(f"{self.at(key)} must be a number from {least:g} to {most:g}")
        return float(value)
