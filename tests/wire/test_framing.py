"""Framing: every way of cutting the stream gives the same frames, and no input costs more than its limit."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadrunner.wire.framing import FRAME_LIMIT, HEADERS, LINES, Decoder, FramingError, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
).map(lambda value: {"jsonrpc": "2.0", "params": value})


def frames(*chunks: bytes, limit: int = FRAME_LIMIT) -> list[bytes]:
    decoder = Decoder(limit)
    found = []
    for chunk in chunks:
        decoder.receive(chunk)
        while (frame := decoder.next_frame()) is not None:
            found.append(frame)
    return found


@pytest.mark.parametrize("framing", [LINES, HEADERS])
def test_split_at_every_byte(framing: str) -> None:
    bodies = [b'{"a":"\xc3\xa9"}', b"[1,2]", b'{"long":"' + b"x" * 300 + b'"}']
    stream = b"".join(encode(body, framing) for body in bodies)
    for cut in range(len(stream) + 1):
        assert frames(stream[:cut], stream[cut:]) == bodies
    assert frames(*(bytes([byte]) for byte in stream)) == bodies


@given(st.lists(JSON, min_size=1, max_size=8), st.sampled_from([LINES, HEADERS]), st.randoms())
def test_any_messages_in_any_pieces(values: list[object], framing: str, rng: random.Random) -> None:
    bodies = [json.dumps(value).encode() for value in values]
    stream = b"".join(encode(body, framing) for body in bodies)
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randrange(8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert frames(*pieces) == bodies


@given(st.binary(max_size=400))
@settings(max_examples=500)
def test_garbage_is_frames_or_a_framing_error(data: bytes) -> None:
    """Whole, byte by byte: the same frames, the same verdict."""

    def verdict(*chunks: bytes) -> tuple[list[bytes], bool]:
        decoder, found = Decoder(limit=100), []
        try:
            for chunk in chunks:
                decoder.receive(chunk)
                while (frame := decoder.next_frame()) is not None:
                    found.append(frame)
        except FramingError:
            return found, True
        return found, False

    whole, single = verdict(data), verdict(*(data[i : i + 1] for i in range(len(data))))
    assert whole == single
    assert all(len(frame) <= 100 for frame in whole[0])


@given(st.binary(max_size=200))
def test_garbage_in_headers(data: bytes) -> None:
    decoder = Decoder(limit=1000)
    decoder.receive(b"Content-Length" + data)
    try:
        while (frame := decoder.next_frame()) is not None:
            assert len(frame) <= 1000
    except FramingError:
        pass


@pytest.mark.parametrize("cut", range(1, 21))
def test_truncated_streams_give_nothing(cut: int) -> None:
    stream = encode(b'{"a":1}', HEADERS)
    decoder = Decoder()
    decoder.receive(stream[:-cut])
    assert decoder.next_frame() is None
    assert not decoder.empty or cut == len(stream)


def test_blank_lines_and_crlf_are_passed_over() -> None:
    assert frames(b'\r\n \n{"a":1}\r\n\r\n\n{"b":2}\n') == [b'{"a":1}', b'{"b":2}']


def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert frames(b"[" + b" " * 8 + b"]\n", limit=10) == [b"[" + b" " * 8 + b"]"]
    with pytest.raises(FramingError, match="10 bytes"):
        frames(b"[" + b" " * 9 + b"]\n", limit=10)


def test_hundred_megabytes_of_brackets_hold_no_more_than_the_limit() -> None:
    decoder, chunk = Decoder(), b"[" * (1 << 20)
    with pytest.raises(FramingError):
        for received in range(100):
            decoder.receive(chunk)
            assert decoder.next_frame() is None
            assert (received + 1) << 20 <= FRAME_LIMIT


def test_frames_before_the_fault_are_handed_out() -> None:
    decoder = Decoder(limit=20)
    decoder.receive(b'{"a":1}\n{"b":"' + b"x" * 50)
    assert decoder.next_frame() == b'{"a":1}'
    with pytest.raises(FramingError):
        decoder.next_frame()


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: x\r\n\r\n{}",
        b"Content-Length: -1\r\n\r\n{}",
        b"Content-Length: two\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 99999999999\r\n\r\n{}",
        b"Content-Length: 9999999999999999999\r\n\r\n{}",
        b"C" * 5000,
    ],
)
def test_headers_that_cannot_be_followed(headers: bytes) -> None:
    with pytest.raises(FramingError):
        frames(headers)


def test_other_headers_and_any_case() -> None:
    stream = b"content-length:2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}"
    with pytest.raises(FramingError):
        frames(b"X" + stream)
    assert frames(stream) == [b"{}"]
