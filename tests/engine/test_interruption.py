"""Two threads, one batch: what is announced stops it, or makes it small, or is none of its business."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from threadrunner.engine.interruption import Interruption, RunningBatch
from threadrunner.engine.scheduler import Chunk
from threadrunner.engine.sequence import Priority

LONG, SHORT = 500, 16


@dataclass
class Flag:
    up: bool = False

    def set_abort(self) -> None:
        self.up = True

    def clear_abort(self) -> None:
        self.up = False


def prefill(id: int = 1, size: int = LONG, priority: Priority = Priority.NORMAL) -> Chunk[Any]:
    sequence = SimpleNamespace(decoding=False, priority=priority, request=SimpleNamespace(id=id))
    return Chunk(sequence, size, None)


def token(id: int = 1, priority: Priority = Priority.NORMAL) -> Chunk[Any]:
    return Chunk(SimpleNamespace(decoding=True, priority=priority, request=SimpleNamespace(id=id)), 1, 0)


class Pair:
    """The protocol and its flag."""

    def __init__(self, *, recurrent: bool = False) -> None:
        self.flag = Flag()
        self.protocol = Interruption(self.flag, min_prefill=SHORT, recurrent=recurrent)

    def fly(self, *chunks: Chunk[Any]) -> None:
        """Until the batch computes."""
        self.protocol.begin_step()
        assert self.protocol.begin_batch(chunks)


@pytest.fixture
def pair() -> Pair:
    return Pair()


# which batch a request stops


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize("running", list(Priority))
def test_a_request_stops_a_prefill_that_is_not_more_urgent(pair: Pair, priority: Priority, running: Priority) -> None:
    pair.fly(prefill(priority=running))
    pair.protocol.announce_request(priority)
    assert pair.flag.up == (priority <= running)


def test_the_most_urgent_prompt_of_a_batch_decides(pair: Pair) -> None:
    pair.fly(prefill(1, priority=Priority.BACKGROUND), prefill(2, priority=Priority.INTERACTIVE))
    pair.protocol.announce_request(Priority.NORMAL)
    assert not pair.flag.up


def test_a_short_prefill_and_tokens_are_not_worth_stopping(pair: Pair) -> None:
    for chunks in ([prefill(size=SHORT)], [token(1), token(2)], [token(1), prefill(2, size=SHORT)]):
        pair.fly(*chunks)
        pair.protocol.announce_request(Priority.INTERACTIVE)
        assert not pair.flag.up
        pair.protocol.end_batch()


def test_prompts_count_together_and_tokens_do_not(pair: Pair) -> None:
    pair.fly(prefill(1, size=SHORT - 1), token(2), token(3))
    pair.protocol.announce_request(Priority.NORMAL)
    assert not pair.flag.up
    pair.fly(prefill(1, size=SHORT - 1), prefill(4, size=2))
    pair.protocol.announce_request(Priority.NORMAL)
    assert pair.flag.up


def test_a_recurrent_model_is_stopped_by_the_cancel_of_everything_alone() -> None:
    """Its batches are short; stopped, one costs all that are in it their state."""
    pair = Pair(recurrent=True)
    pair.fly(prefill(7))
    pair.protocol.announce_request(Priority.INTERACTIVE)
    pair.protocol.announce_cancel(7)
    assert not pair.flag.up
    pair.protocol.announce_cancel(None)
    assert pair.flag.up


# which batch a cancel stops


def test_a_cancel_stops_its_own_prefill_of_any_size_and_no_other(pair: Pair) -> None:
    pair.fly(prefill(7, size=1), token(8))
    for id in (8, 9):
        pair.protocol.announce_cancel(id)
        assert not pair.flag.up
    pair.protocol.announce_cancel(7)
    assert pair.flag.up


@pytest.mark.parametrize("chunk", [prefill(size=1), token()])
def test_the_cancel_of_everything_stops_any_batch(pair: Pair, chunk: Chunk[Any]) -> None:
    pair.fly(chunk)
    pair.protocol.announce_cancel(None)
    assert pair.flag.up


# the moments around a batch


def test_between_batches_nothing_is_stopped(pair: Pair) -> None:
    pair.protocol.announce_request(Priority.INTERACTIVE)
    pair.protocol.announce_cancel(None)
    assert not pair.flag.up
    pair.fly(prefill())
    pair.protocol.end_batch()
    pair.protocol.announce_cancel(None)
    assert not pair.flag.up


def test_announced_while_the_batch_is_planned_is_seen_before_it_is_evaluated(pair: Pair) -> None:
    pair.protocol.begin_step()
    pair.protocol.announce_request(Priority.BACKGROUND)  # its thread finds no batch to stop
    assert not pair.protocol.begin_batch([prefill()])
    assert not pair.flag.up


def test_a_batch_that_is_not_begun_is_not_stopped(pair: Pair) -> None:
    pair.protocol.begin_step()
    pair.protocol.announce_request(Priority.NORMAL)
    assert not pair.protocol.begin_batch([prefill()])
    pair.protocol.announce_cancel(None)
    assert not pair.flag.up


def test_announced_when_the_batch_is_begun_and_not_yet_evaluated_stops_it_at_once(pair: Pair) -> None:
    pair.protocol.begin_step()
    assert pair.protocol.begin_batch([prefill()])
    pair.protocol.announce_request(Priority.NORMAL)
    assert pair.flag.up


def test_a_stale_batch_is_planned_again_and_with_caution_if_the_message_is_still_on_its_way(pair: Pair) -> None:
    for taken in (False, True):
        pair.protocol.begin_step()
        pair.protocol.announce_request(Priority.NORMAL)
        assert not pair.protocol.begin_batch([prefill()])
        if taken:
            pair.protocol.arrived()
        assert pair.protocol.begin_step() == (not taken)
        assert pair.protocol.begin_batch([prefill()])
        pair.protocol.end_batch()


def test_an_abort_that_comes_when_the_batch_has_ended_is_cleared_by_the_next_step(pair: Pair) -> None:
    pair.fly(prefill())
    pair.protocol.end_batch()
    pair.flag.set_abort()  # its thread looked while the batch ran, and was slow
    pair.fly(prefill())
    assert not pair.flag.up


# what is expected


def test_a_step_is_cautious_from_an_announcement_until_its_arrival(pair: Pair) -> None:
    assert not pair.protocol.begin_step()
    pair.protocol.announce_request(Priority.NORMAL)
    assert pair.protocol.begin_step()
    pair.protocol.announce_request(Priority.NORMAL)
    pair.protocol.arrived()
    assert not pair.protocol.begin_step()


def test_what_never_arrives_costs_one_small_step(pair: Pair) -> None:
    pair.protocol.announce_cancel(3)
    assert pair.protocol.begin_step()
    assert not pair.protocol.begin_step()


def test_an_arrival_that_is_no_longer_expected_does_not_make_up_for_another(pair: Pair) -> None:
    pair.protocol.announce_request(Priority.NORMAL)
    assert pair.protocol.begin_step()
    pair.protocol.arrived()
    pair.protocol.arrived()  # never announced: a request that was submitted without the listening thread
    pair.protocol.announce_request(Priority.NORMAL)
    assert pair.protocol.begin_step()


def test_of_two_messages_one_is_here(pair: Pair) -> None:
    pair.protocol.announce_request(Priority.NORMAL)
    pair.protocol.announce_request(Priority.NORMAL)
    pair.protocol.arrived()
    assert pair.protocol.begin_step()


# both threads at once: one runs on while the other stands between two lines of its own


def with_a_switch(line: int, function: Callable[[], object], other: Callable[[], object]) -> bool:
    """Call `function`; when it comes to its line number `line`, call `other` there. Whether it has such a line."""
    lines = 0

    def on_line(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        if event == "line":
            if lines == line:
                sys.settrace(None)
                other()
            lines += 1
        return on_line

    before = sys.gettrace()
    sys.settrace(on_line)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines > line


Step = dict[str, bool]


def step(pair: Pair, done: Step) -> None:
    done["cautious"] = pair.protocol.begin_step()
    done["evaluated"] = pair.protocol.begin_batch([prefill(1)])


def announcements(pair: Pair) -> dict[str, Callable[[], None]]:
    return {
        "request": lambda: pair.protocol.announce_request(Priority.NORMAL),
        "cancel": lambda: pair.protocol.announce_cancel(1),
        "end": lambda: pair.protocol.announce_cancel(None),
    }


def heard(pair: Pair, done: Step) -> bool:
    """Once the message is announced and the batch computes: the step was small, or not done, or it is stopped."""
    return done["cautious"] or not done["evaluated"] or pair.flag.up


@pytest.mark.parametrize("kind", ["request", "cancel", "end"])
def test_an_announcement_is_heard_at_whichever_line_of_the_step_it_comes(kind: str) -> None:
    for line in range(100):
        pair, done = Pair(), Step()
        if not with_a_switch(line, lambda: step(pair, done), announcements(pair)[kind]):  # noqa: B023
            break
        assert heard(pair, done), line
    assert line > 10


@pytest.mark.parametrize("kind", ["request", "cancel", "end"])
def test_an_announcement_is_heard_at_whichever_of_its_lines_a_step_is_made(kind: str) -> None:
    for line in range(100):
        pair, done = Pair(), Step()
        if not with_a_switch(line, announcements(pair)[kind], lambda: step(pair, done)):  # noqa: B023
            break
        assert heard(pair, done), line
    assert line > 3


@pytest.mark.parametrize("kind", ["request", "cancel", "end"])
def test_an_announcement_is_heard_at_whichever_of_its_lines_a_planned_batch_is_begun(kind: str) -> None:
    for line in range(100):
        pair, done = Pair(), Step()
        done["cautious"] = pair.protocol.begin_step()

        def begin(pair: Pair = pair, done: Step = done) -> None:
            done["evaluated"] = pair.protocol.begin_batch([prefill(1)])

        if not with_a_switch(line, announcements(pair)[kind], begin):
            break
        assert heard(pair, done), line
    assert line > 3


def test_what_a_batch_is() -> None:
    urgent = prefill(1, size=30, priority=Priority.INTERACTIVE)
    batch = RunningBatch.of([token(5), urgent, prefill(2, size=4), prefill(1, size=6)])
    assert batch == RunningBatch(40, Priority.INTERACTIVE, frozenset({1, 2}))
    assert RunningBatch.of([token(5)]).prefill == 0
