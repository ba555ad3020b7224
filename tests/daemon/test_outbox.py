"""What waits for a slow reader: joined, in order, bounded by the answers and not by their pieces."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.api.chat import CallPart
from threadrunner.api.status import TokenNotice
from threadrunner.daemon import outbox as outbox_module
from threadrunner.daemon.outbox import Outbox
from threadrunner.daemon.replies import JsonRpc
from threadrunner.daemon.workers.sink import encoded
from threadrunner.wire import messages


def read(outbox: Outbox) -> list[dict]:
    return [json.loads(line) for line in outbox.take().splitlines()]


def test_pieces_of_one_answer_are_joined_and_others_kept_apart() -> None:
    outbox = Outbox()
    for n in range(1000):
        outbox.piece(1, encoded(0, f"{n},"), JsonRpc(1))
        outbox.piece(2, encoded(0, "x"), JsonRpc(2))
    assert len(outbox) == 2
    first, second = read(outbox)
    assert first["params"]["text"] == "".join(f"{n}," for n in range(1000))
    assert second["params"] == {"request": 2, "index": 0, "text": "x" * 1000}
    assert outbox.take() == b""


def test_a_client_that_keeps_up_gets_each_piece_by_itself_in_order() -> None:
    outbox = Outbox()
    outbox.joining = False
    for text in ("a", 'b"\n\\', "\u00e9"):
        outbox.piece("id", encoded(1, text), JsonRpc('the "id"'))
    outbox.piece("id", encoded(1, "hm", "reasoning"), JsonRpc('the "id"'))
    outbox.piece("id", encoded(1, "{", "call", CallPart(0, "c1", "f")), JsonRpc('the "id"'))
    params = [message["params"] for message in read(outbox)]
    assert [p["text"] for p in params] == ["a", 'b"\n\\', "\u00e9", "hm", "{"]
    assert {(p["request"], p["index"]) for p in params} == {('the "id"', 1)}
    assert [p.get("kind") for p in params] == [None, None, None, "reasoning", "call"]
    assert params[-1]["call"] == {"index": 0, "id": "c1", "name": "f"}
    assert all(msgspec.convert(p, TokenNotice) for p in params)


def test_only_parts_of_one_thing_are_joined() -> None:
    outbox = Outbox()
    for text, kind, call in [
        ("a", "reasoning", None),
        ("b", "reasoning", None),
        ("c", "text", None),
        ("d", "call", CallPart(0, "1", "f")),
        ("e", "call", CallPart(0)),
        ("f", "call", CallPart(1, "2", "f")),
    ]:
        outbox.piece(1, encoded(0, text, kind, call), JsonRpc(1))
    assert [message["params"]["text"] for message in read(outbox)] == ["ab", "c", "de", "f"]


def test_a_result_stays_behind_its_pieces() -> None:
    outbox = Outbox()
    outbox.piece(1, encoded(0, "a"), JsonRpc(1))
    outbox.message({"id": 1, "result": "a"})
    outbox.piece(2, encoded(0, "b"), JsonRpc(2))
    assert [message.get("id") for message in read(outbox)] == [None, 1, None]


def test_the_newest_progress_replaces_the_one_that_waits() -> None:
    outbox = Outbox()
    for done in range(100):
        outbox.progress(1, messages.notification("progress", {"request": 1, "done": done}))
    assert [message["params"]["done"] for message in read(outbox)] == [99]


def test_what_waits_is_counted_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FULL_BYTES", 10_000)
    monkeypatch.setattr(outbox_module, "MOST_BYTES", 20_000)
    outbox = Outbox()
    for _ in range(100):
        outbox.piece(1, encoded(0, "x" * 50), JsonRpc(1))
    outbox.progress(1, messages.notification("progress", {"request": 1, "done": 1}))
    assert 5_000 < outbox.size < 6_000 and not outbox.full
    outbox.message({"id": 1, "result": "y" * 6_000})
    assert outbox.full and outbox.too_much(0) is None
    error = outbox.too_much(20_000)
    assert error is not None and error.facts["limit"] == 20_000 and error.facts["queued"] > 30_000
    outbox.take()
    assert outbox.size == 0 and not outbox.full
    assert outbox.too_much(20_000) is None


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc"), st.booleans()), max_size=60))
def test_joining_loses_and_reorders_nothing(writes: list[tuple[int, str, bool]]) -> None:
    """Whatever is taken when: each answer's text is the same, and nothing of it follows its end."""
    outbox, got, want = Outbox(), [], {}
    for request, text, taken in writes:
        outbox.piece(request, encoded(0, text), JsonRpc(request))
        want[request] = want.get(request, "") + text
        if taken:
            got += read(outbox)
    for request in want:
        outbox.message({"id": request})
    got += read(outbox)
    for request, text in want.items():
        mine = [m for m in got if m.get("id") == request or m.get("params", {}).get("request") == request]
        assert "".join(m["params"]["text"] for m in mine[:-1]) == text
        assert mine[-1] == {"id": request}
