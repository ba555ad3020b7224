"""A headless Chromium with one page, driven through its DevTools protocol.

Over `--remote-debugging-pipe` (a JSON object and a NUL a message), so that neither a WebSocket nor a driver is needed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.clients.support import clean_env, program
from tests.support import PATIENCE

FLAGS = [
    "--headless",
    "--no-sandbox",  # its sandbox refuses root, and containers without user namespaces; it loads our own pages only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]
KEYS = {
    "Tab": ("Tab", 9), "Enter": ("Enter", 13), "Escape": ("Escape", 27), "End": ("End", 35), "Home": ("Home", 36),
    "ArrowRight": ("ArrowRight", 39), "F1": ("F1", 112), "Backslash": ("\\", 220), "BracketRight": ("]", 221),
}  # fmt: skip
"""By where they are on the keyboard: what they say, and their number."""
MODIFIERS = {"Alt": 1, "Control": 2, "Shift": 8}

ANEW = 5.0
"""Seconds after which a condition is asked for anew."""
WAIT = """
new Promise((resolve) => {
  const observer = new MutationObserver(look);
  function look() {
    const found = (() => { try { return (%s) } catch { return null } })();
    if (found) {
      observer.disconnect();
      resolve(found);
    }
    return found;
  }
  look() || observer.observe(document, { attributes: true, characterData: true, childList: true, subtree: true });
})
"""


def one(selector: str) -> str:
    """JavaScript for the element that a CSS selector finds."""
    return f"document.querySelector({json.dumps(selector)})"


class Browser:
    def __init__(self, home: Path, width: int, height: int, *flags: str) -> None:
        reads, theirs_out = os.pipe()
        theirs_in, writes = os.pipe()
        # Chromium takes the two ends as descriptors 3 and 4.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        options = [f"--user-data-dir={home}", f"--window-size={width},{height}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program("chromium-headless-shell", "chromium"), *FLAGS, *flags, *options],
            pass_fds=[theirs_in, theirs_out],
            env=clean_env(HOME=str(home)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._reads, self._writes = reads, writes
        self._buffer = b""
        self._calls = 0
        self._session = ""

    def close(self) -> None:
        os.close(self._writes)  # at the pipe's end it goes by itself, and takes its children along
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._reads)

    def go(self, url: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.navigate", url=url)

    def wait(self, condition: str, what: str) -> Any:
        """The value of a JavaScript expression once it is true; it is looked at with each change of the document."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            # Anew now and then: a promise can be lost with a document that goes, and no observer is told of a focus, a
            # value, a title that changes without its element.
            if (found := self.within(ANEW, condition)) is not None:  # an element is {}
                return found
        raise AssertionError(f"never: {what}; the page says: {self.evaluate('document.body.innerText')}")

    def begin(self, condition: str) -> None:
        """Wait for a condition from now on, which may hold for an instant only; `ended` returns its value."""
        self.evaluate(f"void (window.begun = {WAIT % condition})")

    def ended(self, what: str) -> Any:
        try:
            return self.evaluate("window.begun")
        except TimeoutError:
            raise AssertionError(f"never: {what}") from None

    def within(self, seconds: float, condition: str) -> Any:
        """The same, None if it is not true in that time, or the page has not answered in twice as long."""
        late = f"new Promise((resolve) => setTimeout(() => resolve(null), {seconds * 1e3:.0f}))"
        with contextlib.suppress(TimeoutError):
            return self.evaluate(f"Promise.race([{(WAIT % condition).strip()}, {late}])", patience=2 * seconds)

    def evaluate(self, expression: str, patience: float = PATIENCE) -> Any:
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        done = self._asked("Runtime.evaluate", asked, patience)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def type(self, text: str) -> None:
        """Each character as a key of its own."""
        for character in text:
            self.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=character)

    def press(self, chord: str) -> None:
        """A key by its place, say `Control+ArrowRight`; or a letter."""
        *held, name = chord.split("+")
        key, number = KEYS.get(name) or (name.lower(), ord(name.upper()))
        about = {
            "key": key,
            "code": name if name in KEYS else f"Key{name.upper()}",
            "windowsVirtualKeyCode": number,
            "modifiers": sum(MODIFIERS[each] for each in held),
        }
        # Without its text, Enter is no Enter to an input box.
        typed = {"type": "keyDown", "text": "\r"} if name == "Enter" else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **typed, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, **clip: float) -> bytes:
        """A PNG of the page, or of x, y, width, height of it."""
        options = {"clip": {"scale": 1, **clip}} if clip else {}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **options)["data"])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Raises TimeoutError, and AssertionError for an error."""
        return self._asked(method, params, PATIENCE)

    def _asked(self, method: str, params: dict[str, Any], patience: float) -> dict[str, Any]:
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": params}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + patience
        while True:
            answer = self._read(until)
            if answer.get("id") == self._calls:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._reads], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            piece = os.read(self._reads, 1 << 16)
            assert piece, "Chromium has ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found
