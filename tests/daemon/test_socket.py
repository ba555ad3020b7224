"""The wire over a real socket: a real daemon, a real worker, the dummy backend."""

import json
import os
import socket
import stat
import threading

import pytest

from tests.support import PATIENCE, Daemon, Wire

HELLO = "lorem ipsum dolor sit amet Hello. how. are. you."


def test_pieces_then_the_whole(daemon: Daemon) -> None:
    wire = daemon.wire()
    response, before = wire.until(wire.begin("generate", prompt="Hello, how are you?"))
    pieces = [m["params"] for m in before if m["method"] == "token"]
    assert "".join(piece["text"] for piece in pieces) == HELLO
    assert {(piece["request"], piece["index"]) for piece in pieces} == {(1, 0)}
    result = response["result"]
    assert (result["text"], result["finish_reason"], result["model"]) == (HELLO, "stop", "dummy")
    assert result["usage"] == {"prompt_tokens": 4, "cached_tokens": 0, "completion_tokens": 9}
    assert set(result["timings"]) == {"queue_ms", "load_ms", "prefill_ms", "ttft_ms", "decode_ms", "tokens_per_second"}


def test_without_stream_there_is_only_the_result(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.call("models.load")
    response, before = wire.until(wire.begin("generate", prompt="Hello, how are you?", stream=False))
    assert before == []
    assert response["result"]["text"] == HELLO


def test_max_tokens_ends_with_length(daemon: Daemon) -> None:
    result = daemon.wire().call("generate", prompt="x", max_tokens=2)
    assert (result["text"], result["finish_reason"]) == ("lorem ipsum", "length")


def test_content_length_framing_is_answered_in_kind(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(daemon.socket)
        body = json.dumps({"jsonrpc": "2.0", "id": "é", "method": "generate", "params": {"prompt": "é"}}).encode()
        sock.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        with sock.makefile("rb") as stream:
            while True:
                header = stream.readline()
                assert header.startswith(b"Content-Length: ")
                assert stream.readline() == b"\r\n"
                message = json.loads(stream.read(int(header.split()[1])))
                if "id" in message:
                    break
    assert message["id"] == "é"
    assert message["result"]["text"] == "lorem ipsum dolor sit amet é."


def test_a_batch_is_answered_in_one_piece_without_its_notifications(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.send(
        [
            {"jsonrpc": "2.0", "id": 1, "method": "generate", "params": {"prompt": "a", "stream": False}},
            {"jsonrpc": "2.0", "method": "status"},
            {"jsonrpc": "2.0", "id": "two", "method": "nothing"},
            7,
            {"jsonrpc": "2.0", "id": 3, "method": "status"},
        ]
    )
    answers = wire.read()
    assert [answer["id"] for answer in answers] == [1, "two", None, 3]
    assert [answer.get("error", {}).get("code") for answer in answers] == [None, -32601, -32600, None]


@pytest.mark.parametrize(
    ("line", "id", "code"),
    [
        (b"{garbage", None, -32700),
        (b'["\xff"]', None, -32700),
        (b"[" * 5000 + b"]" * 5000, None, -32700),
        (b"[]", None, -32600),
        (b"[" + b",".join([b'{"jsonrpc":"2.0","id":1,"method":"status"}'] * 65) + b"]", None, -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"status"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', None, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":["x"]}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"generate"}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"prompt":"x","max_token":1}}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"prompt":"x","top_p":1.5}}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"prompt":"x","temperature":-1}}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"generate","params":{"prompt":"x","messages":[]}}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"embed","params":{"input":"x"}}', 1, -32009),
    ],
)
def test_what_is_wrong_is_answered_and_the_connection_goes_on(
    daemon: Daemon, line: bytes, id: int | None, code: int
) -> None:
    wire = daemon.wire()
    wire.sock.sendall(b"[]\n")  # settle the framing with something well-framed
    assert wire.read()["error"]["code"] == -32600
    wire.sock.sendall(line + b"\n")
    answer = wire.read()
    while "id" not in answer:
        answer = wire.read()
    assert (answer["id"], answer["error"]["code"]) == (id, code)
    assert answer["error"]["data"]["kind"]
    assert wire.call("status")["pid"] == daemon.pid


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"Content-Length: x\r\n\r\n"])
def test_a_stream_that_cannot_be_followed_is_told_so_and_closed(daemon: Daemon, start: bytes) -> None:
    wire = daemon.wire()
    wire.sock.sendall(start)
    said = wire.sock.makefile("rb").read()
    assert b"-32700" in said
    assert b"closed" in said


def test_a_hundred_megabytes_of_brackets(daemon: Daemon) -> None:
    """Refused at the limit; the daemon keeps no more of them than that, and goes on."""
    wire = daemon.wire()
    sent = 0
    try:
        for _ in range(100):
            wire.sock.sendall(b"[" * (1 << 20))
            sent += 1
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert sent < 100
    other = daemon.wire()
    assert other.call("generate", prompt="x", max_tokens=1)["text"] == "lorem"
    assert other.call("status")["rss_bytes"] < 150 << 20


def test_an_id_that_is_still_under_way_is_refused(troubled: Daemon) -> None:
    wire = troubled.wire()
    wire.send({"jsonrpc": "2.0", "id": "a", "method": "generate", "params": {"prompt": "drip"}})
    wire.send({"jsonrpc": "2.0", "id": "a", "method": "status"})
    response, _ = wire.until("a")
    assert response["error"]["code"] == -32600
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": "a"}})
    assert wire.until("a")[0]["error"]["code"] == -32800


def test_a_cancelled_request_is_answered_and_its_neighbour_goes_on(troubled: Daemon) -> None:
    wire = troubled.wire()
    before = wire.call("generate", prompt="count")["text"]
    first, second = wire.begin("generate", prompt="drip"), wire.begin("generate", prompt="drip")
    seen = set()
    while seen != {first, second}:  # both are running
        message = wire.read()
        seen |= {message["params"]["request"]} if message.get("method") == "token" else set()
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": first}})
    response, _ = wire.until(first)
    assert (response["error"]["code"], response["error"]["data"]["kind"]) == (-32800, "RequestCancelled")
    while wire.read()["params"]["request"] != second:
        raise AssertionError("a piece of the cancelled request came after its end")
    after = wire.call("generate", prompt="count")["text"]
    assert int(after.split()[0]) == int(before.split()[0]) + 1
    assert after.endswith("1 others")


def test_a_request_that_arrives_together_with_its_cancel_is_answered(troubled: Daemon) -> None:
    wire = troubled.wire()
    for id in range(1, 50):
        params = {"prompt": "drip", "stream": False}
        request = {"jsonrpc": "2.0", "id": id, "method": "generate", "params": params}
        cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}}
        wire.send(request, cancel)
        assert wire.until(id)[0]["error"]["code"] == -32800
        wire.send([request, cancel])
        (answer,) = wire.read()
        assert (answer["id"], answer["error"]["code"]) == (id, -32800)


