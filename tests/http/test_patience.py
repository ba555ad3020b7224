"""What is written to a client in one piece."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from threadrunner.http.patience import PatientProtocol


class Written:
    """A transport that counts its writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False


def protocol(transport: Any) -> PatientProtocol:
    """In the middle of an answer, as far as writing goes."""
    made = PatientProtocol.__new__(PatientProtocol)
    made.transport = transport
    made.cycle = SimpleNamespace(transport=transport)  # type: ignore[assignment]
    made.flow = SimpleNamespace(write_paused=False)  # type: ignore[assignment]
    return made


def test_a_head_and_the_first_words_are_one_write() -> None:
    transport = Written()
    connection = protocol(transport)
    with connection.gathered():
        connection.cycle.transport.write(b"HTTP/1.1 200 \r\n\r\n")  # as uvicorn does
        asyncio.run(connection.write_chunk(b"hello"))
        assert transport.writes == []
    connection.write_now(b"you")
    assert transport.writes == [b"HTTP/1.1 200 \r\n\r\n5\r\nhello\r\n", b"3\r\nyou\r\n"]
    assert connection.transport is connection.cycle.transport is transport


def test_it_is_written_though_what_follows_fails() -> None:
    transport = Written()
    connection = protocol(transport)
    with pytest.raises(ZeroDivisionError), connection.gathered():
        connection.write_now(b"a")
        raise ZeroDivisionError
    assert transport.writes == [b"1\r\na\r\n"]
    assert connection.transport is transport


def test_nothing_to_write_is_no_write() -> None:
    transport = Written()
    with protocol(transport).gathered():
        pass
    assert transport.writes == []
