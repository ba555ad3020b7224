"""OpenAI's older completions: POST /v1/completions, a text that is continued as it is.

A prompt with infilling markers, or one with a `suffix`, is code around a cursor: our own `infill` answers it. The texts
of control tokens are these tokens, for clients that render a model's chat template themselves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.api.generation import Choice, Generated
from threadrunner.http import infill_markers, openai_objects, sampling, streams
from threadrunner.http.exchange import AnswerPiece, Order, Progressed, whole
from threadrunner.http.failures import HttpFailure, invalid, openai_error
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.infill_markers import Gap
from threadrunner.http.joining import choices, prompt_logprobs
from threadrunner.http.names import without_path
from threadrunner.http.openai_objects import FINGERPRINT, finish_reason
from threadrunner.http.reading import Fields
from threadrunner.http.streams import SSE, Stream

PROMPTS = 256
"""In one request."""

MAX_TOKENS = 2048
"""Where a request names no number, for a base model seldom ends by itself. OpenAI's 16 surprises all who meet it."""

Prompt = str | list[int]


def routes(gateway: Gateway) -> list[Route]:
    async def completions(request: Request) -> Response:
        body = await fields(request)
        asked = await read(gateway, body)
        if body.flag("stream"):
            return Stream(gateway.exchanges, asked.order, CompletionWriter(asked, body))
        return JSONResponse(_answer(asked, await whole(gateway.exchanges, asked.order)))

    return [Route("/v1/completions", completions, methods=["POST"])]  # without /v1 it is llama-server's own


