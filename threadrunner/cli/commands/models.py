"""models list, show, recommend, search, pull, rm."""

from __future__ import annotations

import os

from threadrunner import exits, paths
from threadrunner.api.errors import InvalidParams, ModelNotFound, NotSupported
from threadrunner.cli import render, request
from threadrunner.cli.arguments import Actions, Parser, add_json, run_action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from typing import Any

PURPOSES = ("chat", "code", "tools", "thinking", "embed")
"""What a model of the catalog may be for, as in catalog_settings: to import that would cost each command 8 ms."""

_DESCRIPTION_CHARS = 60  # of a description, which comes from the model's file

run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    action = actions.add("list", "the models that can be named", listing)
    action.add_argument("--fits", action="store_true", help="also those that can be fetched, and what each needs here")
    add_json(action)
    action = actions.add("recommend", "the best models for this machine, before anything is downloaded", recommend)
    action.add_argument("purpose", nargs="?", default="chat", choices=PURPOSES, help=f"{', '.join(PURPOSES)}; chat")
    add_json(action)
    action = actions.add("search", "models on the Hugging Face hub", search)
    action.add_argument("text", metavar="TEXT", nargs="+", help="words of a repository's name")
    add_json(action)
    action = actions.add("show", "all that is known of one", show)
    action.add_argument("model", metavar="MODEL", help="a name or a file")
    action.add_argument(
        "--template", action="store_true", help="its chat template, and what the model is shown of a conversation"
    )
    add_json(action)
    source = "a catalog name, hf:owner/repo[:quantization or file], or a file or folder to copy"
    action = actions.add("pull", "fetch one", pull)
    action.add_argument("model", metavar="MODEL", help=source)
    action.add_argument(
        "--no-mmproj", action="store_true", help="without the encoder of pictures that may be beside it"
    )
    action = actions.add("rm", "delete one's files from the models folder", remove)
    action.add_argument("model", metavar="MODEL", help="a name that `threadrunner models list` shows")


def recommend(options: Namespace) -> int:
    from threadrunner.cli.commands import models_fit

    return models_fit.recommend(options)


def search(options: Namespace) -> int:
    from threadrunner.cli.commands import models_search

    return models_search.search(options)


def listing(options: Namespace) -> int:
    if options.fits:
        from threadrunner.cli.commands import models_fit

        return models_fit.fits(options)
    answer = request.ask("models.list", {})
    if options.json:
        render.out(render.json_line(answer))
        return exits.OK
    corrected = _corrected()
    head = ("NAME", "SIZE", "QUANT", "PARAMS", "CONTEXT", "CAN", "STATE", "USED", "ABOUT")
    rows = [head, *map(_row, answer["models"])]
    if corrected:
        told = ["CORRECTED", *(corrected.get(model["name"], "-") for model in answer["models"])]
        rows = [(*row[:-1], column, row[-1]) for row, column in zip(rows, told, strict=True)]
    render.out(render.table(rows))
    return exits.OK


def _corrected() -> dict[str, str]:
    """By model, how many of its answers in conversations were retried, edited or undone (docs/learning.md)."""
    if not os.path.exists(os.path.join(paths.learned_dir(), "answers.json")):
        return {}  # before the imports, which most who list models need not wait for
    from threadrunner.learning import corrections

    found = {}
    for name, modes in corrections.known().items():
        counts = {kind: sum(mode[kind] for mode in modes.values()) for kind in corrections.KINDS}
        again = sum(counts.values()) - counts["answers"]
        found[name] = f"{again} of {max(again, counts['answers'])}"
    return found


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    about = (model["description"] or model["path"] or "")[:_DESCRIPTION_CHARS]
    return (
        _name(model),
        render.size(model["size_bytes"]) if model["size_bytes"] else "-",
        model.get("quantization") or "-",
        count(model.get("parameters")),
        count(model.get("context"), 1024),
        abilities(model),
        _state(model),
        render.ago(model.get("last_used")),
        f"! {model['problem']}" if model.get("problem") else about,
    )


def show(options: Namespace) -> int:
    if options.template:
        return show_template(options)
    model = request.ask("models.show", {"model": request.model_name(options.model)})
    if options.json:
        render.out(render.json_line(model))
        return exits.OK
    rows = [
        ("name", _name(model)),
        ("title", model["title"]),
        ("about", model["description"] if model["description"] != model["title"] else ""),
        ("problem", model.get("problem") or ""),
        ("architecture", model.get("architecture") or ""),
        ("parameters", count(model.get("parameters"))),
        ("quantization", model.get("quantization") or ""),
        ("context", f"{model['context']} tokens" if model.get("context") else ""),
        ("can", abilities(model)),
        *_answers(model),
        ("size", render.size(model["size_bytes"]) if model["size_bytes"] else ""),
        ("state", _state(model)),
        ("last used", render.ago(model.get("last_used"))),
        ("corrected", _corrected().get(model["name"], "")),
        ("kept by", model["keeper"]),
        ("source", model["source"]),
        *(("file", file) for file in model["files"]),
        ("pictures by", model.get("mmproj") or ""),
        *_options(model),
        *((name, str((model.get("facts") or {}).get(name, ""))) for name in ("gpu", "cache")),
    ]
    render.out(render.table([row for row in rows if row[1] not in ("", "-")]))
    return exits.OK


