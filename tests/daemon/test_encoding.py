"""Every request is answered, whatever its result holds; what cannot be sent costs no other message."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Daemon, running
from threadrunner.api.models import CatalogModel
from threadrunner.backends.base import ModelSpec
from threadrunner.daemon.gguf.names import meant, printable
from threadrunner.daemon.log import DailyFile
from threadrunner.daemon.outbox import Outbox
from threadrunner.daemon.replies import JsonRpc
from threadrunner.daemon.workers.sink import encoded
from threadrunner.wire import messages
from threadrunner.wire.framing import FRAME_LIMIT
from threadrunner.worker import messages as worker

BAD_NAME = "caf\udce9"
"""What Python makes of the bytes caf\\xe9."""


class Unknown:
    """Nothing that JSON has."""


def sent(*waiting: Any) -> list[Any]:
    outbox = Outbox()
    for message in waiting:
        outbox.message(message)
    return [messages.decode(line) for line in outbox.take().splitlines()]


def answer(id: int, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def test_a_name_that_is_not_utf_8_is_shown_with_escapes() -> None:
    (said,) = sent(answer(1, CatalogModel(name="x", path=f"/m/{BAD_NAME}.gguf", size_bytes=0, present=True)))
    assert said["result"]["path"] == r"/m/caf\xe9.gguf"


@pytest.mark.parametrize("result", [Unknown(), {"a": [Unknown()]}, {(1, 2): 3}])
def test_an_answer_that_cannot_be_encoded_is_an_error_and_its_neighbours_go_out(result: Any) -> None:
    first, second, third = sent(answer(1, {"a": 1}), answer(2, result), answer(3, {"b": 2}))
    assert (first, third) == (answer(1, {"a": 1}), answer(3, {"b": 2}))
    assert (second["id"], second["error"]["code"], second["error"]["data"]["kind"]) == (2, -32603, "InternalError")


def test_of_a_batch_only_what_cannot_be_encoded_is_replaced() -> None:
    ((first, second),) = sent([answer(1, {"a": 1}), answer(2, Unknown())])
    assert first == answer(1, {"a": 1})
    assert second["error"]["code"] == -32603


def test_an_answer_that_is_too_large_for_a_message_says_so() -> None:
    large = "x" * (FRAME_LIMIT // 2)
    first, second = sent(answer(1, large + large), answer(2, large))
    assert (first["error"]["data"]["kind"], "ask for less" in first["error"]["message"]) == ("InvalidParams", True)
    assert second["result"] == large
    (batch,) = sent([answer(1, large), answer(2, large), answer(3, "y")])
    assert [part["id"] for part in batch if "result" in part] == [1, 3]


def test_pieces_are_not_joined_to_more_than_a_message_holds() -> None:
    outbox = Outbox()
    for _ in range(40):
        outbox.piece(1, encoded(0, "\0" * 100_000), JsonRpc(1))
    lines = outbox.take().splitlines()
    assert max(map(len, lines)) < FRAME_LIMIT
    assert sum(len(json.loads(line)["params"]["text"]) for line in lines) == 4_000_000
    assert len(lines) < 6


def test_a_v1_line_and_a_notification() -> None:
    (line,) = sent({"token": Unknown(), "eos": True}, messages.notification("event", {"data": Unknown()}))
    assert (line["error_type"], line["eos"]) == ("InternalError", True)


def test_a_number_of_any_size_is_an_id(daemon: Daemon) -> None:
    wire = daemon.wire()
    for id in (2**64, -(10**40), 10**4000):
        wire.send({"jsonrpc": "2.0", "id": id, "method": "generate", "params": {"prompt": "x", "max_tokens": 1}})
        response, _ = wire.until(id)
        assert response["result"]["text"] == "lorem"


def test_a_number_that_is_infinite_is_refused() -> None:
    with pytest.raises(messages.DecodeError, match="too large"):
        messages.decode(b'{"keep_alive":1e999}')
    assert messages.decode(b'{"keep_alive":1e300}') == {"keep_alive": 1e300}


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_what_is_shown_of_a_name_finds_the_file(name: bytes) -> None:
    folder = tempfile.mkdtemp(prefix="tr-")
    try:
        path = os.path.join(folder, os.fsdecode(name) + ".gguf")
        Path(path).touch()
        shown = printable(path)
        shown.encode()
        assert os.path.samefile(meant(shown), path)
    finally:
        shutil.rmtree(folder)


def test_a_worker_is_given_paths_as_they_are() -> None:
    spec = ModelSpec(name="x", path=f"/{BAD_NAME}.gguf", cache_dir=f"/{BAD_NAME}", threads=3)
    (body,) = worker.Unpacker().feed(worker.pack(worker.load("llama", spec)))
    load = worker.to_worker.decode(body)
    assert isinstance(load, worker.Load)
    assert worker.spec_of(load) == spec


def test_a_line_that_cannot_be_made_does_not_end_what_it_tells_of(tmp_path: Path) -> None:
    file = DailyFile(tmp_path / "made when it is needed", 3)
    file.emit(logging.LogRecord("x", 40, "", 0, "%d apples", ("no number",), None))
    file.emit(logging.LogRecord("x", 40, "", 0, "%s", (BAD_NAME,), None))
    assert "'%d apples' with ('no number',)" in file.path.read_text()
    assert r"caf\udce9" in file.path.read_text()


def test_a_log_that_was_removed_is_begun_again(tmp_path: Path) -> None:
    file = DailyFile(tmp_path, 3)
    file.emit(logging.LogRecord("x", 40, "", 0, "one", None, None))
    shutil.rmtree(tmp_path)
    file.emit(logging.LogRecord("x", 40, "", 0, "two", None, None))
    assert file.path.read_text() == "two\n"


def test_logs_of_days_to_come_do_not_push_todays_out(tmp_path: Path) -> None:
    for year in (2001, 2002, 2097, 2098, 2099):
        (tmp_path / f"threadrunner-daemon-{year}-01-01.log").touch()
    file = DailyFile(tmp_path, 2)
    file.emit(logging.LogRecord("x", 40, "", 0, "one", None, None))
    assert file.path.read_text() == "one\n"
    assert sorted(path.name[20:24] for path in tmp_path.iterdir() if path != file.path) == [
        "2002",
        "2097",
        "2098",
        "2099",
    ]


@pytest.fixture(scope="module")
def odd() -> Iterator[Daemon]:
    """A daemon whose home, default model and model's file have names that are not UTF-8."""
    home = os.path.join(tempfile.mkdtemp(prefix="tr-"), BAD_NAME)
    os.makedirs(os.path.join(home, "models", "owner", "repo"))
    for place in ("", "owner/repo"):
        Path(home, "models", place, f"{BAD_NAME}.gguf").write_bytes(b"not really")
    yield from running(THREADRUNNER_HOME=home, THREADRUNNER_MODEL=f"/nowhere/{BAD_NAME}.gguf")
    shutil.rmtree(os.path.dirname(home))


