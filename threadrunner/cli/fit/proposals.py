"""Three models to choose from: pure."""

from __future__ import annotations

from threadrunner.cli.fit import estimate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def three(models: list[dict[str, Any]], purpose: str, here: estimate.Machine) -> list[dict[str, Any]]:
    """The best that this machine can run, then the best of half its size, and of half that: disks and networks are
    small too. Fewer, where nothing is that small."""
    ranked = estimate.recommended(models, purpose, here)
    chosen: list[dict[str, Any]] = []
    for model in ranked:
        if len(chosen) < 3 and (not chosen or model["size_bytes"] <= chosen[-1]["size_bytes"] / 2):
            chosen.append(model)
    return chosen
