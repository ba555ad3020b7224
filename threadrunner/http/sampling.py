"""How tokens are chosen, in the words of several dialects, as the daemon takes them.

Values that mean "off" to some server (a seed of -1, top_k of -1, an empty stop) are left out. What changes an answer's
meaning and cannot be had is an error of the daemon's, by name.
"""

from __future__ import annotations

from typing import Any

from threadrunner.http import asking
from threadrunner.http.failures import invalid
from threadrunner.http.reading import Fields

# Dialects' names -> the daemon's, numbers that are passed on as they are.
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "top_n_sigma": "top_n_sigma",
    "repeat_penalty": "repeat_penalty",
    "repetition_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}

LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict", "num_predict")
"""Dialects' names for the most tokens of an answer; the first that is there counts."""


def read_sampling(body: Fields) -> dict[str, Any]:
    """Params of `generate` and `infill` that say how tokens are chosen and when to end. Raises HttpFailure."""
    params: dict[str, Any] = {name: body.number(theirs) for theirs, name in _NUMBERS.items() if theirs in body}
    for theirs in LIMITS:
        if (limit := body.whole(theirs)) is not None:
            if limit >= 0:  # -1: no limit
                params["max_tokens"] = limit
            break
    if (top_k := body.whole("top_k")) is not None:
        params["top_k"] = max(top_k, 0)
    if (window := body.whole("repeat_last_n")) is not None:
        params["penalty_window"] = max(window, -1)
    if (seed := body.whole("seed")) is not None and seed != -1:
        params["seed"] = seed % 2**32
    if stop := read_stop(body, "stop"):
        params["stop"] = stop
    if body.flag("ignore_eos"):
        params["ignore_eos"] = True
    if bias := _bias(body):
        params["logit_bias"] = bias
    return params


def read_stop(body: Fields, name: str) -> list[str]:
    stop = body.get(name)
    texts = [stop] if isinstance(stop, str) else body.items(name) or []
    if not all(isinstance(text, str) for text in texts):
        raise invalid(f"`{name}` must be a text or a list of texts", name)
    return [text for text in texts if text]


def _bias(body: Fields) -> dict[str, float]:
    """OpenAI's object by token id, or llama-server's list of pairs; -100 or less, or false, forbids the token."""
    given = body.get("logit_bias")
    pairs = given.items() if isinstance(given, dict) else given if isinstance(given, list) else []
    bias = {}
    for pair in pairs:
        try:
            token, value = pair
            if value is not False and not value:  # it changes nothing, whatever it names
                continue
            bias[str(int(token))] = -1000.0 if value is False else max(-1000.0, min(1000.0, float(value)))
        except (TypeError, ValueError):
            raise invalid("`logit_bias` must name tokens by their ids, each with a number", "logit_bias") from None
    return bias


def read_format(body: Fields) -> dict[str, Any]:
    """What the answer must be: `response_format`, or llama-server's `json_schema` and `grammar`. Raises HttpFailure."""
    if grammar := body.text("grammar"):
        return {"grammar": grammar}
    if (schema := body.get("json_schema")) is not None:
        return {"json_schema": schema}
    return read_wanted(body.object("response_format"))


def read_wanted(wanted: Fields | None) -> dict[str, Any]:
    """A format as `response_format` has it, or `text.format` of Responses. Raises HttpFailure."""
    kind = wanted.text("type") if wanted else "text"
    if wanted is None or kind in (None, "text"):
        return {}
    if kind == "json_object":
        return {"json_schema": schema if (schema := wanted.get("schema")) is not None else True}
    if kind == "json_schema":
        inner = wanted.object("json_schema") or wanted
        if (schema := inner.get("schema")) is None:
            raise invalid(f"`{inner.place('schema')}` is missing", inner.place("schema"))
        return {"json_schema": schema}
    raise invalid(f"`{wanted.place('type')}` must be text, json_object or json_schema", wanted.place("type"))


def read_ours(body: Fields) -> dict[str, Any]:
    """The one extra object of ours, which any SDK can send: a conversation, a mode and the like. Raises HttpFailure,
    403 where the client's key is not for conversations."""
    ours = body.object("threadrunner")
    if ours is None:
        return {}
    params: dict[str, Any] = {}
    for name in ("session", "mode", "priority"):
        if (text := ours.text(name)) is not None:
            params[name] = text
    if (memory := ours.flag("memory")) is not None:
        params["memory"] = memory
    if "session" in params or params.get("memory"):
        asking.need("conversations", "conversations, nor for what is remembered")
    if "mode" in params and not asking.may("conversations"):
        params["memory"] = False  # which a mode may have
    if (lora := ours.object("lora")) is not None:
        params["lora"] = lora.plain()
    for name in ("keep_alive", "timeout"):
        if (seconds := ours.number(name)) is not None:
            params[name] = seconds
    return params
