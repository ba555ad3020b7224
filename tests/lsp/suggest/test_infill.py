"""What an infill request sends, what is shown of its answer, and when it ends early."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.lsp.fakes import FakeDaemon
from threadrunner.api.errors import NotSupported
from threadrunner.lsp.suggest.ask import Figures
from threadrunner.lsp.suggest.context import Snippet
from threadrunner.lsp.suggest.documents import Place
from threadrunner.lsp.suggest.infill import InfillRequest, cut_for
from threadrunner.lsp.suggest.infill_client import InfillClient
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.window import TextWindow


def window(prefix: str, suffix: str = "\n") -> TextWindow:
    return TextWindow(prefix, suffix, Place(0, 0), True)


def infill(prefix: str = "x = ", suffix: str = "\n", settings: Settings | None = None, **more: Any) -> InfillRequest:
    return InfillRequest(settings or Settings(), "python", "a.py", window(prefix, suffix), **more)


def answer(*texts: str, finish_reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish_reason} for text in texts]}


def test_one_suggestion_is_streamed_and_short() -> None:
    request = infill(context=[Snippet("lib.py", "def f(): ...\n")])
    assert request.params() == {
        "prefix": "x = ", "suffix": "\n", "language": "python", "path": "a.py",
        "context": [{"path": "lib.py", "text": "def f(): ...\n"}],
        "max_tokens": 96, "max_time_ms": 500, "priority": "interactive", "stream": True,
    }  # fmt: skip


def test_several_candidates_may_take_longer_and_differ() -> None:
    params = infill(count=3).params()
    assert (params["n"], params["stream"], params["max_time_ms"]) == (3, False, 2000)
    assert params["temperature"] > 0


def test_a_guess_may_take_longer_in_the_background() -> None:
    params = infill(priority="background").params()
    assert (params["priority"], params["max_time_ms"], "n" in params) == ("background", 2000, False)


def test_only_what_is_set_is_sent() -> None:
    unnamed = InfillRequest(Settings(), "python", "", window("x"))
    assert not {"path", "model", "backend", "keep_alive"} & unnamed.params().keys()
    settings = Settings(model="m", backend="dummy", keep_alive=5.0)
    params = infill(settings=settings).params()
    assert (params["model"], params["backend"], params["keep_alive"]) == ("m", "dummy", 5.0)


def test_texts_are_filtered_and_each_is_shown_once() -> None:
    assert infill(count=3).texts(answer("1  \n", "2", "1")) == ["1", "2"]
    assert infill().texts({"text": " \n", "finish_reason": "stop"}) == []


def test_half_a_line_at_the_token_limit_is_cut() -> None:
    assert infill("").texts(answer("a = 1\nb = (c", finish_reason="length")) == ["a = 1"]
    assert infill("").texts(answer("a = 1\nb = c")) == ["a = 1\nb = c"]


def test_a_cached_text_is_cut_for_a_closer_that_came_since() -> None:
    assert cut_for("value)", window("print(", ")\n"), "python") == "value"


@pytest.mark.asyncio
async def test_pieces_are_passed_on_and_tokens_counted() -> None:
    daemon, figures, pieces = FakeDaemon(), Figures(), []
    asking = asyncio.create_task(InfillClient(daemon, figures).texts(infill(), pieces.append))
    sent = await daemon.sent()
    for piece in ("1 +", " 2"):
        sent.speak(piece)
    sent.end("1 + 2", usage={"prompt_tokens": 100, "cached_tokens": 98})
    assert await asking == ["1 + 2"]
    assert pieces == ["1 +", " 2"]
    assert (figures.prompt_tokens, figures.evaluated_tokens, figures.ended_early) == (100, 2, 0)


@pytest.mark.asyncio
async def test_it_ends_where_all_that_could_follow_would_be_cut() -> None:
    daemon, figures = FakeDaemon(), Figures()
    asking = asyncio.create_task(InfillClient(daemon, figures).texts(infill("def f():\n    ", "\n")))
    sent = await daemon.sent()
    sent.speak("return 1\n")
    sent.speak("\ndef g():\n")
    assert await asking == ["return 1"]
    assert sent.cancelled and figures.ended_early == 1


@pytest.mark.asyncio
async def test_a_cancel_is_passed_on() -> None:
    daemon = FakeDaemon()
    asking = asyncio.create_task(InfillClient(daemon, Figures()).texts(infill()))
    sent = await daemon.sent()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert sent.cancelled


@pytest.mark.asyncio
async def test_a_failure_is_raised() -> None:
    daemon = FakeDaemon()
    asking = asyncio.create_task(InfillClient(daemon, Figures()).texts(infill()))
    (await daemon.sent()).answer.set_exception(NotSupported("no FIM tokens"))
    with pytest.raises(NotSupported):
        await asking
