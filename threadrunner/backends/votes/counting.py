"""A vote under way: the answers that are complete, their keys, and the result."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from threadrunner.api.choices import as_answer
from threadrunner.api.generation import Choice, Generated
from threadrunner.api.votes import Vote, Voted
from threadrunner.backends.votes.keys import key_of
from threadrunner.backends.votes.standing import Standing, standing


class Count:
    """One request's vote over `n` answers."""

    def __init__(self, vote: Vote, n: int) -> None:
        self._vote = vote
        self._n = n
        self._keys: list[str | None] = []
        self._choices: list[Choice] = []
        """In the order of `_keys`, in which they were complete."""

    def add(self, choice: Choice) -> None:
        """An answer is complete; `choice` has its index, and is given its key. Raises InvalidParams."""
        key = key_of(self._vote, choice.text, choice.tool_calls or ())
        choice.key = UNSET if key is None else key
        self._keys.append(key)
        self._choices.append(choice)

    @property
    def standing(self) -> Standing:
        return standing(self._keys, self._n, self._vote.least)

    @property
    def over(self) -> bool:
        """The answers that are still to come need not be waited for."""
        return self._vote.by == "majority" and self._vote.early_stop and self.standing.decided

    def result(self, so_far: Generated) -> Generated:
        """What the request's result is, where `so_far` has its usage and times. Of a vote without a winner `text` is
        empty; it is the daemon that says what comes of that."""
        choices = sorted(self._choices, key=lambda choice: int(choice.index or 0))
        if self._vote.by == "client":
            voted = Voted("client", self._n, len(choices))
            return msgspec.structs.replace(so_far, choices=choices, vote=voted)
        now = self.standing
        winner = None if now.leader is None else self._choices[self._keys.index(now.leader)]
        voted = Voted(
            "majority",
            self._n,
            now.answers,
            chosen=UNSET if winner is None else winner.index,
            agreement=round(now.agreement, 4),
            votes=now.votes,
            key=now.leader or UNSET,
            keys=now.keys,
            without_key=self._keys.count(None),
        )
        return as_answer(msgspec.structs.replace(so_far, choices=choices, vote=voted), winner or Choice("", "stop"))
