"""A worker's life, decided: every order of events, no process, no clock."""

import random

import pytest

from threadrunner.api.errors import ModelLoadFailed, WorkerCrashed
from threadrunner.daemon.workers.hang import HANG
from threadrunner.daemon.workers.lifecycle import Grant, Lifecycle, Refuse, StartWorker, State, StopWorker


@pytest.fixture
def worker() -> Lifecycle:
    return Lifecycle("m", keep_alive=300)


def ready(worker: Lifecycle, now: float = 0) -> None:
    """Load it with one ticket that is given back."""
    assert worker.acquire("first", now) == [StartWorker()]
    assert worker.loaded(now) == [Grant("first")]
    worker.release(now)


def test_one_start_for_all_who_come_while_it_starts(worker: Lifecycle) -> None:
    assert worker.acquire(1, 0) == [StartWorker()]
    assert worker.acquire(2, 0) == []
    assert worker.loaded(5) == [Grant(1), Grant(2)]
    assert worker.acquire(3, 6) == [Grant(3)]
    assert repr(worker) == "<Lifecycle m ready 3 active 0 waiting>"


def test_idle_time_counts_from_the_last_release(worker: Lifecycle) -> None:
    ready(worker)
    worker.acquire(1, 10)
    worker.acquire(2, 20)
    worker.release(30)
    assert worker.expires_at is None
    worker.release(40)
    assert worker.expires_at == 340
    assert worker.tick(339.9) == []
    assert worker.tick(340) == [StopWorker()]
    assert worker.tick(341) == []


def test_no_timer_unloads_under_a_request(worker: Lifecycle) -> None:
    ready(worker)
    worker.acquire(1, 299)
    assert worker.tick(10_000) == []
    assert worker.unload(10_000) == []
    assert worker.release(10_001) == [StopWorker()]


def test_a_request_that_comes_while_stopping_is_served_by_the_next_worker(worker: Lifecycle) -> None:
    ready(worker)
    assert worker.unload(1) == [StopWorker()]
    assert worker.acquire(1, 2) == []
    assert worker.exited(None, 3) == [StartWorker()]
    assert worker.loaded(4) == [Grant(1)]


@pytest.mark.parametrize(("keep_alive", "expires"), [(0, 7), (5, 12), (-1, None), (None, 307), (1e308, None)])
def test_keep_alive_of_the_last_request_holds(worker: Lifecycle, keep_alive: float | None, expires: float) -> None:
    ready(worker)
    worker.acquire(1, 6, keep_alive)
    effects = worker.release(7)
    assert effects == ([StopWorker()] if keep_alive == 0 else [])
    if keep_alive != 0:
        assert worker.expires_at == expires


def test_a_load_that_nobody_waits_for_any_more_goes_on_and_expires(worker: Lifecycle) -> None:
    worker.acquire(1, 0)
    worker.abandon(1, 1)
    assert worker.loaded(2) == []
    assert worker.expires_at == 302


def test_a_load_that_no_request_waits_for_is_ended_by_unload_or_by_its_time(worker: Lifecycle) -> None:
    """It may hang, and then it would never be loaded."""
    worker.acquire(1, 0)
    assert worker.unload(1) == []
    worker.abandon(1, 2)
    assert worker.expires_at == 2
    assert worker.tick(2) == [StopWorker()]
    assert worker.loaded(3) == [], "it was faster than the signal"
    assert worker.load_failed(ModelLoadFailed("no"), 3) == []
    assert worker.acquire(2, 3) == []
    assert worker.exited(None, 4) == [StartWorker()]
    worker.abandon(2, 5)
    assert worker.tick(304) == []
    assert worker.tick(305) == [StopWorker()]


def test_unload_waits_for_those_that_wait_for_the_load(worker: Lifecycle) -> None:
    worker.acquire(1, 0)
    assert worker.unload(1) == []
    assert worker.loaded(2) == [Grant(1)]
    assert worker.release(3) == [StopWorker()]


def test_workers_that_hang_one_after_the_other_are_started_ever_more_rarely(worker: Lifecycle) -> None:
    hang, now, waits = WorkerCrashed("hung", cause=HANG), 0.0, []
    for _ in range(4):
        assert worker.acquire("t", now) == [StartWorker()]
        worker.loaded(now)
        worker.discard()
        worker.release(now)
        assert worker.exited(hang, now) == []
        early = worker.acquire("early", now)
        if early != [StartWorker()]:
            waits.append(early[0].error.facts["retry_in_s"])
            now += waits[-1]
        else:
            worker.abandon("early", now)
            worker.exited(None, now)
    assert waits == [2, 4, 8]
    worker.acquire("good", now)
    worker.loaded(now)
    worker.answered()
    worker.release(now)
    worker.exited(hang, now)
    assert worker.acquire("next", now) == [StartWorker()], "one answer in between, and it is chance again"


def test_a_discarded_worker_is_replaced_for_all_that_wait(worker: Lifecycle) -> None:
    ready(worker)
    worker.acquire("busy", 1)
    worker.discard()
    assert worker.acquire("late", 1) == []
    assert worker.release(1) == []
    assert worker.exited(None, 2) == [StartWorker()]
    assert worker.loaded(3) == [Grant("late")]


