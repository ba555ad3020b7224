"""What is known of a model, in Ollama's words. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

_EMBEDS = re.compile(r"bert|embedding|t5encoder")
"""Architectures that only embed."""

_THINKS = re.compile(r"</think|enable_thinking|reasoning_content|thinking_budget|<\|channel\|>")

# Our params, and members of theirs -> Ollama's.
_PARAMETERS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "penalty_window": "repeat_last_n",
    "max_tokens": "num_predict",
    "mirostat.version": "mirostat",
    "mirostat.tau": "mirostat_tau",
    "mirostat.eta": "mirostat_eta",
}

_TEMPLATE = "{{ if .System }}{{ .System }}\n{{ end }}{{ .Prompt }}"
_INFILLS = "{{ if .Suffix }}{{ .Prompt }}<FILL>{{ .Suffix }}{{ else }}" + _TEMPLATE + "{{ end }}"
"""Ours are written for another language than Ollama's. Continue looks for `.Suffix` to know who can infill."""


def details(model: dict[str, Any]) -> dict[str, Any]:
    """Of an entry of `models.list` or `models.show`."""
    family = model.get("architecture") or ""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": _rounded(model.get("parameters") or 0),
        "quantization_level": model.get("quantization") or "",
    }


def _rounded(count: int) -> str:
    if count >= 10**9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.2f}M" if count else ""


def shown(model: dict[str, Any], modified: str) -> dict[str, Any]:
    """The answer to /api/show; `context` of the model is what a conversation may have."""
    return {
        "license": "",
        "modelfile": f"# {model['name']}, as threadrunner has it\n",
        "parameters": _parameters(model),
        "template": _INFILLS if model.get("fim") else _TEMPLATE,
        **({"system": said["system"]} if "system" in (said := model.get("defaults") or {}) else {}),
        "details": details(model),
        "model_info": _info(model),
        "capabilities": capabilities(model),
        "modified_at": modified,
    }


def capabilities(model: dict[str, Any]) -> list[str]:
    """Tools are told by our words to a model whose template knows none, so all that take conversations have them."""
    if _EMBEDS.search(model.get("architecture") or ""):
        return ["embedding"]
    able = ["completion"]
    if model.get("chat_template"):
        able.append("tools")
    if model.get("fim"):
        able.append("insert")
    if model.get("vision"):
        able.append("vision")
    if any(_THINKS.search(text) for text in (model.get("templates") or {}).values()):
        able.append("thinking")
    return able


def _parameters(model: dict[str, Any]) -> str:
    """Lines of a name and a value, from which Continue takes `num_ctx`: what its file recommends and config.toml says,
    as Ollama has what the Modelfile says."""
    said, origins = model.get("defaults") or {}, model.get("origins") or {}
    given = {name: value for name, value in said.items() if origins.get(name) != "default"}
    flat = given | {f"mirostat.{member}": value for member, value in given.get("mirostat", {}).items()}
    known = [(theirs, flat[ours]) for ours, theirs in _PARAMETERS.items() if ours in flat]
    known += [("stop", json.dumps(text, ensure_ascii=False)) for text in given.get("stop", ())]
    if model.get("context"):
        known.append(("num_ctx", model["context"]))
    return "\n".join(f"{name:<30} {value}" for name, value in known)


def _info(model: dict[str, Any]) -> dict[str, Any]:
    """As the file's header has it; Copilot shows `general.basename` and asks for the context's length."""
    family = model.get("architecture") or "unknown"
    name = model.get("title") or model["name"]
    return {
        "general.architecture": family,
        "general.basename": name,
        "general.name": name,
        "general.parameter_count": model.get("parameters") or 0,
        f"{family}.context_length": model.get("context") or 0,
    }
