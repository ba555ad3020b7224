"""status, stop, load, unload, models: one question to the daemon each, and its answer for people or programs."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.api import errors
from threadrunner.cli import ends, prompt, render
from threadrunner.client import autostart
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

_NO_DAEMON = "no daemon is running"


def run(name: str, options: Namespace) -> int:
    if name == "models":
        return models_pull(options) if options.action == "pull" else models_list(options)
    commands = {"status": status, "stop": stop, "load": load, "unload": unload}
    return commands[name](options)


def status(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        raise errors.Unreachable(f"{_NO_DAEMON}; the first prompt starts one")
    facts = connection.call("status", {})
    render.put(1, _json(facts) if options.json else _status_text(facts))
    return exits.OK


def stop(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        render.say(_NO_DAEMON)
    else:
        autostart.stop(connection, autostart.socket_path())
    return exits.OK


def load(options: Namespace) -> int:
    params = {**prompt.target(options.model, options.backend, options.offline), **prompt.keep_alive()}
    loaded = _with_progress("models.load", params)
    seconds, context = loaded["load_ms"] / 1e3, loaded["context"]
    render.put(1, f"{loaded['model']}: ready in {seconds:.1f} s, {context} tokens of context\n")
    return exits.OK


def unload(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        render.say(f"{_NO_DAEMON}, so nothing is loaded")
        return exits.OK
    params = {} if options.model is None else {"model": prompt.model_name(options.model)}
    names = connection.call("models.unload", params)["models"]
    render.put(1, "".join(f"{name}: unloaded\n" for name in names))
    if not names:
        render.say("nothing is loaded")
    return exits.OK


def models_list(options: Namespace) -> int:
    listing = _with_progress("models.list", {})
    if options.json:
        render.put(1, _json(listing))
        return exits.OK
    rows = [("NAME", "SIZE", "STATE", "ABOUT")]
    for model in listing["models"]:
        state = "loaded" if model["loaded"] else "here" if model["present"] else "not fetched"
        name = f"{model['name']} (default)" if model["default"] else model["name"]
        rows.append((name, render.size(model["size_bytes"]), state, model["description"] or model["path"] or ""))
    render.put(1, render.table(rows))
    return exits.OK


def models_pull(options: Namespace) -> int:
    pulled = _with_progress("models.pull", {"model": prompt.model_name(options.model)})
    render.put(1, f"{pulled['model']}: {pulled['path']} ({render.size(pulled['size_bytes'])})\n")
    return exits.OK


def _with_progress(method: str, params: dict[str, Any]) -> dict[str, Any]:
    progress = render.Progress()
    ends.before_end(progress.clear)
    result: dict[str, Any] = {}
    try:
        for event, about in autostart.request(method, params):
            if event == "progress":
                progress.show(about["stage"], about["done"], about["total"])
            elif event == "result":
                progress.finish()
                result = about
    finally:
        progress.clear()
    return result


def _json(value: dict[str, Any]) -> str:
    return messages.encode(value).decode() + "\n"


def _status_text(facts: dict[str, Any]) -> str:
    clients = facts["clients"]
    lines = [
        f"daemon {facts['version']}, pid {facts['pid']}, up {render.duration(facts['uptime_s'])}, "
        f"{render.size(facts['rss_bytes'])}, {clients} client{'' if clients == 1 else 's'}\n"
    ]
    if not facts["models"]:
        return f"{lines[0]}no model is loaded; the next prompt loads {facts['model']} (backend {facts['backend']})\n"
    rows = [("MODEL", "BACKEND", "STATE", "PID", "MEMORY", "CONTEXT", "ACTIVE", "QUEUED", "CACHED", "UNLOADS IN")]
    for model in facts["models"]:
        expires = model.get("expires_s")
        rows.append(
            (
                model["name"],
                model["backend"],
                model["state"],
                str(model["pid"] or "-"),
                render.size(model["rss_bytes"]),
                str(model["context"]),
                str(model["active"]),
                str(model["queued"]),
                str(model["cached_tokens"]),
                "-" if expires is None else render.duration(expires),
            )
        )
    lines.append(render.table(rows))
    lines += [f"{model['name']}: {model['error']}\n" for model in facts["models"] if model.get("error")]
    return "".join(lines)
