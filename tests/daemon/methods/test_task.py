"""What a request is for, and the model that `[route]` names for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny
from tests.support import Daemon
from threadrunner.api.chat import FunctionDefinition, ImagePart, Message, TextPart, Tool
from threadrunner.api.generation import EmbedParams, GenerateParams, InfillParams, RerankParams, TokenizeParams
from threadrunner.config import Config, ConfigError
from threadrunner.daemon.methods.task import task_of
from threadrunner.routes import Routes, routes

TOOLS = [Tool(FunctionDefinition("f"))]
PICTURE = ImagePart(b"")


@pytest.mark.parametrize(
    ("params", "task"),
    [
        (GenerateParams(prompt="hi"), "chat"),
        (GenerateParams(prompt="hi", tools=TOOLS), "tools"),
        (GenerateParams(prompt="hi", tools=TOOLS, tool_choice="none"), "chat"),
        (GenerateParams(prompt="x" * 101, tools=TOOLS), "long"),
        (GenerateParams(messages=[Message("user", [TextPart("x" * 60), TextPart("x" * 60)])]), "long"),
        (GenerateParams(prompt="x" * 60, system="x" * 60), "long"),
        (GenerateParams(prompt="x" * 101, tools=TOOLS, images=[PICTURE]), "pictures"),
        (GenerateParams(messages=[Message("user", [PICTURE, TextPart("what?")])]), "pictures"),
        (InfillParams(prefix="x" * 1000), "infill"),
        (EmbedParams(input="x"), "embed"),
        (RerankParams(query="x", documents=["y"]), "rerank"),
        (TokenizeParams(text="x"), None),
    ],
)
def test_what_a_request_is_for(params: Any, task: str | None) -> None:
    assert task_of(params, 100) == task


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"infil": "x"}, "no task 'infil'"),
        ({"chat": 3}, "in quotes"),
        ({"chat": ""}, "in quotes"),
        ({"long_from": "9"}, "number of characters"),
        ({"long_from": True}, "number of characters"),
        ([], "must be a table"),
    ],
)
def test_a_mistake_is_said_with_its_place(table: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        routes(Config(route=table))


def test_a_table_may_name_some() -> None:
    assert routes(Config(route={"infill": "a", "long_from": 5})) == Routes(infill="a", long_from=5)


def test_the_route_is_taken_where_nothing_else_names_a_model() -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_CONTEXT="256", THREADRUNNER_THREADS="1")
    models = {name: str(tiny.llama(daemon.home / f"{name}.gguf")) for name in ("usual", "long")}
    config = daemon.home / "config.toml"
    config.write_text(f'model_path = "{models["usual"]}"\n[route]\nlong = "{models["long"]}"\nlong_from = 20\n')
    daemon.start()
    try:
        wire = daemon.wire()
        ask = {"raw": True, "max_tokens": 1}
        short = wire.call("generate", prompt="short", **ask)
        assert Path(short["model"]).name == "usual.gguf" and "because" not in short
        long = wire.call("generate", prompt="long" * 10, **ask)
        assert (Path(long["model"]).name, long["because"]) == ("long.gguf", "route")
        named = wire.call("generate", prompt="long" * 10, model=models["usual"], **ask)
        assert Path(named["model"]).name == "usual.gguf" and "because" not in named
        config.write_text(f'model_path = "{models["usual"]}"\n[route]\nlong = 5\n')
        while True:  # until the daemon has read it: each look is a request
            answer, _ = wire.until(wire.begin("generate", prompt="short", **ask))
            if "error" in answer:
                break
        assert "[route]: long must be" in answer["error"]["message"]
        assert wire.call("generate", prompt="x", model=models["usual"], **ask)
    finally:
        daemon.close()


def test_memory_looks_up_by_the_model_for_vectors() -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_CONTEXT="256", THREADRUNNER_THREADS="1")
    usual = tiny.llama(daemon.home / "usual.gguf")
    vectors = tiny.bert(daemon.home / "vectors.gguf", tiny.MEAN)
    (daemon.home / "config.toml").write_text(f'model_path = "{usual}"\n[route]\nembed = "{vectors}"\n')
    daemon.start()
    try:
        wire = daemon.wire()
        wire.call("memory.add", text="the house is blue")
        wire.call("generate", prompt="the house", memory=True, max_tokens=1)
        names = {Path(model["path"]).name for model in wire.call("status")["models"]}
        assert names == {"usual.gguf", "vectors.gguf"}
    finally:
        daemon.close()