_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place, now",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "a town"}},
            "required": ["place"],
        },
    },
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"place": "Paris"}'}}
_CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it cold in Paris?"}]
_WITH_CALL = [
    *_CONVERSATION,
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 4}'},
]


def show_template(options: Namespace) -> int:
    """The model's chat templates, and what it is shown of two conversations: one of two messages, one with a call."""
    name = request.model_name(options.model)
    model = request.ask("models.show", {"model": name, "templates": True})
    if not model["present"]:
        raise ModelNotFound(f"{name} is not on this machine yet; threadrunner models pull {name} fetches it")
    samples = {
        "a conversation": _applied(name, {"messages": _CONVERSATION}),
        "a conversation with a tool": _applied(name, {"messages": _WITH_CALL, "tools": [_TOOL]}),
    }
    templates = model.get("templates", {})
    if options.json:
        render.out(render.json_line({"model": model["name"], "templates": templates, "samples": samples}))
        return exits.OK
    parts = [(f"template {title}", text) for title, text in templates.items()] or [("template", "it has none")]
    for title, sample in samples.items():
        size = f" ({sample['tokens']} tokens)" if "tokens" in sample else ""
        parts.append((f"{title}{size}", sample.get("prompt") or sample["error"]))
    render.out("\n".join(f"--- {title}\n{text.rstrip(chr(10))}\n" for title, text in parts))
    return exits.OK


def _applied(name: str, conversation: dict[str, Any]) -> dict[str, Any]:
    try:
        return request.ask("apply_template", {"model": name, "backend": "llama", **conversation})
    except (InvalidParams, NotSupported) as error:  # what this model cannot do is what was asked
        return {"error": error.message}


_SHOWN = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
"""What is shown of sampling in any case; of the rest, what is not as by default."""


def _answers(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a request gets that says nothing, each with where it comes from."""
    origins, sampling = model.get("origins") or {}, []
    others = []
    for name, value in (model.get("defaults") or {}).items():
        shown, origin = _one_line(value), origins[name]
        if type(value) in (int, float) and not name.startswith(("max_", "reasoning")):
            sampling += [f"{name} {value:g} ({origin})"] if name in _SHOWN or origin != "default" else []
        else:
            others.append((name, f"{shown} ({origin})"))
    yield "sampling", ", ".join(sampling)
    yield from others


def _options(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Those that are not as they are by default, with values as config.toml has them."""
    origins = model.get("origins") or {}
    for name, value in (model.get("settings") or {}).items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        yield f"option {name}", f"{shown} ({origins[name]})" if name in origins else shown


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _DESCRIPTION_CHARS else f"{text[:_DESCRIPTION_CHARS]}…"


def pull(options: Namespace) -> int:
    name = request.model_name(options.model, folders=True)
    pulled = request.ask("models.pull", {"model": name, **({"mmproj": False} if options.no_mmproj else {})})
    eyes = ", with its encoder of pictures" if "mmproj" in pulled else ""
    render.out(f"{pulled['model']}: {pulled['path']} ({render.size(pulled['size_bytes'])}{eyes})\n")
    if "missing" not in pulled:
        return exits.OK
    render.say(
        f"the model is here, and takes no pictures: {pulled['missing']}. (With --no-mmproj the model alone is fetched.)"
    )
    return exits.MODEL


def remove(options: Namespace) -> int:
    removed = request.ask("models.remove", {"model": request.model_name(options.model)})
    for file in removed["files"]:
        why = " (its encoder of pictures, which no other model here uses)" if file == removed.get("mmproj") else ""
        render.out(f"{file}: removed{why}\n")
    render.say(f"{render.size(removed['size_bytes'])} are free again")
    return exits.OK


def _name(model: dict[str, Any]) -> str:
    return f"{model['name']} (default)" if model["default"] else str(model["name"])


def _state(model: dict[str, Any]) -> str:
    if host := model.get("host"):
        return f"at {host}"
    return "loaded" if model["loaded"] else "here" if model["present"] else "not fetched"


def abilities(model: dict[str, Any]) -> str:
    """What it was made for, beside continuing a text."""
    found = [
        word
        for word, known in (("chat", "chat_template"), ("infill", "fim"), ("pictures", "vision"))
        if model.get(known)
    ]
    return ",".join(found) or "-"


def count(number: int | None, thousand: int = 1000) -> str:
    """135M, 32k; - for none."""
    if not number:
        return "-"
    value, units = float(number), ["", "k", "M", "G", "T"]
    while value >= thousand and len(units) > 1:
        value /= thousand
        units.pop(0)
    shown = f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"
    return f"{shown}{units[0]}"
