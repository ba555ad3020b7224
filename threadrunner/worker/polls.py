"""The votes of this worker's requests: between what the backend says of candidates and what the daemon is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET

from threadrunner.api.choices import as_answer, as_choice
from threadrunner.api.errors import ApiError
from threadrunner.api.generation import Choice, Generated, GenerateParams
from threadrunner.backends.base import Backend, CandidateDone, Event, Failed, Finished, Piece
from threadrunner.backends.votes.counting import Count
from threadrunner.worker.messages import Candidate


class Polls:
    """True while any of the open requests has a vote."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._counts: dict[int, Count] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def begin(self, id: int, params: GenerateParams) -> None:
        if params.vote is not None:
            self._counts[id] = Count(params.vote, params.n)

    def forget(self, id: int) -> None:
        self._counts.pop(id, None)

    def counted(self, events: Iterable[Event]) -> list[Event | Candidate]:
        """What the daemon is told of a step's events. Where a vote is over, its other candidates end here and now."""
        told: list[Event | Candidate] = []
        over: set[int] = set()
        for event in events:
            count = self._counts.get(event.id)
            if event.id in over:
                continue
            if count is None:
                told.append(event)
                continue
            try:
                for one in self._of_a_vote(count, event):
                    told.append(one)
                    if isinstance(one, Finished | Failed):
                        over.add(event.id)
            except ApiError as error:
                over.add(event.id)
                self._backend.cancel(event.id)
                told.append(Failed(event.id, error.code, error.message, error.data))
        for id in over:
            self.forget(id)
        return told

    def _of_a_vote(self, count: Count, event: Event) -> Iterator[Event | Candidate]:
        """Raises InvalidParams for a pattern that takes too long."""
        match event:
            case Piece():  # of a candidate that may not be chosen
                return
            case CandidateDone(id, index, result):
                yield _counted(count, id, as_choice(result, index), result)
                if count.over:
                    self._backend.cancel(id)
                    yield Finished(id, count.result(result))
            case Finished(id, Generated() as result):
                if not count.standing.answers:  # the backend has not told of each
                    for index, choice in enumerate(result.choices or [as_choice(result, 0)]):
                        yield _counted(count, id, msgspec.structs.replace(choice, index=index), result)
                yield Finished(id, count.result(result))
            case _:
                yield event


def _counted(count: Count, id: int, choice: Choice, so_far: Generated) -> Candidate:
    count.add(choice)
    told = msgspec.structs.replace(as_answer(so_far, choice), choices=[choice], prompt_logprobs=UNSET)
    return Candidate(id, msgspec.json.encode(told))
