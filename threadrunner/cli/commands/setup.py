"""setup: a good model for this machine, fetched, made the default, and asked one thing."""

from __future__ import annotations

import os

from threadrunner import config, exits, machine
from threadrunner.cli import config_file, flags, prompt, render, request
from threadrunner.cli.arguments import Parser
from threadrunner.cli.commands import doctor_gpus, models_fit
from threadrunner.cli.fit import editors, estimate, proposals
from threadrunner.cli.fit.estimate import Machine
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

PURPOSES = (("chat", "To talk with"), ("code", "To complete code in editors"))


def arguments(parser: Parser) -> None:
    parser.add_argument("--yes", action="store_true", help="take the first proposal each time, and ask nothing")


def run(options: Namespace) -> int:
    if not options.yes and not (os.isatty(0) and os.isatty(1)):
        raise UsageError("setup asks questions: run it at a terminal, or give --yes to take its first proposals")
    here = models_fit.this_machine()
    render.out(_machine(here))
    models = request.ask("models.list", {"fetchable": True})["models"]
    chosen = {}
    for purpose, title in PURPOSES:
        offered = proposals.three(models, purpose, here)
        model = _choice(title, offered, here, options.yes)
        if model is not None:
            chosen[purpose] = _fetched(model)
    if "chat" in chosen:
        _make_default(chosen["chat"])
    if "code" in chosen:
        _tell_editors(chosen["code"])
    return _first_question(chosen["chat"]) if "chat" in chosen and not options.yes else exits.OK


def _machine(here: Machine) -> str:
    cores = machine.physical_cores()
    free = "" if here.free is None else f", {render.size(here.free)} of memory free"
    lines = [f"This machine: {cores} core{'s' if cores > 1 else ''}{free}, read at {here.bandwidth / 1e9:.0f} GB/s."]
    lines += [f"GPU: {gpu.description}, {render.size(gpu.free)} free." for gpu in here.gpus]
    if not here.gpus and (unused := doctor_gpus.unused()):
        lines.append(f"{unused} is here, which llama.cpp was not built for: `threadrunner doctor` says how to.")
    return "\n".join(lines) + "\n"


def _choice(title: str, offered: list[dict[str, Any]], here: Machine, yes: bool) -> dict[str, Any] | None:
    """None where nothing fits, or none is wanted."""
    if not offered:
        render.out(f"\n{title}: nothing that I know fits here.\n")
        return None
    rows = [
        (
            f"  {i}",
            model["name"],
            "is here" if model["present"] else render.size(model["size_bytes"]),
            f"{estimate.speed(model, here):.0f} tok/s",
            model["licence"],
            model["description"],
        )
        for i, model in enumerate(offered, 1)
    ]
    render.out(f"\n{title}:\n{render.table(rows)}")
    return offered[0] if yes else _asked(offered)


def _asked(offered: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the person types: a number, Enter for the first, 0 for none; asked again for anything else."""
    while True:
        answer = _line(f"1 to {len(offered)}, 0 for none [1]: ").strip() or "1"
        if answer.isascii() and answer.isdecimal() and int(answer) <= len(offered):
            return offered[int(answer) - 1] if int(answer) else None


def _line(question: str) -> str:
    """Raises UsageError at the end of the input."""
    try:
        return input(question)
    except EOFError:
        raise UsageError("there is no answer; nothing was changed after the last one") from None


def _fetched(model: dict[str, Any]) -> str:
    name: str = model["name"]
    pulled = request.ask("models.pull", {"model": name})
    render.out(f"{name} is here: {pulled['path']}\n")
    return name


def _make_default(name: str) -> None:
    """Raises OSError, paths.PathError."""
    path = config_file.set_option("model", name)
    if config.readable()[0].model_path:
        render.say("the option model_path is set too, and comes before it; remove that")
    render.out(f'\n{path} names it as the default: model = "{name}"\n')


def _tell_editors(name: str) -> None:
    for title, lines in editors.lines(name):
        render.out(f"\n{title}:\n{''.join(f'  {line}{chr(10)}' for line in lines.splitlines())}")


def _first_question(name: str) -> int:
    words = _line("\nAsk it something (Enter: not now): ").strip()
    return prompt.run(flags.read(["-m", name, "--", words])) if words else exits.OK
