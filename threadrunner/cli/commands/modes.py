"""modes: the presets for --mode."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.cli import render, request
from threadrunner.cli.arguments import Parser, add_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def arguments(parser: Parser) -> None:
    add_json(parser)


def run(options: Namespace) -> int:
    found = request.ask("modes.list", {})
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    rows = [("NAME", "MODEL", "SETS", "FOR")]
    for mode in found["modes"]:
        sets = [name for name in ("system", "template", "memory") if mode[name]] + sorted(mode["params"])
        about = f"cannot be used: {mode['problem']}" if mode.get("problem") else mode["description"]
        rows.append((mode["name"], mode["model"] or "", " ".join(sets), about))
    render.out(render.table(rows))
    return exits.OK
