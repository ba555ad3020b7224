"""What waits for a slow reader: joined, in order, bounded by the answers and not by their pieces."""

import json

from hypothesis import given
from hypothesis import strategies as st

from threadrunner.daemon.outbox import Outbox, Part
from threadrunner.daemon.peer import JsonRpc
from threadrunner.wire import messages


def read(outbox: Outbox) -> list[dict]:
    return [json.loads(line) for line in outbox.take().splitlines()]


def test_pieces_of_one_answer_are_joined_and_others_kept_apart() -> None:
    outbox = Outbox()
    for n in range(1000):
        outbox.piece(1, Part(0), f"{n},", JsonRpc(1))
        outbox.piece(2, Part(0), "x", JsonRpc(2))
    assert len(outbox) == 2
    first, second = read(outbox)
    assert first["params"]["text"] == "".join(f"{n}," for n in range(1000))
    assert second["params"] == {"request": 2, "index": 0, "text": "x" * 1000}
    assert outbox.take() == b""


def test_a_result_stays_behind_its_pieces() -> None:
    outbox = Outbox()
    outbox.piece(1, Part(0), "a", JsonRpc(1))
    outbox.message({"id": 1, "result": "a"})
    outbox.piece(2, Part(0), "b", JsonRpc(2))
    assert [message.get("id") for message in read(outbox)] == [None, 1, None]


def test_the_newest_progress_replaces_the_one_that_waits() -> None:
    outbox = Outbox()
    for done in range(100):
        outbox.progress(1, messages.notification("progress", {"request": 1, "done": done}))
    assert [message["params"]["done"] for message in read(outbox)] == [99]


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc"), st.booleans()), max_size=60))
def test_joining_loses_and_reorders_nothing(writes: list[tuple[int, str, bool]]) -> None:
    """Whatever is taken when: each answer's text is the same, and nothing of it follows its end."""
    outbox, got, want = Outbox(), [], {}
    for request, text, taken in writes:
        outbox.piece(request, Part(0), text, JsonRpc(request))
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
