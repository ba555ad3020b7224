"""What servers stream, as pieces and as a result."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from threadrunner.api.errors import RemoteFailed
from threadrunner.api.generation import Generated, GenerateParams, InfillParams
from threadrunner.backends.base import Piece
from threadrunner.backends.remote import answers, middles
from threadrunner.backends.remote.answers import RemoteAnswer
from threadrunner.backends.remote.backend import joined


def chunk(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def told(*chunks: dict[str, Any], **params: Any) -> tuple[list[Piece], Generated]:
    answer = RemoteAnswer(1, GenerateParams(prompt="x", **params))
    pieces = [piece for one in chunks for piece in answer.feed(one)]
    return pieces, answer.result("remote:box/m", "box")


def test_text_usage_and_who_answered() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    pieces, result = told(
        chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), chunk("stop"),
        {"choices": [], "usage": usage},
    )  # fmt: skip
    assert [piece.text for piece in pieces] == ["Hel", "lo"]
    assert (result.text, result.finish_reason, result.model, result.host) == ("Hello", "stop", "remote:box/m", "box")
    assert (result.usage.prompt_tokens, result.usage.cached_tokens, result.usage.completion_tokens) == (7, 3, 2)


def test_null_content_a_finish_with_text_and_a_second_finish() -> None:
    _, result = told(chunk(content=None), chunk("length", content="all"), chunk("stop"))
    assert (result.text, result.finish_reason) == ("all", "length")


@pytest.mark.parametrize("word", ["reasoning_content", "reasoning"])
def test_thoughts_by_both_names(word: str) -> None:
    pieces, result = told(chunk(**{word: "hm"}), chunk(content="yes"), chunk("stop"))
    assert [(piece.kind, piece.text) for piece in pieces] == [("reasoning", "hm"), ("text", "yes")]
    assert (result.text, result.reasoning) == ("yes", "hm")
    pieces, result = told(chunk(**{word: "hm"}), chunk(content="yes"), chunk("stop"), reasoning="off")
    assert [piece.kind for piece in pieces] == ["text"]
    assert result.reasoning is UNSET


def call(index: int | None, arguments: Any, **parts: Any) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return {**place, **parts, "function": {"name": parts.pop("name", None), "arguments": arguments}}


def test_calls_in_parts_whole_and_without_an_id() -> None:
    pieces, result = told(
        chunk(tool_calls=[call(0, "", id="a", name="f")]),
        chunk(tool_calls=[call(0, '{"x"')]),
        chunk(tool_calls=[call(0, ": 1}")]),
        chunk(tool_calls=[call(1, {"y": 2}, name="g")]),
        chunk("stop"),  # some say so beside calls
    )
    assert result.tool_calls is not UNSET
    assert [(c.function.name, c.function.arguments) for c in result.tool_calls] == [
        ("f", '{"x": 1}'),
        ("g", '{"y": 2}'),
    ]
    assert result.finish_reason == "tool_calls"
    assert result.tool_calls[0].id == "a"
    assert len(result.tool_calls[1].id) > 10
    heads = [piece.call for piece in pieces if piece.call and piece.call.name]
    assert [(head.index, head.name) for head in heads] == [(0, "f"), (1, "g")]


def test_a_character_cut_between_two_events_stays_whole() -> None:
    pieces, result = told(chunk(content="a\ud83d"), chunk(content="\ude00b"), chunk("stop"))
    assert [piece.text for piece in pieces] == ["a", "😀b"]
    assert result.text == "a😀b"
    _, result = told(chunk(content="\ude00x"), chunk("stop"))  # a second half alone
    assert result.text == "\ufffdx"


def test_an_end_without_a_finish_is_a_broken_answer() -> None:
    with pytest.raises(RemoteFailed, match="the server broke the answer off"):
        told(chunk(content="half"))
    with pytest.raises(RemoteFailed):
        told()


@pytest.mark.parametrize("reason", ["content_filter", "abort", "error"])
def test_an_end_for_a_reason_of_the_servers_own_is_no_answer(reason: str) -> None:
    with pytest.raises(RemoteFailed, match=f"ended the answer with '{reason}'"):
        told(chunk(content="half"), chunk(reason))


def test_several_candidates() -> None:
    _, result = told(chunk(index=1, content="b"), chunk(content="a"), chunk("stop"), chunk("length", index=1), n=2)
    assert result.choices is not UNSET
    assert [(choice.text, choice.finish_reason) for choice in result.choices] == [("a", "stop"), ("b", "length")]
    with pytest.raises(RemoteFailed):
        told(chunk(content="a"), chunk("stop"), n=2)


def test_logprobs_of_a_chat_and_of_a_completion() -> None:
    token = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1}]}
    said = {"delta": {"content": "a"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}
    _, result = told({"choices": [said]}, logprobs=1)
    assert result.logprobs is not UNSET
    assert [(one.text, one.logprob, one.top) for one in result.logprobs] == [("a", -0.5, [("b", -1.0)])]
    lists = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"b": -1}]}
    _, result = told({"choices": [{"text": "a", "logprobs": lists, "finish_reason": "stop"}]}, logprobs=1)
    assert result.logprobs is not UNSET
    assert (result.text, result.logprobs[0].top) == ("a", [("b", -1.0)])


def test_a_server_cannot_fill_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_CHARS", 10)
    with pytest.raises(RemoteFailed, match="more than 10 characters"):
        told(*[chunk(content="12345")] * 3)


def test_without_stream_there_are_no_pieces() -> None:
    pieces, result = told(chunk(content="a"), chunk("stop"), stream=False)
    assert pieces == []
    assert result.text == "a"


def test_a_middle_ends_where_it_repeats_what_follows() -> None:
    params = InfillParams(prefix="def f():\n    return ", suffix="\n\nprint(f())\n")
    answer = RemoteAnswer(1, params, lambda: middles.ending(params))
    texts = [piece.text for part in ("1", "\n\npri", "nt(f())", "\nmore") for piece in answer.feed(chunk(content=part))]
    assert answer.ended()
    assert "".join(texts) == "1"
    assert answer.result("remote:box/m", "").text == "1"


def test_many_pieces_at_once_are_one_message() -> None:
    pieces = [Piece(1, 0, "a"), Piece(1, 0, "b"), Piece(2, 0, "c"), Piece(1, 0, "d"), Piece(1, 0, "e", "reasoning")]
    assert joined(list(pieces)) == [
        Piece(1, 0, "ab"),
        Piece(2, 0, "c"),
        Piece(1, 0, "d"),
        Piece(1, 0, "e", "reasoning"),
    ]
    made, _ = told(
        chunk(tool_calls=[call(0, "1", id="a", name="f")]), chunk(tool_calls=[call(0, "2")]),
        chunk(tool_calls=[call(1, "3", id="b", name="g")]), chunk("stop"),
    )  # fmt: skip
    assert [piece.text for piece in joined([*made])] == ["", "12", "", "3"]
