"""What the daemon is told of a vote, and what ends with it."""

from __future__ import annotations

from typing import Any

import msgspec

from threadrunner.api.generation import Choice, Generated, GenerateParams, Timings, Usage
from threadrunner.api.votes import Vote
from threadrunner.backends.base import CandidateDone, Event, Failed, Finished, Piece
from threadrunner.worker.messages import Candidate
from threadrunner.worker.polls import Polls


class Cancelled:
    """A backend, as far as votes use it."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def cancel(self, id: int) -> None:
        self.ids.append(id)


def answer(text: str, tokens: int = 1) -> Generated:
    return Generated(text, "stop", "m", Usage(5, 0, tokens), Timings())


def polls(n: int, **vote: Any) -> tuple[Polls, Cancelled]:
    backend: Any = Cancelled()
    made = Polls(backend)
    made.begin(1, GenerateParams(prompt="x", n=n, vote=Vote(**vote)))
    return made, backend


def told(events: list[Event | Candidate]) -> list[Any]:
    return [
        (event.result.text, event.result.vote.answers)  # type: ignore[union-attr]
        if isinstance(event, Finished)
        else msgspec.json.decode(event.result)["choices"][0]["index"]
        if isinstance(event, Candidate)
        else event
        for event in events
    ]


def test_the_rest_of_the_step_belongs_to_no_one_once_it_is_decided() -> None:
    votes, backend = polls(3)
    assert told(votes.counted([Piece(1, 0, "a"), CandidateDone(1, 2, answer("a"))])) == [2]
    last = Finished(1, msgspec.structs.replace(answer("b"), choices=[]))
    step = [CandidateDone(1, 0, answer("A.", 7)), CandidateDone(1, 1, answer("b")), last, Piece(9, 0, "others")]
    assert told(votes.counted(step)) == [0, ("a", 2), Piece(9, 0, "others")]
    assert (backend.ids, bool(votes)) == ([1], False)


def test_a_backend_that_tells_of_no_candidate_is_counted_at_its_end() -> None:
    votes, backend = polls(2)
    choices = [Choice("b", "stop"), Choice("c", "stop")]
    events = votes.counted([Finished(1, msgspec.structs.replace(answer("b"), choices=choices))])
    assert told(events) == [0, 1, ("b", 2)]
    assert backend.ids == []


def test_a_client_that_chooses_ends_it_itself() -> None:
    votes, backend = polls(2, by="client")
    assert told(votes.counted([CandidateDone(1, 0, answer("a")), CandidateDone(1, 1, answer("a"))])) == [0, 1]
    assert (backend.ids, bool(votes)) == ([], True)
    votes.forget(1)
    assert not votes


def test_a_failure_ends_the_count() -> None:
    votes, _ = polls(2)
    failure = Failed(1, -32603, "no", {})
    assert votes.counted([failure]) == [failure]
    assert not votes
