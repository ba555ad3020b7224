"""learn show, reset, off, on: what is learned of how you use suggestions and answers. No daemon is asked."""

from __future__ import annotations

import os

from threadrunner import config, exits, paths
from threadrunner.api.errors import InvalidParams
from threadrunner.cli import config_file, render
from threadrunner.cli.arguments import Actions, Parser, add_json, run_action
from threadrunner.learning import corrections, kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

TELLING = 0.3
"""Of a weight: less is hardly more than chance."""

run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    add_json(actions.add("show", "all that was learned, and where it is kept", show))
    actions.add("reset", "delete it", reset)
    actions.add("off", "learn nothing from now on, and show all suggestions", off)
    actions.add("on", "learn again", on)


def show(options: Namespace) -> int:
    found = kept.summary(_is_on())
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    render.out(f"learning is {'on' if found['on'] else 'off'}; what was learned is in {found['folder']}\n")
    parts = []
    if suggestions := found["suggestions"]:
        parts.append(render.table(_suggestions(suggestions["languages"])) + _weighed(suggestions))
    if found["snippets"]:
        rows = [(each["folder"], str(each["count"]), each["file"]) for each in found["snippets"]]
        parts.append(render.table([("WORKSPACE", "SNIPPETS", "FILE"), *rows]))
    if found["answers"]:
        parts.append(render.table(_answers(found["answers"])))
    for part in parts:
        render.out(f"\n{part}")
    if not parts:
        render.say("nothing was learned yet; docs/learning.md tells what it will be")
    return exits.OK


def _is_on() -> bool:
    """Raises InvalidParams for a variable of the environment that cannot be used."""
    try:
        return config.readable()[0].learn
    except config.ConfigError as error:
        raise InvalidParams(str(error)) from None


def _weighed(suggestions: dict[str, Any]) -> str:
    weights: dict[str, float] = suggestions["weights"]
    up = [name for name, weight in weights.items() if weight > TELLING]
    down = [name for name, weight in weights.items() if weight < -TELLING]
    return (
        f"held back: those less likely to be taken than {suggestions['threshold']:.0%}\n"
        f"likelier with: {', '.join(up) or '-'}; less likely with: {', '.join(down) or '-'}\n"
    )


def _suggestions(languages: dict[str, dict[str, int]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("LANGUAGE", "SHOWN", "TAKEN", "TYPED", "WRONG", "HELD BACK", "OF THESE RIGHT")]
    for name, counts in sorted(languages.items()):
        columns = ("shown", "taken", "typed", "wrong", "quiet", "quiet_right")
        rows.append((name, *(str(counts.get(column, 0)) for column in columns)))
    return rows


def _answers(models: dict[str, dict[str, dict[str, int]]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("MODEL", "MODE", *(kind.upper() for kind in corrections.KINDS))]
    for model, modes in models.items():
        rows += [(model, mode, *(str(counts[kind]) for kind in corrections.KINDS)) for mode, counts in modes.items()]
    return rows


def reset(_options: Namespace) -> int:
    deleted = kept.delete()
    render.say(f"{render.counted(deleted, 'file')} deleted" if deleted else "nothing was learned, so nothing to delete")
    return exits.OK


def off(_options: Namespace) -> int:
    _set(False)
    render.say("nothing is learned from now on; `threadrunner learn reset` deletes what was")
    return exits.OK


def on(_options: Namespace) -> int:
    _set(True)
    render.say("suggestions and answers are learned from; `threadrunner learn show` shows what")
    return exits.OK


def _set(value: bool) -> None:
    config_file.set_option("learn", value)
    if (there := os.environ.get("THREADRUNNER_LEARN", "")) and paths.is_true(there) != value:
        render.say(f"THREADRUNNER_LEARN={there} is set, and is stronger than config.toml")
