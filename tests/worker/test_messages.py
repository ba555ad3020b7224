"""What goes through the pipe, and how it is cut into frames."""

from __future__ import annotations

import json

import msgspec
import pytest

from threadrunner.api.chat import CallPart
from threadrunner.api.generation import Generated, Timings, Usage
from threadrunner.backends.base import Failed, ModelFacts, Piece, Progress
from threadrunner.worker.messages import (
    FRAME_LIMIT,
    PIECE,
    Cancel,
    Done,
    FromWorker,
    Gauges,
    Hurry,
    LetGo,
    LoadFailed,
    Loading,
    Ready,
    Stop,
    Submit,
    ToWorker,
    Unpacker,
    from_worker,
    pack,
    to_worker,
    unpack_piece,
)

ANSWER = Generated("hi", "stop", "m", Usage(1, 0, 1), Timings())
FROM_WORKER: list[FromWorker] = [
    Loading(1, 2),
    Ready(ModelFacts(context=8, facts={"a": [1, None]})),
    LoadFailed(-1, "no", {"path": "p"}),
    Piece(1, 0, "caf\u00e9"),
    Piece(1 << 40, 3, 'a "quoted" \\ \n\0 text', "reasoning"),
    Piece(2, 0, '{"a":', "call", CallPart(0, "x", "f")),
    Progress(1, 5, 9),
    Done(1, msgspec.json.encode(ANSWER)),
    Failed(1, -2, "no", {"limit": 3}),
    LetGo(1),
    Gauges({"active": 1, "load": 0.5}),
]
TO_WORKER: list[ToWorker] = [Submit(1, "embed", "normal", b"{}"), Cancel(1), Hurry(), Stop()]


def bodies(data: bytes, size: int) -> list[bytes]:
    unpacker = Unpacker()
    return [body for at in range(0, len(data), size) for body in unpacker.feed(data[at : at + size])]


def decoded(body: bytes) -> FromWorker:
    if body[0] != PIECE:
        return from_worker.decode(body)
    id, index, text, kind = unpack_piece(body)
    return Piece(id, index, json.loads(b'"%b"' % text), kind)


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_messages_arrive_as_they_were_sent_however_the_bytes_are_cut(size: int) -> None:
    assert [decoded(b) for b in bodies(b"".join(map(pack, FROM_WORKER)), size)] == FROM_WORKER
    assert [to_worker.decode(b) for b in bodies(b"".join(map(pack, TO_WORKER)), size)] == TO_WORKER


def test_a_result_is_json_that_need_not_be_read() -> None:
    (body,) = bodies(pack(Done(1, msgspec.json.encode(ANSWER))), 1 << 16)
    done = from_worker.decode(body)
    assert isinstance(done, Done)
    assert msgspec.json.decode(done.result, type=Generated) == ANSWER


def test_a_frame_over_the_limit_is_neither_sent_nor_awaited() -> None:
    with pytest.raises(ValueError, match="limit"):
        pack(Piece(1, 0, "x" * FRAME_LIMIT))
    with pytest.raises(ValueError, match="limit"):
        Unpacker().feed((FRAME_LIMIT + 1).to_bytes(4, "big"))
