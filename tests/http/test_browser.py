"""What a page on another origin can do, in a real Chromium: nothing."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.browser import Browser
from tests.http.served import Served

TRIES = """
(async () => {
  const url = %(url)s, said = {};
  async function attempt(name, path, options) {
    try {
      const answer = await fetch(url + path, options);
      said[name] = [answer.type, answer.status, await answer.text()];
    } catch (error) { said[name] = String(error.name); }
  }
  const body = JSON.stringify({model: "default", messages: [{role: "user", content: "stolen words"}]});
  const json = {"Content-Type": "application/json"};
  await attempt("get", "/v1/health");
  await attempt("props", "/props");
  await attempt("simple", "/v1/chat/completions", {method: "POST", body});
  await attempt("json", "/v1/chat/completions", {method: "POST", headers: json, body});
  await attempt("keyed", "/props", {headers: {Authorization: "Bearer x"}});
  await attempt("opaque", "/v1/chat/completions", {method: "POST", mode: "no-cors", body});
  await attempt("opaque get", "/props", {mode: "no-cors"});
  await attempt("ollama", "/api/chat", {method: "POST", mode: "no-cors", body});
  said.beacon = navigator.sendBeacon(url + "/v1/chat/completions", new Blob([body], {type: "text/plain"}));
  said.socket = await new Promise((done) => {
    const socket = new WebSocket(url.replace("http", "ws") + "/v1/chat/completions");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  said.events = await new Promise((done) => {
    const source = new EventSource(url + "/models/sse");
    source.onopen = () => done("open");
    source.onerror = () => { source.close(); done("refused"); };
  });
  said.image = await new Promise((done) => {
    const image = new Image();
    image.onload = () => done("shown");
    image.onerror = () => done("refused");
    image.src = url + "/favicon.ico";
  });
  return said;
})()
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A site of another origin: its port."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>elsewhere</title>")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One that takes any name for this machine: what a rebinding name server does."""
    opened = Browser(tmp_path_factory.mktemp("browser"), 400, 300, "--host-resolver-rules=MAP * 127.0.0.1")
    yield opened
    opened.close()


def visit(browser: Browser, url: str) -> None:
    browser.go(url)
    browser.evaluate(
        "new Promise((d) => document.readyState === 'complete' ? d() : addEventListener('load', () => d()))"
    )
    assert browser.evaluate("location.href") == url


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost"])
def test_a_page_of_another_origin_reads_nothing_and_has_nothing_done(
    browser: Browser, served: Served, elsewhere: int, host: str
) -> None:
    """Also one on another port of this machine, which a browser takes for the same site."""
    before = served.daemon.wire().call("status")
    visit(browser, f"http://{host}:{elsewhere}/")
    said = browser.evaluate(TRIES % {"url": json.dumps(f"http://127.0.0.1:{served.port}")})
    for name in ("get", "props", "simple", "json", "keyed"):
        assert said[name] == "TypeError", (name, said[name])
    for name in ("opaque", "opaque get", "ollama"):
        assert said[name] == ["opaque", 0, ""], (name, said[name])
    assert said["socket"] == said["events"] == said["image"] == "refused"
    # What a page cannot read it may still have had done: none of these became a request.
    after = served.daemon.wire().call("status")
    assert after["work"] == before["work"] and after["errors"] == before["errors"]


def test_a_page_without_an_origin_is_refused(browser: Browser, served: Served, elsewhere: int) -> None:
    """`Origin: null`: a frame in a sandbox, a file, a `data:` address."""
    visit(browser, f"http://evil.example:{elsewhere}/")
    inside = f"<script>fetch('http://127.0.0.1:{served.port}/health').then(() => parent.postMessage('read', '*'), "
    inside += "() => parent.postMessage('refused', '*'))</script>"
    said = browser.evaluate(f"""
        new Promise((done) => {{
          addEventListener("message", (event) => done(event.data));
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts";
          frame.srcdoc = {json.dumps(inside)};
          document.body.append(frame);
        }})""")
    assert said == "refused"


def test_a_name_that_was_rebound_to_us_is_misdirected(browser: Browser, served: Served) -> None:
    """To the browser it is one origin: only the Host header tells."""
    visit(browser, f"http://evil.example:{served.port}/health")
    asked = "fetch('/props').then(async (answer) => [answer.status, await answer.text()])"
    status, text = browser.evaluate(asked)
    assert status == 421 and "names that it knows" in text
    shown = browser.evaluate("document.body.innerText")
    assert "unknown_host" in shown and '"ok"' not in shown


def test_our_own_origin_may_ask(browser: Browser, served: Served) -> None:
    """As its page does; the same calls that are refused elsewhere."""
    visit(browser, f"http://127.0.0.1:{served.port}/health")
    said = browser.evaluate(TRIES % {"url": json.dumps(f"http://127.0.0.1:{served.port}")})
    assert said["get"] == ["basic", 200, '{"status":"ok"}']
    assert said["json"][1] == 200 and "stolen. words." in said["json"][2]
    assert said["simple"][1] == 415 and said["events"] == "open" and said["socket"] == "refused"
