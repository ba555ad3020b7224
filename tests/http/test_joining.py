"""Several requests of one Order, as one stream of events."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from threadrunner.api.errors import ApiError, InternalError, InvalidParams, Timeout
from threadrunner.api.generation import Choice, Generated, Timings, TokenLogprob, Usage
from threadrunner.http.exchange import TOGETHER, AnswerPiece, Event, Exchanges, Order, whole
from threadrunner.http.joining import choices, joined, prompt_logprobs


def answer(text: str, **more: Any) -> Generated:
    return Generated(text, "stop", "m", Usage(3, 1, 2), Timings(prefill_ms=1, decode_ms=1000), **more)


class Script:
    """A daemon that says what the prompt says; `asked` and `ended` count."""

    def __init__(self) -> None:
        self.asked = self.ended = self.most = 0

    async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any:
        self.asked += 1
        self.most = max(self.most, self.asked - self.ended)
        try:
            await asyncio.sleep(0)
            if params["prompt"] == "wait":
                await asyncio.Event().wait()
            if params["prompt"] == "fail":
                raise InvalidParams("no")
            if params["prompt"] == "another version":
                return {"texts": []}
            notice("token", {"index": 0, "text": params["prompt"]})
            return msgspec.to_builtins(answer(params["prompt"]))
        finally:
            self.ended += 1


def order(*prompts: str) -> Order:
    first, *more = ({"prompt": prompt} for prompt in prompts)
    return Order("generate", first, "m", tuple(more))


async def events_of(exchanges: Exchanges, asked: Order) -> list[Event]:
    seen: list[Event] = []
    async with exchanges.opened(asked) as exchange:
        while not any(isinstance(event, (Generated, ApiError)) for event in seen):
            seen += await exchange.events(10)
    return seen


def test_pieces_are_numbered_on_and_the_answers_are_one() -> None:
    seen = asyncio.run(events_of(Exchanges(Script()), order("a", "b", "c")))
    assert set(seen[:-1]) == {AnswerPiece(i, text) for i, text in enumerate("abc")}
    last = seen[-1]
    assert isinstance(last, Generated) and [choice.text for choice in choices(last)] == ["a", "b", "c"]
    assert (last.usage.prompt_tokens, last.usage.cached_tokens, last.usage.completion_tokens) == (9, 3, 6)
    assert last.timings.tokens_per_second == 2.0


def test_an_answer_that_cannot_be_read_is_an_end() -> None:
    """A client was told for ever that its answer goes on."""
    with pytest.raises(InternalError):
        asyncio.run(whole(Exchanges(Script()), order("another version")))


def test_one_that_fails_ends_the_others() -> None:
    script = Script()
    with pytest.raises(InvalidParams):
        asyncio.run(whole(Exchanges(script), order("wait", "fail", "wait")))
    assert script.ended == script.asked == 3


def test_leaving_ends_all_and_no_more_than_a_few_are_under_way() -> None:
    script = Script()

    async def leave() -> None:
        exchanges = Exchanges(script)
        with pytest.raises(Timeout):
            async with exchanges.opened(order(*["wait"] * 20)) as exchange:
                await exchange.events(0.01)
                raise Timeout("gone")
        assert len(exchanges) == 0

    asyncio.run(leave())
    assert script.ended == script.asked == script.most == TOGETHER


def test_log_probabilities_of_prompts_are_told_apart() -> None:
    scored = [[None, TokenLogprob("b", -1.0)], [None], [None, TokenLogprob("c", -2.0), TokenLogprob("d", -3.0)]]
    one = joined([answer("x", prompt_logprobs=prompt) for prompt in scored])
    assert prompt_logprobs(one) == scored
    assert prompt_logprobs(answer("x")) == []


def test_choices_of_each_stay_together() -> None:
    two = [answer(name, choices=[Choice(f"{name}{i}", "stop") for i in (0, 1)]) for name in ("a", "b")]
    assert [choice.text for choice in choices(joined(two))] == ["a0", "a1", "b0", "b1"]
