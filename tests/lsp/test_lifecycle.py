"""LSP's life cycle and framing, as bytes: what comes before `initialize`, twice, in other letters, or is no JSON."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.lsp.nursery import forked
from tests.lsp.standin import Standin
from tests.support import PATIENCE

HELLO = {
    "id": 1, "method": "initialize",
    "params": {"processId": None, "rootUri": None, "capabilities": {}, "initializationOptions": {"trigger": "manual"}},
}  # fmt: skip
STATUS = {"id": 2, "method": "threadrunner/status", "params": {}}
SHUTDOWN, EXIT = {"id": 9, "method": "shutdown"}, {"method": "exit"}


def frame(body: bytes, header: bytes = b"Content-Length: %d\r\n") -> bytes:
    return header % len(body) + b"\r\n" + body


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def talk(standin: Standin, *messages: dict[str, Any] | bytes) -> tuple[list[dict[str, Any]], int]:
    """What the server answers to all of it at once, and its exit code."""
    said = b"".join(one if isinstance(one, bytes) else frame(encode(one)) for one in messages)
    done = subprocess.run(
        forked("lsp"), env=standin.env, input=said, capture_output=True, timeout=PATIENCE, check=False
    )
    answers, rest = [], done.stdout
    while rest:
        header, _, rest = rest.partition(b"\r\n\r\n")
        size = int(header.split(b"\r\n")[0].split(b":")[1])
        answers.append(json.loads(rest[:size]))
        rest = rest[size:]
    return answers, done.returncode


def by_id(answers: list[dict[str, Any]], id: int | None) -> dict[str, Any]:
    (found,) = [answer for answer in answers if answer.get("id", 0) == id]
    return found


def test_before_initialize_a_request_is_refused_and_a_notification_dropped(standin: Standin) -> None:
    opened = {"textDocument": {"uri": "file:///a", "languageId": "x", "version": 1, "text": ""}}
    answers, code = talk(standin, STATUS, {"method": "textDocument/didOpen", "params": opened}, HELLO, SHUTDOWN, EXIT)
    assert by_id(answers, 2)["error"]["code"] == -32002
    assert "result" in by_id(answers, 1) and by_id(answers, 9)["result"] is None
    assert code == 0


def test_a_second_initialize_is_refused_and_changes_nothing(standin: Standin) -> None:
    again = {"id": 3, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}}
    answers, _ = talk(standin, HELLO, again, STATUS, SHUTDOWN, EXIT)
    assert by_id(answers, 3)["error"]["code"] == -32600
    assert by_id(answers, 2)["result"]["trigger"] == "manual"


@pytest.mark.parametrize(("last", "code"), [([SHUTDOWN, EXIT], 0), ([EXIT], 1), ([SHUTDOWN], 0), ([], 0)], ids=str)
def test_exit_codes(standin: Standin, last: list[dict[str, Any]], code: int) -> None:
    """1 for `exit` without `shutdown`; an editor that is gone said neither, and is no fault of ours."""
    assert talk(standin, HELLO, *last)[1] == code
    if last == [EXIT]:
        assert talk(standin, EXIT)[1] == 1


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: %d\r\n",
        b"CONTENT-LENGTH:%d\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-Length:  %d \r\n",
        b"Content-Length: %d\nX-Other: y\n",
    ],
)
def test_header_names_have_no_case(standin: Standin, header: bytes) -> None:
    answers, code = talk(standin, frame(encode(HELLO), header), frame(encode(STATUS), header), STATUS | {"id": 4},
                         SHUTDOWN, EXIT)  # fmt: skip
    assert "result" in by_id(answers, 1) and "result" in by_id(answers, 2) and "result" in by_id(answers, 4)
    assert code == 0


@pytest.mark.parametrize("body", [b"{", b'{"jsonrpc": "\xff"}', b"[" * 100_000], ids=["cut", "not UTF-8", "deep"])
def test_what_is_no_json_is_answered_and_forgotten(standin: Standin, body: bytes) -> None:
    answers, code = talk(standin, HELLO, frame(body), STATUS, SHUTDOWN, EXIT)
    assert by_id(answers, None)["error"]["code"] == -32700
    assert "result" in by_id(answers, 2) and code == 0
