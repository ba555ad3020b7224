"""remotes: servers on other machines, by the tables [remotes.NAME] of config.toml: list, try, and log in to them."""

from __future__ import annotations

import os
import sys

from threadrunner import config, exits, remote_keys, remote_settings
from threadrunner.api.errors import ApiError, InvalidParams
from threadrunner.cli import render, request, signals, stdin
from threadrunner.cli.arguments import Actions, Parser, add_json, run_action
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from threadrunner.remote_settings import RemoteSettings

_TEST_SECONDS = 30.0

run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    add_json(actions.add("list", "those that config.toml names; none is asked", listing))
    action = actions.add("test", "ask one which models it has, and nothing else", test)
    action.add_argument("name", metavar="NAME", help="the NAME of its table [remotes.NAME]")
    add_json(action)
    action = actions.add("login", "type its key, which is kept where its table says", login)
    action.add_argument("name", metavar="NAME", help="the NAME of its table [remotes.NAME]")


def listing(options: Namespace) -> int:
    answer = request.ask("remotes.list", {})
    if options.json:
        render.out(render.json_line(answer))
        return exits.OK
    if not answer["remotes"]:
        render.say("config.toml names no remote; docs/remotes.md shows a table [remotes.NAME]")
        return exits.OK
    rows = [("NAME", "URL", "DIALECT", "KEY", "MAY BE SENT", "MODELS")]
    render.out(render.table([*rows, *map(_row, answer["remotes"])]))
    return exits.OK


def _row(remote: dict[str, Any]) -> tuple[str, ...]:
    if remote.get("problem"):
        return (remote["name"], "-", "-", "-", "-", f"! {remote['problem']}")
    return (
        remote["name"],
        remote["url"],
        remote["dialect"] or "as it says",
        remote["key"].partition(":")[0] or "none",
        ", ".join(remote["allow"]) or "nothing",
        ", ".join(remote["models"]) or "as it says",
    )


def test(options: Namespace) -> int:
    found = request.ask("remotes.models", {"remote": options.name, "timeout": _TEST_SECONDS})
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    render.say(f"{found['host']} answers, after {found['took_ms']:.0f} ms; it speaks {found['dialect']}")
    for model in found["models"]:
        context = f"  {model['context']} tokens" if model["context"] else ""
        render.out(f"remote:{options.name}/{model['name']}{context}\n")
    if not found["models"]:
        render.say(f"it has no list of models; name one all the same: remote:{options.name}/MODEL")
    return exits.OK


def login(options: Namespace) -> int:
    remote = _table(options.name)
    if remote.key.partition(":")[0] not in ("keyring", "file"):  # before anything is typed
        _stored(remote, "")
    key = _typed(remote)
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidParams("that cannot be a key: it needs letters, digits and signs on one line, and no blanks")
    render.say(f"the key of {remote.name} is kept {_stored(remote, key)}")
    if (daemon := autostart.find()) is not None:  # its worker has the old one
        try:  # noqa: SIM105 - contextlib is one more import
            daemon.call("models.unload", {"model": f"{remote_settings.PREFIX}{remote.name}"})
        except ApiError:  # it has not seen the table yet, and so has no worker
            pass
    return exits.OK


def _table(name: str) -> RemoteSettings:
    try:
        return remote_settings.find(config.load(), name)
    except config.ConfigError as error:
        raise InvalidParams(str(error)) from None


def _typed(remote: RemoteSettings) -> str:
    """From a terminal without echo, or else all of standard input."""
    if not os.isatty(0):
        return stdin.key()
    import getpass

    from threadrunner.system import terminal

    signals.before_end(terminal.restorer())  # Ctrl-C would leave the shell without an echo
    try:
        return getpass.getpass(f"key of {remote.name} ({remote.host}): ", stream=sys.stderr).strip()
    except EOFError:
        return ""


def _stored(remote: RemoteSettings, key: str) -> str:
    try:
        return remote_keys.store(remote, key)
    except remote_keys.KeyMissing as error:
        raise InvalidParams(str(error)) from None
