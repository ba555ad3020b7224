"""A real VS Code (its server, in a browser) with our extension, shown and typed into in a headless Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests import models
from tests.clients.browser import Browser, one
from tests.clients.support import clean_env
from tests.lsp.nursery import forked
from tests.support import PATIENCE

QUIET = {
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "telemetry.telemetryLevel": "off",
    "extensions.autoUpdate": False,
    "extensions.autoCheckUpdates": False,
    "files.autoSave": "off",
    # VS Code drops a suggestion that its window has not drawn 750 ms after a letter, for words: on a machine where the
    # window itself is as slow as that, none would be seen. Other languages are as they are by default.
    "[python]": {"editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"}},
}
"""What would come between the keys and the editor. All else is as VS Code has it, closing of brackets too."""

STATUS = '[id="threadrunner.threadrunner.threadrunner"]'
"""Our item in the status bar."""

SLOW = 10.0
"""Seconds, far above what a suggestion takes on a machine with other work."""
EDITOR = ".editor-instance .monaco-editor.focused"
GHOST = """
(() => {
  const editor = document.querySelector('.editor-instance .monaco-editor.focused');
  const text = (element) => element.textContent.replaceAll('\\u00a0', ' ');
  const inline = [...editor.querySelectorAll('.view-lines .ghost-text, .view-lines .ghost-text-decoration')];
  const below = [...editor.querySelectorAll('.suggest-preview-text .view-line')].map(text);
  return [inline.map(text).join(''), ...below].join('\\n');
})()
"""
"""The suggestion as it is drawn: what stands in the cursor's line, and the lines below it."""


def program() -> str:
    """Where install_editors.sh puts it."""
    found = next(models.folder().glob("code-server-*/vscode"), None)
    if not found:
        pytest.skip("VS Code is not installed (tests/clients/install_editors.sh)")
    return str(found)


class VSCode:
    """One window on one folder; closed by `close`."""

    def __init__(self, vsix: Path, folder: Path, env: dict[str, str], settings: dict[str, Any]) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="tr-"))  # not pytest's: a socket's path may have 107 bytes
        self._log: list[bytes] = []
        data = self._home / "data"
        # VS Code takes settings of the scope `machine` from a file of their own.
        for name, values in (("User", {**QUIET, **settings}), ("Machine", {"threadrunner.command": forked("lsp")})):
            (data / name).mkdir(parents=True)
            (data / name / "settings.json").write_text(json.dumps(values))
        places = ["--user-data-dir", str(data), "--extensions-dir", str(self._home / "extensions")]
        install = ["--install-extension", str(vsix), "--start-server"]
        here = ["--host", "127.0.0.1", "--port", "0", "--without-connection-token", "--accept-server-license-terms"]
        self._server = subprocess.Popen(
            [program(), *places, *install, *here, "--telemetry-level", "off"],
            env={**clean_env(), "EXTENSIONS_GALLERY": "{}", **env, "HOME": str(self._home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.browser = Browser(self._home / "browser", 860, 540)
        where = self._listening()
        self.browser.go(f"http://{where}/?{urlencode({'folder': str(folder)}, quote_via=quote)}")
        self.wait_status("sparkle")

    def close(self) -> None:
        self.browser.close()
        # Its extension hosts, and with them our language server, are in its group.
        os.killpg(self._server.pid, signal.SIGTERM)
        self._server.wait(timeout=PATIENCE)
        self._drain.join()
        shutil.rmtree(self._home, ignore_errors=True)

    def open(self, file: Path, line: int = 0, column: int = 0) -> None:
        """A file of the folder, with the cursor there; line and column from 0."""
        self.browser.press("Control+P")
        self._ask(file.name, f"[aria-label^='{file.name}']")
        self.browser.wait(one(f"{EDITOR}[data-uri$='/{quote(file.name)}']"), f"{file.name} is open")
        self.browser.press("Control+G")
        self._ask(str(line + 1))
        where = one("[id='status.editor.selection']")
        cursor = f"{where}.innerText.startsWith('Ln {line + 1},')"
        closed = one(".quick-input-widget[style*='display: none']")
        self.browser.wait(f"{closed} && {one(EDITOR)} && {cursor}", "the cursor is there")
        for _ in range(column):  # the columns of "go to line" count a tab as several
            self.browser.press("ArrowRight")

    def command(self, title: str) -> None:
        """From the command palette."""
        self.browser.press("F1")
        self._ask(title, f"[aria-label^='{title}']")

    def answer(self, text: str) -> None:
        """An input box."""
        self._ask(text)

    def wait_ghost(self, text: str, *, by_itself: bool = False) -> None:
        """Blanks count as one, for tabs are drawn as blanks. `by_itself`: it is not asked for again."""
        squeezed = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        drawn = f"{GHOST}.split('\\n').map((line) => line.trim().replace(/\\s+/g, ' ')).join('\\n')"
        wait = self.browser.wait if by_itself else self.wait_suggestion
        wait(f"{drawn} === {json.dumps(squeezed)}", f"ghost {text!r}")

    def busy(self, seconds: float) -> None:
        """From now on the window does nothing for so long."""
        until = f"performance.now() + {seconds * 1e3:.0f}"
        self.browser.evaluate(f"void setTimeout(() => {{ const end = {until}; while (performance.now() < end); }})")

    def wait_suggestion(self, condition: str = GHOST, what: str = "a suggestion") -> Any:
        """The value of a JavaScript expression that a suggestion makes true."""
        for seconds in (SLOW, 2 * SLOW):
            if found := self.browser.within(seconds, condition):
                return found
            # A window that was too busy for what came has dropped it for good, and asks again with the next key only.
            self.browser.press("Alt+Backslash")
        return self.browser.wait(condition, what)

    def wait_no_ghost(self) -> None:
        self.browser.wait(f"{GHOST} === ''", "no ghost")

    def wait_status(self, icon: str) -> None:
        self.browser.wait(self.status(icon), f"{icon} in the status bar")

    @staticmethod
    def status(icon: str) -> str:
        """JavaScript for our item in the status bar, where it has that icon."""
        return one(f"{STATUS} .codicon-{icon.replace('~', '.codicon-modifier-')}")

    def save(self) -> None:
        self.browser.wait(one(".tab.active.dirty"), "something to save")
        self.browser.press("Control+S")
        self.browser.wait("!" + one(".tab.active.dirty"), "saved")

    def _ask(self, text: str, row: str = "") -> None:
        self.browser.wait(one(".quick-input-widget:not([style*='display: none']) input:focus"), "a box to type into")
        self.browser.type(text)
        if row:
            self.browser.wait(one(f".quick-input-list .monaco-list-row.focused{row}"), f"the choice {text}")
        self.browser.press("Enter")

    def _listening(self) -> str:
        assert self._server.stdout
        out = self._server.stdout
        for line in out:
            self._log.append(line)
            if found := re.search(rb"bound to ([^\s/]+)", line):
                break
        else:
            raise AssertionError(b"".join(self._log).decode())
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()
        return found[1].decode()

    def _read(self) -> None:
        assert self._server.stdout
        with self._server.stdout as out:
            self._log.extend(out)
