"""Fixtures that more than one room of the tests uses."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import models
from tests.support import Daemon, pip_install, running

# A shell that runs us in the background ignores Ctrl-C, and so would every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: what we start would ignore it too, we still do
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

# What must pass before a change lands gives the same examples each time: a rare one that only chance finds is worth a
# search of its own (`pytest --hypothesis-profile=searching`), and is then made a test. Nor is there a limit of time for
# an example: 200 ms by default, which a process that waits for a core exceeds, and one second for drawing ten.
settings.register_profile("landing", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("searching", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("landing")

TESTS = Path(__file__).parent
PLUGIN = TESTS / "daemon" / "plugin"

REAL_MODELS = {"smollm2", "qwen_coder", "gemma3"}
"""The fixtures that are a real model; a test that uses one, through other fixtures too, is marked `model`."""
SLOW = {"hub"}
"""Fixtures that make a test slow: to fetch from a hub starts a process that imports huggingface_hub, over a second."""
FOREIGN_PROGRAMS = [
    TESTS / "clients",
    TESTS / "daemon" / "test_node.py",
    TESTS / "http" / "test_browser.py",
    TESTS / "http" / "test_page_browser.py",
    TESTS / "http" / "test_page_markdown.py",
]
"""Tests that start an editor, Node or a browser; they are marked `clients`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not REAL_MODELS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("model")
        if not SLOW.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if any(item.path.is_relative_to(place) for place in FOREIGN_PROGRAMS):
            item.add_marker("clients")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return models.smollm2()


@pytest.fixture(scope="session")
def qwen_coder() -> Path:
    return _large("qwen-coder")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    return _large("gemma3")


def _large(name: str) -> Path:
    try:
        return models.large(name)
    except models.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with backends of another package in it (`shout`, `trouble`), installed by pip as any package is."""
    return pip_install(PLUGIN, tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def _daemon() -> Iterator[Daemon]:
    yield from running()


@pytest.fixture
def daemon(_daemon: Daemon) -> Iterator[Daemon]:
    """A daemon with the dummy backend, shared by a module's tests; each begins without the others' requests."""
    yield _daemon
    _daemon.hang_up()


@pytest.fixture(scope="module")
def _troubled(plugin: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


@pytest.fixture
def troubled(_troubled: Daemon) -> Iterator[Daemon]:
    """A daemon whose backend crashes, hangs and fails on request."""
    yield _troubled
    _troubled.hang_up()


def python_path(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
