"""A daemon killed at random moments of its turns: what was said is there, what was answered is there whole."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import Daemon, Wire

KILLS = 30
LOREM = "lorem ipsum dolor sit amet"
SPAN = 0.03  # seconds: begin, generate and finish of a turn lie within it


@pytest.fixture
def own() -> Iterator[Daemon]:
    daemon = Daemon(THREADRUNNER_LOG="error")
    try:
        yield daemon
    finally:
        daemon.close()


class Told:
    """What a client was told of its turns, and so may rely on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.answered: dict[str, str] = {}
        self.lost = 0

    def talk(self, wire: Wire, life: int) -> None:
        """Turn after turn until the daemon is gone."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: half a line of JSON was the last it said
            for number in range(10_000):
                prompt = f"r{life} n{number} " + "word " * (number % 7)
                id = wire.begin("generate", prompt=prompt, session="s")
                while (message := wire.read()) is not None:
                    if message.get("method") == "token" and prompt not in self.begun:
                        self.begun.append(prompt)
                    if message.get("id") == id:
                        self.answered[prompt] = message["result"]["text"]
                        break
                else:
                    return


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_under_kill_9(own: Daemon) -> None:
    chance = random.Random(6)
    told = Told()
    for life in range(KILLS):
        own.start()
        wire = own.wire()
        first = wire.call("generate", prompt=f"r{life} first", session="s")  # the worker is there: now turns are quick
        told.lost += first.get("lost_answers", 0)
        client = threading.Thread(target=told.talk, args=(wire, life))
        client.start()
        time.sleep(chance.random() * SPAN)  # the moment is what is tested
        assert own.process
        own.process.send_signal(signal.SIGKILL)
        own.process.wait()
        client.join()
        own.hang_up()
    own.start()
    wire = own.wire()
    turns = []
    more = True
    while more:
        shown = wire.call("sessions.show", session="s", after=turns[-1]["number"] if turns else 0)
        turns += shown["turns"]
        more = shown["more"]
    kept = {turn["prompt"]: turn for turn in turns}
    assert len(kept) == len(turns)  # nothing twice
    assert set(told.begun) <= kept.keys()
    for prompt, text in told.answered.items():
        assert (kept[prompt]["answer"], kept[prompt]["state"]) == (text, "done")
    assert {turn["state"] for turn in turns} <= {"done", "lost"}
    order = [prompt for prompt in kept if prompt in told.answered]
    assert order == list(told.answered)  # as they were said
    told.lost += wire.call("generate", prompt="at last", session="s").get("lost_answers", 0)
    lost = [turn for turn in turns if turn["state"] == "lost"]
    assert told.lost == len(lost) > 0  # each was told of, by the turn after it
    assert wire.call("sessions.search", query="first", limit=1)["hits"]


def test_the_file_is_whole_after_a_kill(own: Daemon) -> None:
    own.start()
    wire = own.wire()
    for number in range(20):
        wire.begin("generate", prompt=f"n{number}", session=f"s{number % 3}")
    wire.read()
    own.kill()
    with contextlib.closing(sqlite3.connect(own.home / "sessions.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.execute("INSERT INTO turn_words (turn_words) VALUES ('integrity-check')")
