"""An answer as llama-server writes it, for /completion and /infill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from threadrunner.api.generation import Choice, Generated, TokenLogprob
from threadrunner.http import openai_objects
from threadrunner.http.exchange import AnswerPiece, Order, Progressed
from threadrunner.http.failures import HttpFailure, invalid, openai_error
from threadrunner.http.joining import choices
from threadrunner.http.names import without_path
from threadrunner.http.reading import Fields
from threadrunner.http.streams import SSE, data

_STOPS = {"length": "limit", "cancelled": "none"}


def result(order: Order, answer: Generated, index: int, choice: Choice, n_ctx: int) -> dict[str, Any]:
    """The last, or only, object of one choice. `tokens` is empty: the daemon gives text."""
    counted = answer.usage
    made = {
        "index": index,
        "content": choice.text,
        "tokens": [],
        "id_slot": 0,
        "stop": True,
        "model": order.model or without_path(answer.model),
        "tokens_predicted": counted.completion_tokens,
        "tokens_evaluated": counted.prompt_tokens,
        "generation_settings": settings(order, n_ctx),
        "prompt": order.params.get("prompt", order.prompt),
        "has_new_line": "\n" in choice.text,
        "truncated": bool(answer.truncated_turns),
        "stop_type": _STOPS.get(choice.finish_reason, "eos"),
        "stopping_word": "",
        "tokens_cached": counted.prompt_tokens + counted.completion_tokens,
        "timings": openai_objects.timings(answer),
    }
    if choice.logprobs is not UNSET:
        made["completion_probabilities"] = [_probabilities(token) for token in choice.logprobs]
    return made


def results(order: Order, answer: Generated, n_ctx: int, fields: Sequence[str]) -> list[dict[str, Any]]:
    """One object for each choice, with the members that `fields` names; all where it names none."""
    made = [result(order, answer, i, choice, n_ctx) for i, choice in enumerate(choices(answer))]
    return [picked(one, fields) for one in made] if fields else made


def picked(value: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Members of members by their paths, flat: `timings/prompt_n` is the name of the member too. llama.vim reads so."""
    found = {}
    for path in paths:
        part: Any = value
        for name in path.split("/"):
            part = part.get(name) if isinstance(part, dict) else None
        if part is not None:
            found[path] = part
    return found


def settings(order: Order, n_ctx: int) -> dict[str, Any]:
    """How it was generated, as far as the request said; what it left open is as the model's file recommends."""
    said = order.params
    names = ("seed", "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "stop", "ignore_eos")
    limit = said.get("max_tokens", -1)
    return {
        "n_ctx": n_ctx,
        "n_predict": limit,
        "max_tokens": limit,
        **{name: said[name] for name in names if name in said},
    }


def _probabilities(token: TokenLogprob) -> dict[str, Any]:
    def one(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "bytes": list(text.encode()), "logprob": logprob}

    return one(token.text, token.logprob) | {"top_logprobs": [one(text, value) for text, value in token.top]}


class LlamaWriter:
    """Chunks of /completion and /infill; the last one has `stop: true`, and no `[DONE]` follows."""

    media_type = SSE
    silence = b":\n\n"

    def __init__(self, order: Order, fields: Sequence[str], n_ctx: int, tells_progress: bool) -> None:
        self._order = order
        self._fields = fields
        self._n_ctx = n_ctx
        self.tells_progress = tells_progress

    def begin(self) -> bytes:
        return b""

    def piece(self, piece: AnswerPiece) -> bytes:
        return data({"index": piece.choice, "content": piece.text, "tokens": [], "stop": False, "id_slot": 0})

    def progress(self, progress: Progressed) -> bytes:
        if not self.tells_progress or progress.stage != "prefill":
            return self.silence
        told = {"total": progress.total, "cache": 0, "processed": progress.done, "time_ms": 0}
        empty = {"index": 0, "content": "", "tokens": [], "stop": False, "id_slot": 0}
        return data({**empty, "prompt_progress": told})

    def end(self, answer: Generated) -> bytes:
        """What was said in pieces is not said again."""
        made = results(self._order, answer, self._n_ctx, ())
        for one in made:
            one["content"] = ""
        return b"".join(data(picked(one, self._fields) if self._fields else one) for one in made)

    def failed(self, failure: HttpFailure) -> bytes:
        return data({"error": {**openai_error(failure), "code": failure.status}})


def read_fields(body: Fields) -> list[str]:
    """`response_fields`; `[""]`, which picks nothing, is llama.vim's way to say that it will not read the answer."""
    given = body.items("response_fields") or []
    if not all(isinstance(path, str) for path in given):
        raise invalid("`response_fields` must be a list of texts", "response_fields")
    return given