def test_hanging_up_cancels_in_the_worker(troubled: Daemon) -> None:
    watcher = troubled.wire()
    before = int(watcher.call("generate", prompt="count")["text"].split()[0])
    wire = Wire(troubled.socket)
    wire.begin("generate", prompt="drip")
    wire.begin("generate", prompt="drip")
    while wire.read().get("method") != "token":
        pass
    wire.close()
    while int(watcher.call("generate", prompt="count")["text"].split()[0]) < before + 2:
        pass  # each turn asks the worker; the test's own time limit bounds it


def test_many_requests_on_one_connection_are_answered_as_they_finish(troubled: Daemon) -> None:
    wire = troubled.wire()
    wire.send(
        {"jsonrpc": "2.0", "id": "slow", "method": "generate", "params": {"prompt": "wide 200", "stream": False}},
        {"jsonrpc": "2.0", "id": "quick", "method": "status"},
    )  # together: the slow one is soon done
    assert [wire.read()["id"], wire.read()["id"]] == ["quick", "slow"]


def test_a_slow_reader_gets_its_pieces_joined(troubled: Daemon) -> None:
    """16 MB in 16,000 pieces, read only after the worker is done: all of it, in far fewer messages."""
    wire, other = troubled.wire(), troubled.wire()
    id = wire.begin("generate", prompt="wide 16000")
    while True:  # the worker has finished when it runs nothing else
        if other.call("generate", prompt="count")["text"].endswith("0 others"):
            break
    response, before = wire.until(id)
    assert "result" in response
    pieces = [message["params"]["text"] for message in before if message["method"] == "token"]
    assert "".join(pieces) == ("x" * 1023 + "\n") * 16000
    assert len(pieces) < 8000


