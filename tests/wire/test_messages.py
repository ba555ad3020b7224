"""JSON texts: what is taken, and that what is taken can be sent on."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadrunner.wire.messages import DEPTH_LIMIT, DecodeError, decode, encode, error, notification, request


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_bytes_are_a_value_or_a_parse_error(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError:
        return
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1}x', "not JSON"),
        (b'{"a":NaN}', "NaN is not a JSON number"),
        (b"-Infinity", "not a JSON number"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (rb'["\ud800"]', "surrogate"),
        (rb'{"\uDfff":1}', "surrogate"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_refused(frame: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        decode(frame)


def test_a_surrogate_pair_is_one_character() -> None:
    assert decode(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_depth_is_bounded_exactly(pair: str) -> None:
    opening = "[" if pair == "[]" else '{"a":'
    closing = pair[1]

    def nested(levels: int) -> bytes:
        return (opening * (levels - 1) + pair + closing * (levels - 1)).encode()

    decode(nested(DEPTH_LIMIT))
    for levels in (DEPTH_LIMIT + 1, 1000, 100_000):
        with pytest.raises(DecodeError, match="nested"):
            decode(nested(levels))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert decode(b"[" + b"[]," * 500 + b"[]]") == [[]] * 501
    assert decode(json.dumps("[" * 1000).encode()) == "[" * 1000


def test_what_we_write_is_one_line_of_utf8() -> None:
    for message in (
        request(1, "m", {"text": "a\nb\u2028é"}),
        notification("m", {}),
        {"jsonrpc": "2.0", "id": "x", "result": None},
        error(None, -32700, "no", {"kind": "ParseError"}),
    ):
        body = encode(message)
        assert b"\n" not in body
        assert decode(body) == message
