"""One request's vote: its candidates as they come, the choice among them, and a larger model where they do not agree.

The worker counts keys (backends/votes); here is decided what comes of the count.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from threadrunner.api.choices import as_answer
from threadrunner.api.errors import ApiError, InvalidParams, NoneChosen
from threadrunner.api.generation import Choice, Generated, GenerateParams
from threadrunner.api.votes import Vote, Voted
from threadrunner.daemon.methods import consent
from threadrunner.daemon.methods.choice import ModelChoice
from threadrunner.daemon.methods.generation import Generation
from threadrunner.daemon.workers.sink import EncodedPiece, Sink
from threadrunner.remote_settings import BACKEND as REMOTE

ROUNDING = 1e-4
"""An agreement is told with four places."""

Asking = Callable[[ModelChoice, GenerateParams, Sink], Awaitable[Generated]]
"""Has a model answer these params."""


class ChoiceSource(Protocol):
    """Where the client's choice comes from: see Outlet."""

    def on_choice(self, choose: Callable[[int | None], None]) -> None: ...


class Ballot:
    """See the module; made for one request, used once."""

    def __init__(self, generation: Generation, params: GenerateParams, vote: Vote, chooser: ChoiceSource) -> None:
        """Raises InvalidParams where the model of `otherwise` cannot be asked."""
        self._generation = generation
        self._vote = vote
        self._n = params.n
        self.otherwise = self._larger(params)
        """The model that is asked where the answers do not agree."""
        self._made: dict[int, Generated] = {}
        self._choice: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if vote.by == "client":
            chooser.on_choice(self._choose)

    def _larger(self, params: GenerateParams) -> ModelChoice | None:
        if self._vote.otherwise is None:
            return None
        return self._generation.choose(msgspec.structs.replace(params, model=self._vote.otherwise))

    async def check(self, *, offline: bool) -> None:
        """That the larger model is there and may be asked, before the vote. Raises ApiError."""
        if self.otherwise is None:
            return
        if self.otherwise.backend == REMOTE:
            consent.check_online(self.otherwise.name, offline=offline)
            self._generation.permit(self.otherwise, "prompt")
        await self._generation.resolve(self.otherwise)

    async def result(self, choice: ModelChoice, params: GenerateParams, sink: Sink, ask: Asking) -> Generated:
        """The chosen answer. Raises ApiError, NoneChosen among them."""
        voting = msgspec.structs.replace(params, stream=False)
        if self._vote.by == "client":
            return await self._by_client(ask(choice, voting, _Candidates(sink, self._made)))
        began = time.monotonic()
        result = await ask(choice, voting, sink if params.stream else _Candidates(sink, self._made, silent=True))
        problem = shortfall(self._vote, result)
        if problem is None:
            return result
        if self.otherwise is None:
            raise problem
        seconds = time.monotonic() - began
        return _after(seconds, await self._cascade(params, sink, ask, result))

    async def _cascade(self, params: GenerateParams, sink: Sink, ask: Asking, result: Generated) -> Generated:
        assert self.otherwise is not None
        choice = self.otherwise
        alone = msgspec.structs.replace(params, model=choice.name, backend=choice.backend, n=1, vote=None)
        try:
            larger = await ask(choice, alone, sink)
        except ApiError as error:  # the answers that there are must not be lost for that
            own = copy.copy(error)  # the end of a worker is one error for all of its requests
            own.facts = {"choices": texts(result), **error.facts}
            raise own from None
        assert result.vote
        tokens = result.usage.completion_tokens
        voted = msgspec.structs.replace(result.vote, chosen=UNSET, otherwise=larger.model, completion_tokens=tokens)
        return msgspec.structs.replace(larger, choices=result.choices, vote=voted)

    # by the client

    def _choose(self, candidate: int | None) -> None:
        if self._choice.done():
            raise InvalidParams("the choice was made already")
        if candidate is not None and candidate not in self._made:
            raise InvalidParams(f"there is no candidate {candidate} yet; complete are {sorted(self._made) or 'none'}")
        self._choice.set_result(candidate)

    async def _by_client(self, answering: Awaitable[Generated]) -> Generated:
        """The others end with the choice: what answers is cancelled, and the worker told."""
        task = asyncio.ensure_future(answering)
        either: set[asyncio.Future[Any]] = {task, self._choice}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            last = None if self._choice.done() else task.result()
            return self._chosen(await self._choice, last)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # an error of what is not chosen is none

    def _chosen(self, candidate: int | None, last: Generated | None) -> Generated:
        """`last` is the result where all candidates are complete."""
        choices = [choice for _, made in sorted(self._made.items()) for choice in made.choices or []]
        if candidate is None:
            raise NoneChosen(f"none of {len(choices)} answers was chosen", choices=[one.text for one in choices])
        latest = last or max(self._made.values(), key=lambda made: made.usage.completion_tokens)
        voted = Voted("client", self._n, len(choices), chosen=candidate)
        chosen = next(one for one in choices if one.index == candidate)
        return msgspec.structs.replace(as_answer(latest, chosen), choices=choices, vote=voted)


class _Candidates:
    """Keeps an answer's candidates on their way to the client, who is told of them unless this is silent."""

    def __init__(self, sink: Sink, made: dict[int, Generated], *, silent: bool = False) -> None:
        self._sink = sink
        self._made = made
        self._silent = silent

    def piece(self, piece: EncodedPiece) -> None: ...

    def flush(self) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None:
        self._sink.progress(stage, done, total)

    def candidate(self, result: Generated) -> None:
        choice = (result.choices or [Choice("", "stop")])[0]
        self._made[choice.index or 0] = result
        if not self._silent:
            self._sink.candidate(result)


def _after(seconds: float, result: Generated) -> Generated:
    """The result as of a request that began that long before."""
    timings = result.timings
    later = msgspec.structs.replace(timings, ttft_ms=round(timings.ttft_ms + seconds * 1e3, 3))
    return msgspec.structs.replace(result, timings=later)


def shortfall(vote: Vote, result: Generated) -> NoneChosen | None:
    """Why no answer of a vote is chosen; None where one is."""
    voted = result.vote
    assert voted, "the worker counts every vote"
    agreement, answers = voted.agreement or 0.0, voted.answers
    if not voted.votes:
        why = f"none of {answers} answers has a key: {_missing(vote)}"
    elif vote.least is not None and agreement + ROUNDING < vote.least:
        why = f"the answers agree by {agreement:.2f} ({voted.votes} of {answers}), and {vote.least:g} is the least"
    else:
        return None
    return NoneChosen(why, agreement=agreement, choices=texts(result))


def texts(result: Generated) -> list[str]:
    return [choice.text for choice in result.choices or []]


def _missing(vote: Vote) -> str:
    if vote.field is not None:
        return f"they are no JSON that has {vote.field!r}; a schema makes it so"
    if vote.pattern is not None:
        return f"the pattern {vote.pattern!r} is found in none"
    return "all of them are empty"
