"""A real VS Code with the packaged extension: ghost text, accept all, a word, dismiss; its commands; a real model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients.browser import one
from tests.clients.support import CASES, IDS, Case
from tests.clients.vscode import VSCode, program
from tests.lsp.standin import Standin, standing
from tests.support import Daemon

FILES = {
    **{f"{case.name.replace(' ', '-')}.py": case.before for case in CASES},
    "word.py": b"w =\n",
    "choice.py": b"v = \n",
    "cancel.py": b"\n",
    "ask.py": b"x = x + 1\n",
    "rewrite.py": b"if y:\n    x = x + 1\n",
    "count.py": b"counted =\n",
    "again.py": b"again =\n",
    "late.txt": b"late = \n",
    "busy.txt": b"busy = \n",
}
"""All there before the window opens: VS Code's search of files by name does not look again at once."""


@pytest.fixture(scope="module")
def said() -> Iterator[Standin]:
    """One stand-in daemon for the window that the tests share: a window takes 10 s to open."""
    yield from standing()


@pytest.fixture(scope="module", autouse=True)
def installed() -> str:
    """First of all, so that nothing has been started where there is none."""
    return program()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def window(vsix: Path, said: Standin, folder: Path) -> Iterator[VSCode]:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    # As in the other editors, a quote typed is one quote.
    plain = {"editor.autoClosingQuotes": "never", "editor.autoClosingBrackets": "never"}
    window = VSCode(vsix, folder, said.env, {**plain, "threadrunner.debounceMs": 0})
    try:
        yield window
    finally:
        window.close()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_accepting_all_is_exact(window: VSCode, said: Standin, folder: Path, case: Case) -> None:
    said.says = case.answer
    file = folder / f"{case.name.replace(' ', '-')}.py"
    window.open(file, case.line, len(case.head.rpartition("\n")[2]))
    window.browser.type(case.keys)
    window.wait_ghost(case.says)
    window.browser.press("Tab")
    window.save()
    assert file.read_bytes() == case.after


def test_a_word_then_none(window: VSCode, said: Standin, folder: Path) -> None:
    said.says = lambda params: "compute(one, two)\ny = 2" if str(params["prefix"]).endswith("w = ") else ""
    file = folder / "word.py"
    window.open(file, 0, 3)
    window.browser.type(" ")
    window.wait_ghost("compute(one, two)\ny = 2")
    window.browser.type("com")
    window.wait_ghost("pute(one, two)\ny = 2")
    window.browser.press("Control+ArrowRight")
    window.wait_ghost("(one, two)\ny = 2")
    window.browser.press("Escape")
    window.wait_no_ghost()
    window.save()
    assert file.read_bytes() == b"w = compute\n"
    asked = [seen.params["prefix"] for seen in said.of("infill", priority="interactive")]
    assert asked[-1] == "w = ", "the rest came from the cache"


def test_choosing_among_candidates(window: VSCode, said: Standin, folder: Path) -> None:
    said.says = lambda params: ["one", "two"] if params.get("n") else ""
    file = folder / "choice.py"
    window.open(file, 0, 4)
    window.browser.press("Alt+Backslash")
    window.wait_ghost("one")
    window.browser.press("Alt+BracketRight")
    window.wait_ghost("two")
    window.browser.press("Tab")
    window.save()
    assert file.read_bytes() == b"v = two\n"


def test_a_new_key_cancels_in_the_daemon(window: VSCode, said: Standin, folder: Path) -> None:
    file = folder / "cancel.py"
    window.open(file)
    said.hold()
    try:
        window.browser.type("q")
        said.wait(lambda: any(seen.params["prefix"] == "q" for seen in said.of("infill")), "a request")
        said.speak(next(seen for seen in said.of("infill") if seen.params["prefix"] == "q"), "x = 1")
        window.browser.type("u")
        said.wait(lambda: any(seen.params["prefix"] == "q" for seen in said.of("infill", "cancelled")), "its cancel")
    finally:
        said.release()
    window.save()


def test_a_suggestion_that_comes_late(window: VSCode, said: Standin, folder: Path) -> None:
    """750 ms after a letter VS Code cancels, and would never show what a slow model says."""
    said.says = lambda params: "lpha" if str(params["prefix"]).endswith("late = a") else ""
    file = folder / "late.txt"
    window.open(file, 0, 7)
    said.hold()
    try:
        window.browser.type("a")
        said.wait(lambda: any(seen.params["prefix"] == "late = a" for seen in said.of("infill")), "a request")
        # VS Code's limit, and the daemon would be told 250 ms later: no event tells that nothing happens.
        window.browser.evaluate("new Promise((resolve) => setTimeout(resolve, 2000))")
        assert "late = a" not in [seen.params["prefix"] for seen in said.of("infill", "cancelled")]
    finally:
        said.release()
    window.wait_ghost("lpha")
    window.browser.press("Tab")
    window.save()
    assert file.read_bytes() == b"late = alpha\n"


