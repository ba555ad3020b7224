"""config.toml cannot be read, at the start or later: what does not depend on it goes on, the rest says why not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Daemon


@pytest.fixture
def fresh() -> Iterator[Daemon]:
    daemon = Daemon()
    daemon.env.pop("THREADRUNNER_BACKEND")
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = \n", "not TOML"),
        ("modle = 'x'\n", "no option is named 'modle'"),
        ("keep_alive = 'x'\nmodel = 'y'\n", "keep_alive must be"),
        ("log = 'loudly'\n", "is not a level"),
    ],
)
def test_a_file_that_cannot_be_read_at_the_start(fresh: Daemon, text: str, says: str) -> None:
    file = fresh.home / "config.toml"
    file.write_text(text)
    fresh.start()
    wire = fresh.wire()
    assert wire.call("generate", prompt="x", model="m", backend="dummy", max_tokens=1)["text"] == "lorem"
    assert wire.call("models.list")["models"]
    assert wire.call("status")["pid"] == fresh.pid
    assert wire.call("memory.add", text="x")["id"] == 1
    for params in ({}, {"session": "s"}, {"model": "smollm2:135m"}):  # nor is one fetched: the file may forbid it
        error = wire.fail("generate", prompt="x", **params)
        assert (error["data"]["kind"], says in error["message"]) == ("InvalidParams", True)
    file.write_text("backend = 'dummy'\n")
    assert wire.call("generate", prompt="x", max_tokens=1)["text"] == "lorem"
    assert says in fresh.log


def test_the_environment_that_starts_it_is_told_at_once(fresh: Daemon) -> None:
    fresh.env["THREADRUNNER_THREADS"] = "many"
    with pytest.raises(AssertionError, match="THREADRUNNER_THREADS must be of type int"):
        fresh.start()