@dataclass(frozen=True)
class Completion:
    """An order, and what `echo` puts before its texts where the daemon does not; by prompt."""

    order: Order
    echoes: list[str]

    @property
    def n(self) -> int:
        return int(self.order.params.get("n", 1))

    def echo(self, choice: int) -> str:
        return self.echoes[choice // self.n] if self.echoes else ""


async def read(gateway: Gateway, body: Fields) -> Completion:
    """Raises HttpFailure."""
    model = body.need_text("model")
    prompts = read_prompts(body)
    shared = {
        **await gateway.target(model),
        **sampling.read_sampling(body),
        **sampling.read_format(body),
        **_ours(body),
        **_counts(body),
    }
    cursors = _cursors(prompts, body.text("suffix"))
    echo = bool(body.flag("echo"))
    if cursors:
        # An editor's: it does not wait for a long prompt of another program's.
        asked = [{"priority": "interactive", **shared, **infill_markers.asked(cursor)} for cursor in cursors]
        echoes = [prompt for prompt in prompts if isinstance(prompt, str)] if echo else []
        return Completion(Order("infill", asked[0], model, tuple(asked[1:])), echoes)
    if not any(name in body for name in sampling.LIMITS):
        shared["max_tokens"] = MAX_TOKENS
    if echo:
        shared["echo"] = True
        if "logprobs" in shared:
            shared["prompt_logprobs"] = shared["logprobs"]
    asked = [{**shared, **_continued(prompt)} for prompt in prompts]
    return Completion(Order("generate", asked[0], model, tuple(asked[1:])), [])


def read_prompts(body: Fields) -> list[Prompt]:
    """A text, a list of texts, token ids, or a list of lists of these. Raises HttpFailure."""
    given = body.get("prompt")
    if given is None or isinstance(given, str):
        return [given or ""]
    items = body.items("prompt") or []
    if _are_ids(items):
        return [items]
    prompts = [item for item in items if isinstance(item, str) or (isinstance(item, list) and _are_ids(item))]
    if not items or len(prompts) < len(items):
        raise invalid("`prompt` must be a text, a list of texts, or lists of token ids", "prompt")
    if len(prompts) > PROMPTS:
        raise invalid(f"`prompt` has {len(prompts)} prompts; send at most {PROMPTS} in one request", "prompt")
    return prompts


def _are_ids(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def _cursors(prompts: list[Prompt], suffix: str | None) -> list[Gap] | None:
    """None unless all are code around a cursor."""
    if not all(isinstance(prompt, str) for prompt in prompts):
        return None
    texts = [str(prompt) for prompt in prompts]
    if suffix:
        return [Gap(text, suffix) for text in texts]
    found = [cursor for text in texts if (cursor := infill_markers.parse(text)) is not None]
    return found if len(found) == len(texts) else None


def _continued(prompt: Prompt) -> dict[str, Any]:
    return {"prompt": prompt, "raw": True, "special": True} if isinstance(prompt, str) else {"prompt_tokens": prompt}


def _counts(body: Fields) -> dict[str, Any]:
    """`n`, `best_of` and `logprobs`. Raises HttpFailure."""
    params: dict[str, Any] = {}
    if (n := body.whole("n")) is not None:
        params["n"] = n
    if (best_of := body.whole("best_of")) is not None and best_of > max(1, n or 1):
        raise invalid("`best_of` cannot be more than `n`: all answers are given", "best_of")
    if (logprobs := body.get("logprobs")) is not None and logprobs is not False:
        params["logprobs"] = 0 if logprobs is True else body.whole("logprobs")
    return params


def _ours(body: Fields) -> dict[str, Any]:
    ours = sampling.read_ours(body)
    if "session" in ours:
        raise invalid("a conversation goes on by /v1/chat/completions", "threadrunner.session")
    return ours


def _answer(asked: Completion, answer: Generated) -> dict[str, Any]:
    every = prompt_logprobs(answer)
    made = [
        {
            "text": (text := asked.echo(i) + choice.text),
            "index": i,
            "logprobs": _logprobs(choice, text, every[i // asked.n] if every else []),
            "finish_reason": finish_reason(choice.finish_reason),
        }
        for i, choice in enumerate(choices(answer))
    ]
    return {
        "id": openai_objects.new_id("cmpl-"),
        "object": "text_completion",
        "created": int(time.time()),
        "model": asked.order.model or without_path(answer.model),
        "system_fingerprint": FINGERPRINT,
        "choices": made,
        "usage": openai_objects.usage(answer),
        "timings": openai_objects.timings(answer),
    }


def _logprobs(choice: Choice, text: str, prompt: list[Any]) -> dict[str, Any] | None:
    """Four lists, one entry a token; offsets are in characters of the choice's text."""
    if choice.logprobs is UNSET:
        return None
    tokens = [*prompt, *choice.logprobs]
    if prompt and not choice.logprobs and choice.finish_reason == "stop":
        # The end token, which has no text: lm-evaluation-harness leaves the last entry out, for it asks for one token
        # more than it wants, and would leave out one of the prompt's.
        tokens.append(None)
    told = openai_objects.text_logprobs(tokens, max(0, len(text) - sum(len(t.text) for t in tokens if t is not None)))
    if prompt:  # the daemon has no text for a first token, which nothing predicts
        told["tokens"][0] = text[: told["text_offset"][0]]
        told["text_offset"][0] = 0
    return told


class CompletionWriter:
    """Chunks of text, then each choice's reason, usage where it is asked for, `[DONE]`."""

    media_type = SSE
    silence = b":\n\n"
    tells_progress = False

    def __init__(self, asked: Completion, body: Fields) -> None:
        options = body.object("stream_options")
        self._usage = bool(options and options.flag("include_usage"))
        self._asked = asked
        self._head = {
            "id": openai_objects.new_id("cmpl-"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.order.model or "default",
            "system_fingerprint": FINGERPRINT,
        }

    def begin(self) -> bytes:
        count = self._asked.n * len(self._asked.echoes)
        return b"".join(self._chunk(i, self._asked.echo(i)) for i in range(count))

    def piece(self, piece: AnswerPiece) -> bytes:
        return self._chunk(piece.choice, piece.text)

    def progress(self, _progress: Progressed) -> bytes:
        return self.silence

    def end(self, answer: Generated) -> bytes:
        """With the log-probabilities, which come all together with a choice's reason."""
        every = prompt_logprobs(answer)
        chunks: list[dict[str, Any]] = []
        for i, choice in enumerate(choices(answer)):
            prompt = every[i // self._asked.n] if every else []
            told = _logprobs(choice, self._asked.echo(i) + choice.text, prompt)
            chunks.append({"choices": [_choice(i, "", finish_reason(choice.finish_reason), told)]})
        if self._usage:
            chunks.append({"choices": [], "usage": openai_objects.usage(answer)})
        chunks[-1]["timings"] = openai_objects.timings(answer)
        return b"".join(streams.data({**self._head, **chunk}) for chunk in chunks) + streams.DONE

    def failed(self, failure: HttpFailure) -> bytes:
        return streams.data({"error": openai_error(failure)})

    def _chunk(self, index: int, text: str) -> bytes:
        return streams.data({**self._head, "choices": [_choice(index, text)]})


def _choice(index: int, text: str, finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}
