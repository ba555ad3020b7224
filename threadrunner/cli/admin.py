"""stop, load, unload: one question to the daemon each, and its answer for people or programs."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import prompt, render, signals
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

_NO_DAEMON = "no daemon is running"


def run(name: str, options: Namespace) -> int:
    commands = {"stop": stop, "load": load, "unload": unload}
    return commands[name](options)


def stop(options: Namespace) -> int:
    connection = autostart.find()
    if connection is None:
        render.say(_NO_DAEMON)
    else:
        autostart.stop(connection, autostart.socket_path())
    return exits.OK


def load(options: Namespace) -> int:
    params = {**prompt.target(options.model, options.backend, options.offline), **prompt.keep_alive()}
    loaded = with_progress("models.load", params)
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


def with_progress(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of a request; how far it has come is shown meanwhile."""
    progress = render.ProgressLine()
    signals.before_end(progress.clear)
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
