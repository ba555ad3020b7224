"""Server-sent events from bytes that are cut anywhere."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.api.errors import RemoteFailed
from threadrunner.backends.remote import events
from threadrunner.backends.remote.events import EventReader

STREAM = (
    '\ufeffdata: {"n": 1}\n\n: ping\n\nevent: x\r\ndata: {"n": "😀 é"}\r\n\r\n'
    'data: {"n":\ndata: 3}\n\ndata:{"n": 4}\n\nretry: 5\n\ndata: [DONE]\n\ndata: {"n": 6}\n\n'
).encode()


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_where_reads_are_cut(cuts: list[int]) -> None:
    reader, found = EventReader("box"), []
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(places):
        found += reader.feed(STREAM[begin:end])
    assert [one["n"] for one in found] == [1, "😀 é", 3, 4]
    assert reader.done
    assert reader.end() == []


def test_a_last_event_without_an_empty_line_counts() -> None:
    reader = EventReader("box")
    assert reader.feed(b'data: {"n": 1}\n') == []
    assert reader.end() == [{"n": 1}]
    assert EventReader("box").end() == []


def test_what_is_no_utf8_becomes_a_sign() -> None:
    (found,) = EventReader("box").feed(b'data: {"n": "a\xff\xe2\x82b"}\n\n')
    assert found == {"n": "a\ufffd\ufffdb"}


@pytest.mark.parametrize("data", [b"data: nonsense\n\n", b"data: " + b"[" * 100_000 + b"\n\n"])
def test_what_is_no_json_is_a_failure_that_names_the_host(data: bytes) -> None:
    with pytest.raises(RemoteFailed, match="box sent a part of its answer that is no JSON"):
        EventReader("box").feed(data)


@pytest.mark.parametrize("line", [b"x" * 100, b"data: 1\n" * 100])
def test_an_event_has_a_bound(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 50)
    with pytest.raises(RemoteFailed, match="more than 50 bytes"):
        EventReader("box").feed(line)


def test_values_that_are_no_objects_say_nothing() -> None:
    assert EventReader("box").feed(b"data: 1\n\ndata: null\n\ndata: []\n\n") == []
    assert EventReader("box").feed(f"data: {json.dumps({'a': None})}\n\n".encode()) == [{"a": None}]