def test_a_suggestion_that_a_busy_window_overlooks(window: VSCode, said: Standin, folder: Path) -> None:
    """It came in time, but when the window got to it, its 750 ms were over, and it had given up without a word of that.

    (No word of the open files begins so: there would be a menu.)"""
    said.says = lambda params: "appa" if str(params["prefix"]).endswith("busy = k") else ""
    file = folder / "busy.txt"
    window.open(file, 0, 7)
    said.hold()
    try:
        window.browser.type("k")
        said.wait(lambda: any(seen.params["prefix"] == "busy = k" for seen in said.of("infill")), "a request")
        window.busy(1.5)
    finally:
        said.release()
    window.wait_ghost("appa", by_itself=True)
    window.browser.press("Tab")
    window.save()
    assert file.read_bytes() == b"busy = kappa\n"


def test_what_was_taken_is_counted(window: VSCode, said: Standin, folder: Path) -> None:
    """Before the output panel opens, which leaves too few lines of the status in view."""
    said.says = lambda params: "1" if str(params["prefix"]).endswith("counted = ") else ""
    file = folder / "count.py"
    window.open(file, 0, 9)
    window.browser.type(" ")
    window.wait_ghost("1")
    window.browser.press("Tab")
    window.save()
    window.command("ThreadRunner: Show status")
    window.browser.wait(one("[id='status.editor.mode'][aria-label*='JSON']"), "the status")
    window.browser.press("Control+End")
    lines = "[...document.querySelectorAll('.editor-instance .view-line')].map((line) => line.textContent).join(' ')"
    window.browser.wait(f"/.accepted.:\\s*[1-9]/.test({lines})", "an accept that was counted")


def test_asking_streams_into_the_output(window: VSCode, said: Standin, folder: Path) -> None:
    said.says = lambda params: "It adds\none."
    file = folder / "ask.py"
    window.open(file)
    window.browser.press("Shift+End")
    window.command("ThreadRunner: Ask…")
    window.answer("what is this?")
    shown = "[...document.querySelectorAll('.output-view .view-line')].map((line) => line.textContent)"
    window.browser.wait(f"{shown}.includes('one.')", "the answer")
    (seen,) = said.of("generate")
    assert "x = x + 1" in seen.params["messages"][-1]["content"]


def test_rewriting_the_selection(window: VSCode, said: Standin, folder: Path) -> None:
    said.says = lambda params: "Sure:\n```python\nx += 1\n```\n"
    file = folder / "rewrite.py"
    window.open(file, 1, 0)
    window.browser.press("Shift+End")
    window.command("ThreadRunner: Rewrite by instruction…")
    window.answer("shorter")
    window.browser.wait(one(".tab.active.dirty"), "the edit")
    window.save()
    assert file.read_bytes() == b"if y:\n    x += 1\n"


def test_it_restarts(window: VSCode, said: Standin, folder: Path) -> None:
    said.says = lambda params: "1" if str(params["prefix"]).endswith("again = ") else ""
    file = folder / "again.py"
    window.open(file, 0, 7)
    window.browser.begin(window.status("loading~spin"))  # it may be over before a later question is asked
    window.command("ThreadRunner: Restart the language server")
    window.browser.ended("a start in the status bar")
    window.wait_status("sparkle")
    window.browser.type(" ")
    window.wait_ghost("1")
    window.browser.press("Tab")
    window.save()
    assert file.read_bytes() == b"again = 1\n"


def test_a_real_models_suggestion(vsix: Path, qwen_coder: Path, tmp_path: Path) -> None:
    before = b"def add(a, b):\n    \n\n\nprint(add(1, 2))\n"
    file = tmp_path / "a.py"
    file.write_bytes(before)
    settings = {"threadrunner.maxTokens": 24}
    real = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=str(qwen_coder))
    with closing(real.start()) as daemon, closing(VSCode(vsix, tmp_path, daemon.env, settings)) as window:
        window.open(file, 1, 4)
        window.browser.type("return ")
        shown = window.wait_suggestion()
        assert "a" in shown and "b" in shown
        window.browser.press("Tab")
        window.save()
        line = file.read_text().split("\n")[1]
        # what was shown may have begun some keys before the last one, and was typed along
        assert line.startswith("    return ") and line.endswith(shown) and len(line) > len("    return ")
        assert file.read_bytes() == before.replace(b"    \n", f"{line}\n".encode(), 1)