def test_timeout_is_an_error_of_its_own(troubled: Daemon) -> None:
    error = troubled.wire().fail("generate", prompt="drip", timeout=0.2)
    assert (error["code"], error["data"]["kind"]) == (-32006, "Timeout")


def test_eight_clients_at_once_each_get_their_own(daemon: Daemon) -> None:
    got: dict[int, list[str]] = {}

    def client(number: int) -> None:
        wire = Wire(daemon.socket)
        answers = []
        for turn in range(10):
            response, before = wire.until(wire.begin("generate", prompt=f"client {number} turn {turn}"))
            text = "".join(m["params"]["text"] for m in before if m["method"] == "token")
            assert text == response["result"]["text"]
            answers.append(text)
        got[number] = answers
        wire.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        want = [f"lorem ipsum dolor sit amet client. {number}. turn. {turn}." for turn in range(10)]
        assert got[number] == want


def test_too_many_requests_of_one_client_are_refused(troubled: Daemon) -> None:
    wire = troubled.wire()
    ids = [wire.begin("generate", prompt="drip", stream=False) for _ in range(257)]
    response, _ = wire.until(ids[-1])
    assert (response["error"]["code"], response["error"]["data"]["limit"]) == (-32005, 256)


def test_v1_lines(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.send({"v": 1, "prompt": "Hi!", "stream": True})
    lines = []
    while not lines or not lines[-1]["eos"]:
        lines.append(wire.read())
    assert [line["eos"] for line in lines[:-1]] == [False] * (len(lines) - 1)
    assert "".join(line["token"] for line in lines[:-1]) == "lorem ipsum dolor sit amet Hi."
    assert lines[-1] == {"token": None, "eos": True}
    wire.send({"v": 1, "prompt": "Hi!", "stream": False})
    assert wire.read() == {"token": "lorem ipsum dolor sit amet Hi.", "eos": True}
    for bad in ({"v": 1}, {"v": 2, "prompt": "x"}, {"v": 1, "prompt": 3}):
        wire.send(bad)
        error = wire.read()
        assert (error["error_type"], error["eos"]) == ("InvalidParams", True)


def test_the_socket_is_ours_alone(daemon: Daemon) -> None:
    facts = os.stat(daemon.socket)
    assert stat.S_IMODE(facts.st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(daemon.socket)).st_mode) == 0o700
    for file in (daemon.home / "cache").glob("*.log"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_prompts_are_not_in_the_log(daemon: Daemon) -> None:
    daemon.wire().call("generate", prompt="my secret wish")
    assert "secret" not in daemon.log
    assert "model.loaded" in daemon.log


def test_events_for_those_who_asked(daemon: Daemon) -> None:
    listener, other = daemon.wire(), daemon.wire()
    assert listener.call("subscribe", events=["model.unloaded", "model.loaded"])["events"] == [
        "model.loaded",
        "model.unloaded",
    ]
    other.call("models.load")
    other.call("models.unload")
    assert listener.event("model.unloaded")["model"] == "dummy"
    other.call("models.load")
    assert listener.event("model.loaded")["data"]["context"] > 0
