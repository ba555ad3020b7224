"""models search: repositories with GGUF files on the Hugging Face hub."""

from __future__ import annotations

import os

from threadrunner import exits
from threadrunner.api.errors import FetchFailed, NotSupported
from threadrunner.cli import render, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

LIMIT = 20
TIMEOUT = 20
"""Seconds."""


def search(options: Namespace) -> int:
    """Raises NotSupported where fetching is forbidden, FetchFailed."""
    if request.target(None).get("offline"):
        raise NotSupported("the hub is not asked: THREADRUNNER_OFFLINE is set")
    found = asked(" ".join(options.text))
    if options.json:
        render.out(render.json_line({"repositories": found}))
        return exits.OK
    if not found:
        render.say(f"no repository with GGUF files has {' '.join(options.text)!r} in its name")
        return exits.MODEL
    rows = [(f"hf:{repo['repo']}", count(repo["downloads"]), count(repo["likes"]), repo["changed"]) for repo in found]
    render.out(render.table([("NAME", "DOWNLOADS", "LIKES", "CHANGED"), *rows]))
    render.say(f'to use one: threadrunner -m {rows[0][0]} "…"; a quantization may follow: {rows[0][0]}:Q4_K_M')
    return exits.OK


def asked(text: str) -> list[dict[str, Any]]:
    """The repositories, the most fetched first. Raises FetchFailed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(TIMEOUT))
    from huggingface_hub import HfApi

    try:
        models = list(HfApi().list_models(search=text, filter="gguf", sort="downloads", limit=LIMIT))
    except Exception as error:  # an HTTP client's own, whose module has another name with each version
        text = " ".join(str(error).split()) or type(error).__name__
        raise FetchFailed(f"the hub cannot be asked: {text}; is there a network?", reason="network") from None
    return [
        {
            "repo": model.id,
            "downloads": model.downloads or 0,
            "likes": model.likes or 0,
            "changed": model.last_modified.date().isoformat() if model.last_modified else "-",
        }
        for model in models
    ]


def count(number: int) -> str:
    """1234567 as 1.2M."""
    value, unit = float(number), ""
    for unit in ("", "k", "M"):
        if value < 1000 or unit == "M":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 10 or not unit else f"{value:.1f}{unit}"
