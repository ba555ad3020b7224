"""A real Chromium: what happens to a conversation elsewhere while an answer in it is under way, or has just ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.http.served import Served, serving
from tests.http.tab import DONE, Tab

HALF = "document.querySelector('.live .text')?.innerText === 'half'"


@pytest.fixture(scope="module")
def served(plugin: Path) -> Iterator[Served]:
    """Answers follow the script in the prompt, and do not end where it says `hang`."""
    yield from serving(THREADRUNNER_BACKEND="thinker", PYTHONPATH=python_path(plugin))


def begun(tab: Tab, prompt: str) -> str:
    """The name of a conversation whose first answer does not end."""
    tab.open()
    tab.ask(f"{prompt}; say half; hang")
    tab.wait(HALF, "half an answer")
    return str(tab.js("decodeURIComponent(location.hash.slice(2))"))


def test_a_conversation_that_another_tab_deletes_is_left_and_its_answer_stopped(tab: Tab, served: Served) -> None:
    name = begun(tab, "deleted")
    assert served.post("/ui/api/sessions.delete", {"session": name}, **{"X-Tab": "other"}).status == 200
    tab.wait("document.querySelector('.hello') && location.hash === '#/'", "the page without it")
    assert "was deleted" in tab.text(".toast")
    assert served.post("/ui/api/state", {}).json["live"] == []
    tab.ask("say next")
    tab.wait(f"{DONE} && document.querySelector('.turn .text').innerText === 'next'", "the next conversation")
    tab.faultless()


def test_one_that_a_shell_deletes_is_left_when_its_answer_ends(tab: Tab, served: Served) -> None:
    wire = served.daemon.wire()
    wire.call("sessions.import", name="rm", turns=[{"prompt": "a", "answer": "b"}])
    tab.open("#/rm")
    tab.wait(DONE, "the conversation")
    tab.ask("say half; hang")
    tab.wait(HALF, "half an answer")
    wire.call("sessions.delete", session="rm")
    tab.browser.press("Escape")
    tab.wait("document.querySelector('.hello') && location.hash === '#/'", "the page without it")
    assert "rm" in tab.text(".toast")
    tab.faultless()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_an_answer_goes_on_under_its_conversations_new_name(tab: Tab, served: Served, where: str) -> None:
    name = begun(tab, where)
    tab.write("not sent yet")
    if where == "here":
        tab.click("#head .title")
        tab.wait("document.querySelector('dialog input')", "the dialog")
        tab.browser.call("Input.insertText", text=f"other {where}")
        tab.browser.press("Enter")
    else:
        served.post("/ui/api/sessions.rename", {"session": name, "name": f"other {where}"}, **{"X-Tab": "other"})
    tab.wait(f"location.hash === '#/other%20{where}' && {HALF}", "the new name")
    assert tab.js("document.querySelector('#prompt').value") == "not sent yet"
    tab.wait("document.querySelector('#items li.running')?.innerText.startsWith('Other')", "it to run in the list")
    tab.open(f"#/other%20{where}")
    tab.wait(HALF, "it, also where it is found again")
    tab.browser.press("Escape")
    tab.wait(f"{DONE} && document.querySelector('.turn .note')", "its end")
    shown = served.daemon.wire().call("sessions.show", session=f"other {where}")
    assert [(turn["state"], turn["answer"]) for turn in shown["turns"]] == [("stopped", "half")]
    tab.faultless()


def test_one_that_went_while_the_tab_heard_nothing_is_left_with_a_word(tab: Tab, served: Served) -> None:
    wire = served.daemon.wire()
    wire.call("sessions.import", name="unheard", turns=[{"prompt": "a", "answer": "b"}])
    tab.open("#/unheard")
    tab.wait(DONE, "the conversation")
    wire.call("sessions.delete", session="unheard")
    tab.js("document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait("document.querySelector('.hello') && location.hash === '#/'", "the page without it")
    assert "unheard" in tab.text(".toast")
    tab.faultless()


HOLD = """(() => {
  const { fetch } = window;
  window.fetch = async (url, options) => {
    const response = await fetch(url, options);
    if (!window.goes && url.pathname.endsWith("sessions.show")) await new Promise((go) => (window.goes = go));
    return response;
  };
})()"""


def test_who_leaves_while_an_answer_ends_is_left_alone(tab: Tab) -> None:
    """What is kept of it is asked for when it has ended; meanwhile another conversation may be open, or none."""
    tab.open()
    tab.js(HOLD)
    tab.ask("say this is over")
    tab.wait("window.goes && document.querySelector('.turn .text')?.innerText === 'this is over'", "its end")
    tab.click("#head [aria-label='New conversation']")
    tab.wait("document.querySelector('.hello')", "a new conversation")
    tab.js("window.goes()")
    tab.wait("document.querySelector('#items li:not(.running) a')", "the list")
    tab.js("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert tab.js("document.querySelector('#prompt').value") == ""
    tab.ask("say next")
    tab.wait(f"{DONE} && document.querySelector('.turn .text').innerText === 'next'", "the next conversation")
    tab.faultless()


BREAK = """(() => {
  const { fetch } = window;
  window.fetch = async (url, options) => {
    const response = await fetch(url, options);
    if (!url.pathname.endsWith("/turn")) return response;
    const reader = response.body.getReader();
    const body = new ReadableStream({
      async pull(to) {
        const { value } = await reader.read();
        to.enqueue(value);
        const half = new TextDecoder().decode(value).includes("half");
        if (half) window.breaks = () => to.error(new TypeError("network error"));
      },
    });
    return new Response(body, response);
  };
})()"""


def test_a_first_answer_whose_connection_breaks_leaves_a_page_that_can_be_used(tab: Tab, served: Served) -> None:
    tab.open()
    tab.js(BREAK)
    tab.ask("broken; say half; hang")
    tab.wait(f"window.breaks && {HALF}", "half an answer")
    tab.js("window.breaks()")
    tab.wait(f"{DONE} && document.querySelector('.turn .note.bad')", "its end")
    assert "connection" in tab.text(".turn .note") and tab.js("document.querySelector('.send').title") == "Send"
    assert tab.text(".turn .text") == "half"
    tab.faultless()
    served.post("/ui/api/stop", {"session": "broken-say-half-hang"})
