"""Records the pictures of the page in README.md and docs/http.md: a real Chromium, `serve`, a real model.

python docs/pictures/record_page.py MODEL.gguf        writes docs/pictures/page*.png

Needs Debian's chromium, fonts-inter and optipng.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.clients.browser import Browser
from tests.http.served import Served
from tests.support import Daemon

PROMPT = (
    "Write a Python function that removes a file's duplicate lines but keeps their order. Explain it in three points."
)
OTHERS = {
    "names-for-a-small-sailing-boat": ("Suggest names for a small sailing boat", "Lull, Halcyon, Little Gale."),
    "trip-to-porto-in-may": ("Two days in Porto, what should I see?", "The Ribeira first, early, before the boats."),
    "why-does-bread-go-stale": ("Why does bread go stale?", "Its starch goes back into crystals."),
    "bash-traps-and-exit-codes": ("What does trap EXIT do?", "It runs when the shell ends, however it ends."),
    "letter-to-the-landlord": (
        "Write to my landlord about the heating",
        "Dear Mr Abel, since Monday the heating is cold.",
    ),
    "git-bisect-in-two-minutes": ("Explain git bisect", "It halves the commits between good and bad."),
}
DONE = "document.querySelector('.turn:last-child:not(.live) .answer .facts')"


def main(model: Path) -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL=model.name).start()
    (daemon.home / "models").mkdir(exist_ok=True)
    (daemon.home / "models" / model.name).symlink_to(model)
    wire = daemon.wire()
    for name, (prompt, answer) in OTHERS.items():
        wire.call("sessions.import", name=name, turns=[{"prompt": prompt, "answer": answer}])
    served = Served(daemon)
    browser = Browser(Path(tempfile.mkdtemp()), 1180, 760)
    try:
        browser.go(served.url)
        _look(browser, 1180, 760, "light")
        browser.wait("document.querySelector('.pick.model').title.includes('loaded')", "the model's name")
        browser.evaluate("document.querySelector('.pick.model + .pick').click()")
        browser.evaluate(
            "[...document.querySelectorAll('.menu button')].find((b) => b.innerText.includes('code')).click()"
        )
        browser.type(PROMPT)
        browser.press("Enter")
        _patiently(browser, "document.querySelector('.live .text')?.innerText.length > 1050")
        _take(browser, "page")
        _patiently(browser, DONE)
        _look(browser, 390, 800, "dark", phone=True)
        browser.evaluate("document.getElementById('scroll').scrollTop = 0")
        _take(browser, "page-phone")
        _look(browser, 1180, 760, "dark")
        browser.press("Control+K")
        browser.type("exit")
        browser.wait("document.querySelector('.hit mark')", "what was found")
        browser.evaluate("document.querySelector('.pick.model').click()")
        browser.wait("document.querySelector('.models button')", "the models")
        _take(browser, "page-dark")
    finally:
        browser.close()
        served.close()
        daemon.close()


def _look(browser: Browser, width: int, height: int, scheme: str, phone: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def _patiently(browser: Browser, condition: str) -> None:
    """A slow machine may take minutes for an answer."""
    for _ in range(4):
        with contextlib.suppress(AssertionError):
            browser.wait(condition, "the answer")
            return
    raise SystemExit(f"never: {condition}")


def _take(browser: Browser, name: str) -> None:
    time.sleep(0.4)  # for what fades in
    file = HERE / f"{name}.png"
    file.write_bytes(browser.picture())
    if shutil.which("optipng"):
        subprocess.run(["optipng", "-quiet", "-o5", file], check=True)
    print(file, file.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
