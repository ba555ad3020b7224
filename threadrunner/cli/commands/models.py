"""models list, show, pull, rm."""

from __future__ import annotations

import os
import time

from threadrunner import exits
from threadrunner.cli import prompt, render
from threadrunner.cli.admin import with_progress
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import Any

_ABOUT = 60  # letters of a description, which comes from the model's file


def run(options: Namespace) -> int:
    actions = {"list": listing, "show": show, "pull": pull, "rm": remove}
    return actions[options.action](options)


def listing(options: Namespace) -> int:
    answer = with_progress("models.list", {})
    if options.json:
        render.put(1, messages.encode(answer).decode() + "\n")
        return exits.OK
    rows = [("NAME", "SIZE", "QUANT", "PARAMS", "CONTEXT", "CAN", "STATE", "USED", "ABOUT")]
    for model in answer["models"]:
        name = f"{model['name']} (default)" if model["default"] else model["name"]
        about = (
            f"! {model['problem']}" if model.get("problem") else (model["description"] or model["path"] or "")[:_ABOUT]
        )
        rows.append(
            (
                name,
                render.size(model["size_bytes"]) if model["size_bytes"] else "-",
                model.get("quantization") or "-",
                count(model.get("parameters")),
                count(model.get("context"), 1024),
                abilities(model),
                "loaded" if model["loaded"] else "here" if model["present"] else "not fetched",
                ago(model.get("last_used")),
                about,
            )
        )
    _table(rows)
    return exits.OK


def show(options: Namespace) -> int:
    model = with_progress("models.show", {"model": prompt.model_name(options.model)})
    if options.json:
        render.put(1, messages.encode(model).decode() + "\n")
        return exits.OK
    rows = [
        ("name", f"{model['name']} (default)" if model["default"] else model["name"]),
        ("title", model["title"]),
        ("about", model["description"] if model["description"] != model["title"] else ""),
        ("problem", model.get("problem") or ""),
        ("architecture", model.get("architecture") or ""),
        ("parameters", count(model.get("parameters"))),
        ("quantization", model.get("quantization") or ""),
        ("context", f"{model['context']} tokens" if model.get("context") else ""),
        ("can", abilities(model)),
        ("size", render.size(model["size_bytes"])),
        ("state", "loaded" if model["loaded"] else "here" if model["present"] else "not fetched"),
        ("last used", ago(model.get("last_used"))),
        ("kept by", model["keeper"]),
        ("source", model["source"]),
        *(("file", file) for file in model["files"]),
    ]
    _table([row for row in rows if row[1] not in ("", "-")])
    return exits.OK


def pull(options: Namespace) -> int:
    name = prompt.model_name(options.model)
    if os.path.isdir(name):
        name = os.path.abspath(name)
    pulled = with_progress("models.pull", {"model": name})
    _line(f"{pulled['model']}: {pulled['path']} ({render.size(pulled['size_bytes'])})\n")
    return exits.OK


def remove(options: Namespace) -> int:
    removed = with_progress("models.remove", {"model": prompt.model_name(options.model)})
    for file in removed["files"]:
        _line(f"{file}: removed\n")
    render.say(f"{render.size(removed['size_bytes'])} are free again")
    return exits.OK


def abilities(model: dict[str, Any]) -> str:
    """What it was made for, beside going on with a text."""
    found = [word for word, known in (("chat", "chat_template"), ("infill", "fim")) if model.get(known)]
    return ",".join(found) or "-"


def count(number: int | None, thousand: int = 1000) -> str:
    """135M, 32k."""
    if not number:
        return "-"
    value, units = float(number), ["", "k", "M", "G", "T"]
    while value >= thousand and len(units) > 1:
        value /= thousand
        units.pop(0)
    shown = f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"
    return f"{shown}{units[0]}"


def ago(then: float | None) -> str:
    if not then:
        return "-"
    seconds = max(0.0, time.time() - then)
    if seconds < 86400:
        return f"{render.duration(seconds)} ago"
    return f"{int(seconds // 86400)} d ago"


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    _line(render.table(rows))


def _line(text: str) -> None:
    """A model's name for itself comes from its file."""
    render.put(1, render.printable(text) if os.isatty(1) else text)
