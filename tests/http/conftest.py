from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.browser import Browser
from tests.http.served import Served, serving
from tests.http.tab import Tab
from tests.http.tinymodel import serving_tiny


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """`serve` before a daemon with the dummy backend, for all files: one that counts, ends the daemon or has a list of
    its conversations makes its own."""
    yield from serving(config='[aliases]\n"claude-*" = "default"\n')


@pytest.fixture(scope="session")
def tiny() -> Iterator[Served]:
    """`serve` before a daemon with tiny models."""
    yield from serving_tiny()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"), 1200, 800)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def tab(browser: Browser, served: Served) -> Tab:
    """The page, open."""
    return Tab(browser, served)