def test_a_crash_is_followed_by_a_new_start(worker: Lifecycle) -> None:
    ready(worker)
    worker.acquire(1, 1)
    crash = WorkerCrashed("ended by SIGSEGV", signal="SIGSEGV")
    assert worker.exited(crash, 2) == []
    worker.release(2)
    assert worker.error is crash
    assert worker.acquire(2, 3) == [StartWorker()]
    assert worker.loaded(4) == [Grant(2)]
    assert worker.error is None


def test_a_load_that_keeps_failing_backs_off_and_says_so(worker: Lifecycle) -> None:
    """The second try is free; then 2, 4, 8 … 60 seconds, and no process is started in between."""
    now, waits = 0.0, []
    for _ in range(8):
        assert worker.acquire("t", now) == [StartWorker()]
        assert worker.load_failed(ModelLoadFailed("bad magic", path="/m"), now)[0].ticket == "t"
        worker.exited(None, now)
        refused = worker.acquire("early", now)
        if refused == [StartWorker()]:  # the free one: let it fail like the others
            worker.load_failed(ModelLoadFailed("bad magic", path="/m"), now)
            worker.exited(None, now)
            refused = worker.acquire("early", now)
        assert isinstance(refused[0], Refuse)
        error = refused[0].error
        assert error.message.startswith("bad magic (failed")
        assert error.facts["path"] == "/m"
        waits.append(error.facts["retry_in_s"])
        now += error.facts["retry_in_s"]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    worker.forgive()
    assert worker.acquire("after the file changed", now) == [StartWorker()]


def test_a_crash_while_loading_is_a_failed_load(worker: Lifecycle) -> None:
    worker.acquire(1, 0)
    crash = WorkerCrashed("ended by SIGBUS", signal="SIGBUS")
    assert worker.exited(crash, 1) == [Refuse(1, crash)]
    assert worker.acquire(2, 1) == [StartWorker()]
    worker.exited(crash, 1)
    assert isinstance(worker.acquire(3, 1)[0], Refuse)


def test_those_who_came_between_a_failure_and_the_exit_are_refused_too(worker: Lifecycle) -> None:
    for now in (0, 10):
        worker.acquire(now, now)
        worker.load_failed(ModelLoadFailed("no"), now)
        assert worker.acquire("late", now) == []
        effects = worker.exited(None, now)
        if effects == [StartWorker()]:
            worker.load_failed(ModelLoadFailed("no"), now)
            worker.exited(None, now)
    assert not worker.waiting


class Outside:
    """The process, as the effects of a lifecycle would make it, and the tickets that wait or were granted."""

    def __init__(self) -> None:
        self.process: str | None = None
        self.waiting: set[object] = set()
        self.held: set[object] = set()

    def apply(self, effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case StartWorker():
                    assert self.process is None, "two processes at once"
                    self.process = "starting"
                case StopWorker():
                    assert self.process in ("starting", "ready")
                    assert not self.held and not self.waiting, "unloaded under a request"
                    self.process = "stopping"
                case Grant(ticket):
                    self.waiting.remove(ticket)
                    self.held.add(ticket)
                case Refuse(ticket, _):
                    self.waiting.remove(ticket)


@pytest.mark.parametrize("seed", range(200))
def test_any_order_of_events_answers_every_ticket_once(seed: int) -> None:
    """A model of the outside: a process that starts, fails, crashes and ends at random moments."""
    rng = random.Random(seed)
    worker = Lifecycle("m", keep_alive=rng.choice([0, 5, -1]))
    outside = Outside()
    now, tickets = 0.0, 0
    for _ in range(300):
        now += rng.choice([0, 0, 1, 10])
        match rng.choice(["acquire", "acquire", "release", "abandon", "process", "crash", "tick", "unload", "discard"]):
            case "acquire":
                tickets += 1
                outside.waiting.add(tickets)
                outside.apply(worker.acquire(tickets, now, rng.choice([None, 0, 3, -1])))
            case "release" if outside.held:
                outside.held.pop()
                outside.apply(worker.release(now))
            case "abandon" if outside.waiting:
                worker.abandon(outside.waiting.pop(), now)
            case "process" if outside.process == "starting":
                if rng.random() < 0.7:
                    outside.process = "ready"
                    outside.apply(worker.loaded(now))
                else:
                    outside.process = "stopping"
                    outside.apply(worker.load_failed(ModelLoadFailed("no"), now))
            case "process" if outside.process == "stopping":
                outside.process = None
                outside.apply(worker.exited(None, now))
            case "crash" if outside.process:
                outside.process = None
                outside.apply(worker.exited(WorkerCrashed("gone"), now))
            case "discard" if outside.process in ("starting", "ready"):
                outside.process = "stopping"
                worker.discard()
            case "tick":
                outside.apply(worker.tick(now))
            case "unload":
                outside.apply(worker.unload(now))
        assert worker.active == len(outside.held)
        assert set(worker.waiting) == outside.waiting
        assert (worker.state is State.STOPPED) == (outside.process is None)
        assert outside.process in ("starting", "stopping") or not outside.waiting, "a ticket waits for nothing"
