"""The page in a real Chromium."""

from __future__ import annotations

from typing import Any

from tests.clients.browser import Browser, one
from tests.http.served import Served

WATCH = """
window.faults = [];
addEventListener('error', (e) => faults.push(e.message));
addEventListener('unhandledrejection', (e) => faults.push(String(e.reason && e.reason.stack || e.reason)));
addEventListener('securitypolicyviolation', (e) => faults.push(`policy: ${e.violatedDirective} ${e.blockedURI}`));
window.pwned = false;
window.alert = () => { window.pwned = true };
"""
DONE = "document.querySelector('.turn:last-child:not(.live) .answer .facts')"


class Tab:
    """The page in a browser; what goes wrong in it is a fault of the test that looks."""

    def __init__(self, browser: Browser, served: Served) -> None:
        self.browser = browser
        self.served = served
        browser.go("about:blank")
        browser.call("Page.enable")
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.open()

    def open(self, fragment: str = "") -> None:
        """As a link from elsewhere: a new load of the page."""
        self.browser.call("Page.navigate", url="about:blank")
        self.browser.call("Page.navigate", url=f"{self.served.url}/{fragment}")
        self.wait("/loaded/.test(document.querySelector('.pick.model')?.title)", "the page")

    def wait(self, condition: str, what: str) -> Any:
        return self.browser.wait(condition, what)

    def js(self, expression: str) -> Any:
        return self.browser.evaluate(expression)

    def text(self, selector: str) -> str:
        return str(self.js(f"{one(selector)}.innerText"))

    def write(self, text: str) -> None:
        """Into the message box, as if it was pasted."""
        self.js(f"(() => {{ const box = {one('#prompt')}; box.focus(); box.select(); }})()")
        self.browser.call("Input.insertText", text=text)

    def ask(self, text: str) -> None:
        self.write(text)
        self.browser.press("Enter")

    def click(self, selector: str) -> None:
        """At the moment it is there: what is drawn anew later has it no more."""
        self.wait(f"((found) => found && (found.click(), true))({one(selector)})", f"something to click on: {selector}")

    def faultless(self) -> None:
        assert self.js("faults") == [] and self.js("pwned") is False