def test_every_method_answers_where_no_name_is_utf_8(odd: Daemon) -> None:
    wire = odd.wire()
    assert wire.call("status")["model"] == r"/nowhere/caf\xe9.gguf"
    listed = wire.call("models.list")["models"]
    assert {r"caf\xe9.gguf", r"hf:owner/repo:caf\xe9.gguf"} <= {model["name"] for model in listed}
    for model in listed:
        if model["present"]:
            shown = wire.call("models.show", model=model["name"])
            assert shown["present"] and shown["name"] == model["name"]
            assert wire.call("models.show", model=shown["path"])["present"]
    error = wire.fail("models.load", backend="llama")
    assert (error["data"]["kind"], r"caf\xe9" in error["message"]) == ("ModelNotFound", True)
    assert wire.fail("models.load", backend="llama", model=r"caf\xe9.gguf")["data"]["kind"] == "ModelLoadFailed"
    assert wire.call("generate", prompt="x", session="s", max_tokens=1)["session"] == "s"
    removed = wire.call("models.remove", model=r"caf\xe9.gguf")
    assert json.dumps(removed["files"]).isascii()
    assert wire.fail("models.show", model=r"caf\xe9.gguf")["data"]["kind"] == "ModelNotFound"


def test_a_model_with_such_a_name_answers(smollm2: Path) -> None:
    for daemon in running():
        (daemon.home / "models").mkdir(exist_ok=True)
        os.symlink(smollm2, daemon.home / "models" / f"{BAD_NAME}.gguf")
        asked = {"prompt": "hi", "max_tokens": 2, "backend": "llama", "model": r"caf\xe9"}
        assert daemon.wire().call("generate", **asked)["model"] == r"caf\xe9"


def test_msgspec_still_refuses_what_this_is_for() -> None:
    with pytest.raises(UnicodeEncodeError):
        msgspec.json.encode(BAD_NAME)
