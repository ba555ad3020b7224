"""One worker's life, decided: events in, effects out. No clock, no process, no await.

    stopped --acquire--> starting --loaded--> ready --idle or unload--> stopping --exited--> stopped
                            |                   |
                         load_failed, exited    exited (a crash: the requests under way are failed by their owner)

    A load that no request waits for is idle, too: starting --idle or unload--> stopping.

    `discard` leads from starting and ready to stopping at once, under requests: the caller has killed the process.

Rule: only this module decides whether a worker is started or stopped. A caller never looks at `state` first and
acts second; it asks `acquire` and gets a grant when the worker is ready, whatever happened in between. Idle time is
counted only while no ticket is held or waits, so no timer can unload under a request.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

from threadrunner.api.errors import ApiError, ModelLoadFailed
from threadrunner.daemon.workers.hang import HANG

MAX_BACKOFF = 60.0
"""Seconds."""
LONGEST = 10 * 365 * 86400.0
"""Seconds of a keep-alive; a longer one is for good, as one below 0 is: 1e308 stood in `status` with 305 digits, and is
no date for Ollama's clients."""


class State(Enum):
    """The states of the picture above."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class StartWorker(NamedTuple):
    """Spawn the worker and load the model; answer with loaded, load_failed or exited."""


class StopWorker(NamedTuple):
    """Ask the worker to end; answer with exited."""


class Grant(NamedTuple):
    """The ticket's holder may use the worker until it calls release."""

    ticket: Hashable


class Refuse(NamedTuple):
    """The ticket's holder does not get the worker, and must not call release."""

    ticket: Hashable
    error: ApiError


Effect = StartWorker | StopWorker | Grant | Refuse


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
        self._hangs = 0
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<Lifecycle {self.name} {self.state.value} {self.active} active {len(self.waiting)} waiting>"

    @property
    def idle(self) -> bool:
        """No ticket is held or waits."""
        return self.active == 0 and not self.waiting

    @property
    def keep_alive(self) -> float:
        """What the last request asked for, or the default."""
        return self._keep_alive

    @property
    def expires_at(self) -> float | None:
        """When `tick` must be called; None while nothing happens by time."""
        if self.state not in (State.STARTING, State.READY) or not self.idle or not 0 <= self._keep_alive <= LONGEST:
            return None
        return self.idle_since + self._keep_alive

    def acquire(self, ticket: Hashable, now: float, keep_alive: float | None = None) -> list[Effect]:
        """Ask for the worker. The ticket gets exactly one Grant or Refuse, now or later, unless it is abandoned."""
        self._keep_alive = self.default_keep_alive if keep_alive is None else keep_alive
        if self.state is State.READY:
            self.active += 1
            return [Grant(ticket)]
        if self.state is State.STOPPED and self.error and now < self._retry_at:
            return [Refuse(ticket, self._backing_off(now))]
        self.waiting.append(ticket)
        return self._start() if self.state is State.STOPPED else []

    def abandon(self, ticket: Hashable, now: float) -> None:
        """The ticket's holder stopped waiting. The load goes on, for the keep-alive time: the next prompt needs it."""
        if ticket in self.waiting:
            self.waiting.remove(ticket)
            self._now_idle(now)

    def release(self, now: float) -> list[Effect]:
        """The holder of a granted ticket has finished."""
        self.active -= 1
        self._now_idle(now)
        return self.tick(now)

    def answered(self) -> None:
        """A request was answered: the worker does not hang with each."""
        self._hangs = 0

    def loaded(self, now: float) -> list[Effect]:
        """The model is loaded: all that wait are granted."""
        if self.state is not State.STARTING:  # it was given up in the same moment
            return []
        self.state = State.READY
        self.error = None
        self._failures = 0
        granted: list[Effect] = [Grant(ticket) for ticket in self.waiting]
        self.active += len(self.waiting)
        self.waiting.clear()
        self.idle_since = now
        return granted or self.tick(now)

    def load_failed(self, error: ApiError, now: float) -> list[Effect]:
        """The load failed; the worker ends by itself, or has ended. All that wait are refused with the error."""
        if self.state is not State.STARTING:  # it was given up in the same moment: they wait for the next one
            return []
        self.error = error
        if error.facts.get("reason") == "resources":  # the machine's, and passing: nothing is wrong with the model
            self.state = State.STOPPING
            return self._refuse_all(error)
        self._failures += 1
        self._retry_at = now + _backoff(self._failures)
        self.state = State.STOPPING
        return self._refuse_all(error)

    def exited(self, crash: ApiError | None, now: float) -> list[Effect]:
        """The process has ended; `crash` says how if that was not asked for. Tickets that wait get the next one."""
        effects: list[Effect] = []
        if self.state is State.STARTING:
            effects = self.load_failed(crash or ModelLoadFailed("the worker ended before the model was loaded"), now)
        elif crash is not None:
            self.error = crash
            if crash.facts.get("cause") == HANG:
                self._hangs += 1
                self._retry_at = now + _backoff(self._hangs)
        self.state = State.STOPPED
        if not self.waiting:
            return effects
        # These came while it was stopping.
        if self.error and now < self._retry_at:
            return effects + self._refuse_all(self._backing_off(now))
        return effects + self._start()

    def unload(self, now: float) -> list[Effect]:
        """Unload as soon as it is idle: now, or after the last release. A later acquire keeps it after all."""
        self._keep_alive = 0.0
        return self.tick(now)

    def discard(self) -> None:
        """The worker is being killed, busy or not (its file was overwritten). All that wait get the next one."""
        if self.state in (State.STARTING, State.READY):
            self.state = State.STOPPING

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: stop a worker that has been idle for its keep-alive time."""
        if self.expires_at is None or now < self.expires_at:
            return []
        self.state = State.STOPPING
        return [StopWorker()]

    def forgive(self) -> None:
        """The cause of past failures may be gone (the file has changed): try again without delay."""
        self._failures = self._hangs = 0
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
        wait, failures = self._retry_at - now, max(self._failures, self._hangs)
        return ModelLoadFailed(
            f"{self.error.message} (failed {failures} times; the next try is possible in {wait:.0f} s)",
            **{**self.error.facts, "failures": failures, "retry_in_s": round(wait, 1)},
        )


def _backoff(failures: int) -> float:
    """Seconds until the next try. The first failure may be a passing one (a file not yet complete), so the next request
    tries at once."""
    return min(MAX_BACKOFF, 2.0 ** (failures - 1)) if failures > 1 else 0.0
