"""Models and vectors."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from typing import Any

import pytest

from tests.http.served import Served
from threadrunner.http.dialects import embeddings
from threadrunner.http.gateway import Gateway
from threadrunner.http.known import look

EMBEDDER = "tiny-embed.gguf"


def test_a_model_has_what_each_reader_looks_for(tiny: Served) -> None:
    body = tiny.get("/v1/models").json
    assert body["object"] == "list"
    model = next(model for model in body["data"] if model["id"] == "tiny.gguf")
    assert model["object"] == "model" and isinstance(model["created"], int) and model["owned_by"]
    assert model["meta"]["n_embd"] == 32 and model["meta"]["n_vocab"] == 265 and model["meta"]["n_ctx_train"] == 4096
    assert model["meta"]["n_params"] > 0 and model["meta"]["size"] > 0
    assert model["max_model_len"] == model["meta"]["n_ctx"] > 0
    assert model["architecture"]["input_modalities"] == ["text", "image"]
    assert model["status"]["value"] in ("loaded", "unloaded") and "insert" in model["capabilities"]
    assert {entry["name"] for entry in body["models"]} == {"tiny.gguf", EMBEDDER}


def test_a_model_that_is_loaded_says_so(tiny: Served) -> None:
    tiny.post("/v1/embeddings", {"model": EMBEDDER, "input": "a"})
    assert tiny.get(f"/v1/models/{EMBEDDER}").json["status"] == {"value": "loaded"}


def test_names_as_clients_write_them(tiny: Served) -> None:
    for name in ("tiny.gguf", "tiny", "tiny%2Egguf", "default"):
        assert tiny.get(f"/v1/models/{name}").json["id"] == "tiny.gguf", name
    for name in ("no/such:model", "no%2Fsuch%3Amodel", "/etc/passwd", "..%2F..%2Fx.gguf"):
        answer = tiny.get(f"/v1/models/{name}")
        assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found", name
    assert tiny.ask("HEAD", "/v1/models").status == 200


def test_a_backend_without_models_has_one_name(served: Served) -> None:
    (model,) = [model for model in served.get("/v1/models").json["data"] if model["id"] == "dummy"]
    assert model["created"] and served.get("/v1/models/dummy").json["id"] == "dummy"
    assert served.get("/v1/models/default").json["id"] == "dummy"


def test_the_default_model_is_listed_before_it_is_here_and_a_pattern_never() -> None:
    listed = [
        {"name": "small", "present": False, "default": True},
        {"name": "large", "present": False},
        {"name": "broken", "present": True, "problem": "cut short"},
        {"name": "gpt-*", "present": True},
        {"name": "here", "present": True, "context": 512},
    ]
    running = {"name": "/home/me/x.gguf", "backend": "llama", "state": "ready"}

    class Daemon:
        async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any:
            return {"models": listed} if method == "models.list" else {"models": [running], "backend": "llama"}

    found = asyncio.run(look(Gateway(Daemon())))
    assert [model.name for model in found if model.usable or model.default] == ["small", "here"]


# vectors


def embed(tiny: Served, texts: Any, **more: Any) -> list[Any]:
    answer = tiny.post("/v1/embeddings", {"model": EMBEDDER, "input": texts, **more})
    assert answer.status == 200, answer.body
    assert answer.json["object"] == "list" and answer.json["usage"]["prompt_tokens"] > 0
    data = answer.json["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [entry["embedding"] for entry in data]


def test_a_text_and_a_list_and_base64(tiny: Served) -> None:
    (one,) = embed(tiny, "abc")
    assert len(one) == 32 and math.isclose(math.hypot(*one), 1.0, abs_tol=1e-5)
    assert embed(tiny, ["abc", "x"])[0] == pytest.approx(one, abs=1e-5)
    (coded,) = embed(tiny, "abc", encoding_format="base64")
    assert struct.unpack("<32f", base64.b64decode(coded)) == pytest.approx(one, abs=1e-6)


def test_fewer_dimensions_are_of_length_1_again(tiny: Served) -> None:
    (whole,), (cut,) = embed(tiny, "abc"), embed(tiny, "abc", dimensions=8)
    assert len(cut) == 8 and math.isclose(math.hypot(*cut), 1.0, abs_tol=1e-6)
    assert [x / y for x, y in zip(cut, whole, strict=False)] == pytest.approx([cut[0] / whole[0]] * 8)


def test_more_texts_than_the_daemon_takes_at_once_are_asked_in_parts() -> None:
    sizes = []

    class Daemon:
        async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any:
            sizes.append(len(params["input"]))
            vectors = [[float(text)] for text in params["input"]]
            return {"embeddings": vectors, "usage": {"prompt_tokens": len(vectors)}, "model": "m"}

    texts = [str(i) for i in range(600)]
    vectors, tokens, model = asyncio.run(embeddings.embed(Gateway(Daemon()), {}, texts))
    assert (sizes, tokens, model) == ([256, 256, 88], 600, "m")
    assert vectors == [[float(text)] for text in texts]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": [[1, 2]]}, "check_embedding_ctx_length=False"),
    ({"input": [1, 2]}, "check_embedding_ctx_length=False"),
    ({"input": []}, "`input`"),
    ({"input": None}, "`input`"),
    ({"input": [True, {}]}, "`input`"),
    ({"dimensions": 33}, "have 32 numbers"),
    ({"dimensions": 0}, "`dimensions`"),
    ({"encoding_format": "hex"}, "`encoding_format`"),
]


@pytest.mark.parametrize(("more", "text"), WRONG)
def test_what_is_wrong_is_named(tiny: Served, more: dict[str, Any], text: str) -> None:
    answer = tiny.post("/v1/embeddings", {"model": EMBEDDER, "input": "a", **more})
    assert answer.status == 400 and text in answer.json["error"]["message"], answer.body
