"""OpenAI's embeddings: POST /v1/embeddings. Vectors have the length 1."""

from __future__ import annotations

import base64
import struct
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from threadrunner.http import sampling
from threadrunner.http.failures import invalid
from threadrunner.http.gateway import Gateway, fields
from threadrunner.http.reading import Fields

TEXTS = 256
"""In one request to the daemon; a client may send more."""

_IDS = (
    "`input` has token ids, of a vocabulary that need not be this model's: send texts. "
    "LangChain's OpenAIEmbeddings does so with check_embedding_ctx_length=False"
)


def routes(gateway: Gateway) -> list[Route]:
    async def embeddings(request: Request) -> Response:
        body = await fields(request)
        model = body.need_text("model")
        texts = read_texts(body)
        as_base64 = _as_base64(body)
        ours = sampling.read_ours(body)
        params: dict[str, Any] = {name: ours[name] for name in ("keep_alive", "timeout", "priority") if name in ours}
        params |= await gateway.target(model)
        if (size := body.whole("dimensions")) is not None:
            params["dimensions"] = size
        vectors, tokens, answered = await embed(gateway, params, texts)
        listed = [
            {"object": "embedding", "index": i, "embedding": _encoded(vector) if as_base64 else vector}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": listed, "model": model or answered, "usage": usage})

    return [Route(path, embeddings, methods=["POST"]) for path in ("/v1/embeddings", "/embeddings")]


async def embed(gateway: Gateway, params: dict[str, Any], texts: list[str]) -> tuple[list[list[float]], int, str]:
    """A vector for each text, the number of tokens, and the model's name. Raises ApiError."""
    vectors: list[list[float]] = []
    tokens, model = 0, ""
    for begin in range(0, len(texts), TEXTS):  # one after the other: other clients wait in the same queue
        answer = await gateway.request("embed", {**params, "input": texts[begin : begin + TEXTS]})
        vectors += answer["embeddings"]
        tokens += answer["usage"]["prompt_tokens"]
        model = answer["model"]
    return vectors, tokens, model


def read_texts(body: Fields) -> list[str]:
    """Raises HttpFailure."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else body.items("input")
    if not texts:
        raise invalid("`input` is missing: a text, or a list of texts", "input")
    if any(isinstance(text, (int, list)) for text in texts):
        raise invalid(_IDS, "input")
    if not all(isinstance(text, str) for text in texts):
        raise invalid("`input` must be a text, or a list of texts", "input")
    return texts


def _as_base64(body: Fields) -> bool:
    form = body.text("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise invalid("`encoding_format` must be float or base64", "encoding_format")
    return form == "base64"


def _encoded(vector: list[float]) -> str:
    """Single precision, the least byte first, as openai-python takes them unless it is told otherwise."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
