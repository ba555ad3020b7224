"""One worker's life, decided: events in, effects out. No clock, no process, no await.

    stopped --acquire--> starting --loaded--> ready --idle or unload--> stopping --exited--> stopped
                            |                   |
                         load_failed, exited    exited (a crash: the requests under way are failed by their owner)

    `discard` leads from starting and ready to stopping at once, under requests.

Rule: only this module decides whether a worker is started or stopped. A caller never looks at `state` first and
acts second; it asks `acquire` and gets a grant when the worker is ready, whatever happened in between. Idle time is
counted only while no ticket is held or waits, so no timer can unload under a request.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from threadrunner.api.errors import ApiError, ModelLoadFailed

BACKOFF_LONGEST = 60.0


class State(Enum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class StartWorker(NamedTuple):
    """Spawn the worker and load the model; answer with loaded, load_failed or exited."""


class StopWorker(NamedTuple):
    """Ask the worker to end; answer with exited."""


class Kill(NamedTuple):
    """End the worker at once, under its requests; answer with exited."""


class Grant(NamedTuple):
    """The ticket's holder may use the worker until it calls release."""

    ticket: Hashable


class Refuse(NamedTuple):
    ticket: Hashable
    error: ApiError


Effect = StartWorker | StopWorker | Kill | Grant | Refuse


class Lifecycle:
    """See the module. Times are seconds on any one clock."""

    def __init__(self, name: str, keep_alive: float) -> None:
        self.name = name
        self.default_keep_alive = keep_alive
        self.state = State.STOPPED
        self.active = 0
        self.waiting: list[Hashable] = []
        self.error: ApiError | None = None
        self.idle_since = 0.0
        self._keep_alive = keep_alive
        self._failures = 0
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<Supervisor {self.name} {self.state.value} {self.active} active {len(self.waiting)} waiting>"

    @property
    def idle(self) -> bool:
        """No one uses it or waits for it."""
        return self.active == 0 and not self.waiting

    @property
    def keep_alive(self) -> float:
        """What the last request asked for, or the default."""
        return self._keep_alive

    @property
    def expires_at(self) -> float | None:
        """When `tick` wants to be called; None while nothing is to happen by time."""
        if self.state is not State.READY or not self.idle or self._keep_alive < 0:
            return None
        return self.idle_since + self._keep_alive

    def acquire(self, ticket: Hashable, now: float, keep_alive: float | None = None) -> list[Effect]:
        """Ask for the worker. Sooner or later comes one Grant or Refuse for the ticket, unless it is abandoned."""
        self._keep_alive = self.default_keep_alive if keep_alive is None else keep_alive
        if self.state is State.READY:
            self.active += 1
            return [Grant(ticket)]
        if self.state is State.STOPPED and self.error and now < self._retry_at:
            return [Refuse(ticket, self._backing_off(now))]
        self.waiting.append(ticket)
        return self._start() if self.state is State.STOPPED else []

    def abandon(self, ticket: Hashable, now: float) -> None:
        """The ticket's holder stopped waiting. The load goes on: the next prompt will want it."""
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self._now_idle(now)

    def release(self, now: float) -> list[Effect]:
        """A granted ticket is done with."""
        self.active -= 1
        self._now_idle(now)
        return self.tick(now)

    def loaded(self, now: float) -> list[Effect]:
        self.state = State.READY
        self.error = None
        self._failures = 0
        granted: list[Effect] = [Grant(ticket) for ticket in self.waiting]
        self.active += len(self.waiting)
        self.waiting.clear()
        self.idle_since = now
        return granted or self.tick(now)

    def load_failed(self, error: ApiError, now: float) -> list[Effect]:
        """The load failed with a reason; the worker ends by itself, or has ended. All who wait are refused."""
        self._failures += 1
        self.error = error
        # The first failure may be a passing one (a file not yet whole), so the next request tries at once.
        self._retry_at = now + (min(BACKOFF_LONGEST, 2.0 ** (self._failures - 1)) if self._failures > 1 else 0.0)
        self.state = State.STOPPING
        return self._refuse_all(error)

    def exited(self, crash: ApiError | None, now: float) -> list[Effect]:
        """The process has ended; `crash` says how when that was not asked for."""
        effects: list[Effect] = []
        if self.state is State.STARTING:
            effects = self.load_failed(crash or ModelLoadFailed("the worker ended before the model was loaded"), now)
        elif crash is not None:
            self.error = crash
        self.state = State.STOPPED
        if not self.waiting:
            return effects
        # These came while it was stopping.
        if self.error and now < self._retry_at:
            return effects + self._refuse_all(self._backing_off(now))
        return effects + self._start()

    def unload(self, now: float) -> list[Effect]:
        """Unload as soon as nobody uses it: now, or after the last release. A later acquire keeps it after all."""
        self._keep_alive = 0.0
        return self.tick(now)

    def discard(self) -> list[Effect]:
        """The worker is no good any more (its file was overwritten): end it, busy or not. Those who wait go on waiting
        for the next one."""
        if self.state not in (State.STARTING, State.READY):
            return []
        self.state = State.STOPPING
        return [Kill()]

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: stop an idle worker whose time is over."""
        if self.expires_at is None or now < self.expires_at:
            return []
        self.state = State.STOPPING
        return [StopWorker()]

    def forgive(self) -> None:
        """The cause of past failures may be gone (the file has changed): try again without delay."""
        self._failures = 0
        self._retry_at = 0.0

    def _start(self) -> list[Effect]:
        self.state = State.STARTING
        return [StartWorker()]

    def _now_idle(self, now: float) -> None:
        if self.idle:
            self.idle_since = now

    def _refuse_all(self, error: ApiError) -> list[Effect]:
        refused: list[Effect] = [Refuse(ticket, error) for ticket in self.waiting]
        self.waiting.clear()
        return refused

    def _backing_off(self, now: float) -> ApiError:
        assert self.error is not None
        wait = self._retry_at - now
        return ModelLoadFailed(
            f"{self.error.message} (failed {self._failures} times; the next try is possible in {wait:.0f} s)",
            **{**self.error.facts, "failures": self._failures, "retry_in_s": round(wait, 1)},
        )
