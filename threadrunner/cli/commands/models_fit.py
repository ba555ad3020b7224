"""models list --fits, recommend, search: what could be fetched, and what it would be like on this machine."""

from __future__ import annotations

from threadrunner import exits, machine
from threadrunner.cli import render, request
from threadrunner.cli.commands import doctor_gpus
from threadrunner.cli.fit import bandwidth, estimate, gpus
from threadrunner.cli.fit.estimate import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

SHOWN = 5


def fits(options: Namespace) -> int:
    """All that can be fetched or is here, with what each needs."""
    here = this_machine()
    models = [model for model in asked() if model.get("does") or model["present"]]
    described = [_described(model, here) for model in models]
    if options.json:
        render.out(render.json_line({"models": described, **_machine(here)}))
        return exits.OK
    rows = [("NAME", "DOES", "DOWNLOAD", "NEEDS", "SPEED", "FITS", "LICENCE", "ABOUT")]
    render.out(render.table([*rows, *(_row(model) for model in described)]))
    render.say(_explained(here))
    return exits.OK


def recommend(options: Namespace) -> int:
    here = this_machine()
    models = estimate.recommended(asked(), options.purpose, here)[:SHOWN]
    described = [{**_described(model, here), "reason": _reason(model, i)} for i, model in enumerate(models)]
    if options.json:
        render.out(render.json_line({"purpose": options.purpose, "models": described, **_machine(here)}))
        return exits.OK
    if not described:
        render.say(f"no model that I know for {options.purpose} fits into {render.size(here.free or 0)} of free memory")
        return exits.MODEL
    rows = [("NAME", "DOWNLOAD", "NEEDS", "SPEED", "LICENCE", "WHY")]
    render.out(render.table([*rows, *((*_row(model)[:1], *_row(model)[2:5], model["licence"], model["reason"])
                                      for model in described)]))  # fmt: skip
    render.say(f'{_explained(here)}; to use the first: threadrunner -m {described[0]["name"]} "…"')
    return exits.OK


def this_machine() -> Machine:
    """Asks the engine for its GPUs, which takes some tenths of a second, and measures the memory once."""
    return Machine(machine.available_memory(), bandwidth.bytes_per_second(), gpus.found())


def asked() -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = request.ask("models.list", {"fetchable": True})["models"]
    return models


def _described(model: dict[str, Any], here: Machine) -> dict[str, Any]:
    """The model with what it would be like here."""
    speed = round(estimate.speed(model, here), 1)
    return {
        **model,
        "memory_bytes": estimate.memory(model),
        "tokens_per_second": speed,
        "fits": estimate.fits(model, here),
    }


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    embeds = model.get("does") == ["embed"]
    return (
        model["name"],
        ",".join(model.get("does") or ()) or "-",
        "here" if model["present"] else render.size(model["size_bytes"]),
        render.size(model["memory_bytes"]),
        "-" if embeds else f"{model['tokens_per_second']:.0f} tok/s",
        "yes" if model["fits"] else "no",
        model.get("licence") or "-",
        model["description"],
    )


def _reason(model: dict[str, Any], place: int) -> str:
    return model["description"] if place else f"the best that fits and is quick enough: {model['description']}"


def _machine(here: Machine) -> dict[str, Any]:
    cards = [{"description": gpu.description, "free_bytes": gpu.free} for gpu in here.gpus]
    return {
        "free_bytes": here.free, "bandwidth_bytes_per_second": round(here.bandwidth), "gpus": cards,
        "context": estimate.CONTEXT,
    }  # fmt: skip


def _explained(here: Machine) -> str:
    free = "" if here.free is None else render.size(here.free)
    room = free and f"{free} of memory are free, of which a model may have four fifths; "
    cards = "".join(f"{gpu.description} has {render.size(gpu.free)} free; " for gpu in here.gpus)
    if not here.gpus and (unused := doctor_gpus.unused()):
        cards = f"{unused} is here, which llama.cpp was not built for (`threadrunner doctor` says how to); "
    read = f"memory is read at {here.bandwidth / 1e9:.0f} GB/s"
    return f"{room}{cards}{read}; needs are with {estimate.CONTEXT} tokens of context"
