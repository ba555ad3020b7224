"""Three models to choose from, and the line that makes one of them the default: pure."""

from __future__ import annotations

import json

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


def with_option(text: str, name: str, value: str) -> str:
    """config.toml's text with this option of the top level set, and the rest as it was. An option ends where a table
    begins, so a new one goes before the first table."""
    line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
    lines = text.splitlines()
    top = next((i for i, old in enumerate(lines) if old.lstrip().startswith("[")), len(lines))
    for i, old in enumerate(lines[:top]):
        if old.partition("=")[0].strip() == name and "=" in old:
            lines[i] = line
            break
    else:
        blank = [""] if top < len(lines) else []
        lines[top:top] = [line, *blank]
    return "\n".join(lines) + "\n"
