"""The page in a real Chromium, before a real `serve` and a daemon with the dummy backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.browser import Browser
from tests.conftest import python_path
from tests.http.served import Served, serving
from tests.http.tab import DONE, Tab
from threadrunner.cli import transcript

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from serving()


def last_turn(served: Served, session: str) -> Any:
    return served.daemon.wire().call("sessions.show", session=session, last=1)["turns"][0]


def imported(served: Served, name: str, *turns: tuple[str, str]) -> str:
    """The address of a conversation that took place elsewhere."""
    made = [{"prompt": prompt, "answer": answer} for prompt, answer in turns]
    served.daemon.wire().call("sessions.import", name=name, turns=made)
    return f"#/{name}"


def test_the_main_way(tab: Tab, served: Served) -> None:
    tab.open()
    tab.browser.type("tell me of boats")
    tab.browser.press("Enter")
    tab.wait(DONE, "an answer")
    assert tab.text(".turn .said") == "tell me of boats"
    said = tab.text(".turn .text")
    assert said == "lorem ipsum dolor sit amet tell. me. of. boats."
    assert tab.js("location.hash") == "#/tell-me-of-boats"
    tab.wait("document.querySelector('#items li.current')?.innerText === 'Tell me of boats'", "its name in the list")
    assert "9 tokens" in tab.text(".facts")
    tab.browser.call("Page.reload")
    tab.wait(DONE, "the same conversation")
    assert tab.text(".turn .text") == said
    tab.browser.press("Escape")  # stops nothing where nothing is under way
    tab.js("document.querySelector('.answer').classList.add('first-answer')")
    tab.browser.press("Alt+R")
    tab.wait(f"{DONE} && !document.querySelector('.first-answer')", "another answer")
    assert last_turn(served, "tell-me-of-boats")["number"] == 1
    tab.faultless()


@pytest.fixture(scope="module")
def thinking(plugin: Path) -> Iterator[Served]:
    """`serve` before a daemon whose answers follow the script in the prompt, and do not end where it says `hang`."""
    yield from serving(THREADRUNNER_BACKEND="thinker", PYTHONPATH=python_path(plugin))


def test_an_answer_outlives_a_reload_and_is_stopped(browser: Browser, thinking: Served) -> None:
    tab = Tab(browser, thinking)
    tab.ask("think hard; say once upon a time; hang")
    tab.wait("document.querySelector('.live .text')?.innerText === 'once upon a time'", "a part of the answer")
    name = tab.js("decodeURIComponent(location.hash.slice(2))")
    tab.browser.call("Page.reload")
    tab.wait("document.querySelector('.live .text')?.innerText === 'once upon a time'", "the answer, going on")
    tab.wait("document.querySelector('#items li.running')", "it to run in the list")
    tab.browser.press("Escape")
    tab.wait(f"{DONE} && document.querySelector('.turn:last-child .note')", "its end")
    assert "Stopped" in tab.text(".turn:last-child .note") and tab.text(".turn:last-child .text") == "once upon a time"
    turn = last_turn(thinking, name)
    assert turn["state"] == "stopped" and turn["answer"] == "once upon a time"
    assert tab.js("document.querySelector('.send').title") == "Send"
    tab.faultless()


def test_thoughts_are_folded_and_calls_are_shown(browser: Browser, thinking: Served) -> None:
    tool = {"function": {"name": "weather", "parameters": {"type": "object"}}}
    prompt = 'think it may rain; say I will look.; call weather {"city": "Bonn"}'
    thinking.daemon.wire().call("generate", prompt=prompt, session="tools", tools=[tool])
    tab = Tab(browser, thinking)
    tab.open("#/tools")
    tab.wait(DONE, "the conversation")
    assert tab.js("document.querySelector('.answer details').open") is False
    assert "it may rain" in tab.js("document.querySelector('.thought').textContent")
    assert '"city": "Bonn"' in tab.text(".answer pre code") and "weather" in tab.text(".answer details:last-of-type b")
    tab.faultless()


def test_a_turn_is_edited_forked_and_its_later_ones_go(tab: Tab, served: Served) -> None:
    tab.open(imported(served, "edits", ("one", "1"), ("two", "2"), ("three", "3")))
    tab.wait(DONE, "the conversation")
    tab.click(".turn[data-number='2'] [aria-label='Edit']")
    tab.wait("document.activeElement.value === 'two'", "the box")
    assert "The turn after it will go" in tab.text(".edit .hint")
    tab.browser.call("Input.insertText", text=" changed")
    tab.browser.press("Enter")
    tab.wait(f"document.querySelectorAll('.turn').length === 2 && {DONE}", "the changed turn")
    kept = served.daemon.wire().call("sessions.show", session="edits")["turns"]
    assert [turn["prompt"] for turn in kept] == ["one", "two changed"]
    tab.click(".turn[data-number='1'] [aria-label='Continue from here in a copy']")
    tab.wait("location.hash === '#/edits-2' && document.querySelectorAll('.turn').length === 1", "the copy")
    tab.faultless()


def test_a_mode_is_chosen_and_left(tab: Tab, served: Served) -> None:
    def choose(name: str) -> None:
        tab.click(".pick:not(.model)")
        found = f"[...document.querySelectorAll('.menu button')].find((each) => each.innerText.startsWith('{name}'))"
        tab.wait(f"((found) => found && (found.click(), true))({found})", f"the mode {name}")

    tab.open()
    choose("writing")
    tab.ask("modes come and go")
    tab.wait(DONE, "an answer")
    session = tab.js("document.location.hash.slice(2)")
    for name, shown, mode in (("No mode", "Mode", None), ("code", "code", "code")):
        choose(name)
        tab.wait(f"document.querySelector('.pick:not(.model)').innerText === '{shown}'", "the choice")
        tab.ask("on")
        tab.wait(f"{DONE} && document.querySelector('.send').title === 'Send'", "an answer")
        kept = served.daemon.wire().call("sessions.show", session=session)["session"]
        assert kept["mode"] == mode and ("programmer" in str(kept["system"])) == (mode == "code")
    tab.faultless()


def test_search_finds_turns_and_goes_there(tab: Tab, served: Served) -> None:
    imported(
        served, "harbour", *[(f"question {i}", f"answer {i}") for i in range(60)], ("where", "at the zanzibar quay")
    )
    tab.open()
    tab.browser.press("Control+K")
    tab.browser.type("zanzi")
    tab.wait("document.querySelector('.hit mark')?.textContent === 'zanzibar'", "the hit")
    tab.browser.press("Enter")
    tab.wait("document.querySelector('.turn.found[data-number=\"61\"]')", "the turn")
    tab.open("#/harbour")
    tab.wait(DONE, "the conversation")
    assert tab.js("document.querySelectorAll('.turn').length") == 40
    tab.click(".earlier")
    tab.wait("document.querySelectorAll('.turn').length === 61", "the earlier turns")
    tab.faultless()


def test_a_conversation_is_renamed_deleted_and_brought_back(tab: Tab, served: Served) -> None:
    tab.open(imported(served, "old-name", ("a", "b")))
    tab.wait(DONE, "the conversation")
    tab.click("#head .title")
    tab.wait("document.querySelector('dialog input')", "the dialog")
    tab.browser.call("Input.insertText", text="A new name")
    tab.browser.press("Enter")
    tab.wait("document.title.startsWith('A new name')", "the new name")
    tab.click("#head [aria-label^='More about']")
    tab.click(".menu .danger")
    tab.wait("![...document.querySelectorAll('#items a')].some((a) => a.title === 'A new name')", "it to be gone")
    tab.click(".toast button")
    tab.wait(f"document.title.startsWith('A new name') && {DONE}", "it to be back")
    tab.click("#head [aria-label^='More about']")
    tab.click(".menu .danger")
    tab.open()  # leaving the page ends the time to think again
    wire = served.daemon.wire()
    while "A new name" in [session["name"] for session in wire.call("sessions.list")["sessions"]]:
        pass  # it is told as the page goes, and no answer to that is waited for
    tab.wait("![...document.querySelectorAll('#items a')].some((a) => a.title === 'A new name')", "it to be gone")
    tab.faultless()


# The answer to a new name comes after another look at the conversation, which finds none under the old one.
LATE = """(() => {
  const { fetch } = window;
  let looked;
  window.fetch = async (url, options) => {
    const response = await fetch(url, options);
    if (url.pathname.endsWith("sessions.show") && response.status === 404) setTimeout(looked, 200);
    if (url.pathname.endsWith("sessions.rename")) {
      await new Promise((resolve) => {
        looked = resolve;
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    return response;
  };
})()"""


def test_who_looks_while_a_conversation_is_renamed_loses_it_not(tab: Tab, served: Served) -> None:
    tab.open(imported(served, "before", ("a", "b")))
    tab.wait(DONE, "the conversation")
    tab.js(LATE)
    tab.click("#head .title")
    tab.wait("document.querySelector('dialog input')", "the dialog")
    tab.browser.call("Input.insertText", text="behind")
    tab.browser.press("Enter")
    tab.wait(f"!document.querySelector('dialog') && document.title.startsWith('Behind') && {DONE}", "the new name")
    assert tab.js("location.hash") == "#/behind"
    tab.faultless()


def test_files_are_sent_as_text_under_their_names(tab: Tab, served: Served) -> None:
    tab.open()
    files = json.dumps([[f"{EVIL}.txt", "line one\n```\n"], ["big.txt", "x" * ((1 << 20) + 1)], ["no.bin", "\x00"]])
    tab.js(f"""(async () => {{
      const data = new DataTransfer();
      for (const [name, text] of {files}) data.items.add(new File([text], name));
      dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, cancelable: true }}));
    }})()""")
    tab.wait("document.querySelectorAll('.toast').length === 2", "what is wrong with two of them")
    assert "a file may have 1" in tab.text("#toasts") and "no text" in tab.text("#toasts")
    assert tab.text(".chip b") == f"{EVIL}.txt"
    tab.ask("see the file")
    tab.wait(DONE, "an answer")
    turn = last_turn(served, "@last")
    assert turn["prompt"] == f"see the file\n\nFile {EVIL}.txt:\n````\nline one\n```\n````"
    assert tab.text(".turn .said") == "see the file" and tab.text(".turn .fold b") == f"{EVIL}.txt"
    tab.faultless()


def test_pictures_are_shown_and_kept(tab: Tab, served: Served) -> None:
    """Dropped as the browser has them: a WebP is drawn anew, since the daemon reads none."""
    tab.open()
    tab.js("""(async () => {
      const canvas = new OffscreenCanvas(60, 40);
      canvas.getContext('2d').fillRect(5, 5, 20, 20);
      const data = new DataTransfer();
      for (const kind of ['png', 'webp']) {
        const blob = await canvas.convertToBlob({ type: `image/${kind}` });
        data.items.add(new File([blob], `a.${kind}`, { type: blob.type }));
      }
      data.items.add(new File(['no picture'], 'b.png', { type: 'image/png' }));
      dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
    })()""")
    tab.wait("document.querySelectorAll('.chip canvas').length === 2 && document.querySelector('.toast')", "both")
    assert "no picture that this browser can read" in tab.text("#toasts")
    tab.click(".send:not([disabled])")
    tab.wait(DONE, "an answer")
    assert tab.text(".turn .pictures") == "2 pictures"
    assert last_turn(served, "@last")["pictures"] == 2
    tab.click(".turn [aria-label='Answer again']")
    tab.wait(f"document.querySelectorAll('.turn').length === 1 && {DONE}", "another answer")
    assert last_turn(served, "@last")["pictures"] == 2
    tab.faultless()


def test_what_models_files_and_names_say_is_never_html(tab: Tab, served: Served) -> None:
    links = "[x](javascript:alert(1)) ![y](http://evil.example/?q=secret)"
    answer = f"{EVIL}\n\n```{EVIL}\n{EVIL}\n```\n\n{links}\n\n| {EVIL} |\n|---|\n| {EVIL} |"
    served.daemon.wire().call(
        "sessions.import", name=EVIL, system=EVIL, model=EVIL, turns=[
            {"prompt": EVIL, "answer": answer, "reasoning": EVIL, "model": EVIL, "tool_calls": [
                {"id": "c1", "function": {"name": "x", "arguments": json.dumps({"a": EVIL})}}]},
            {"prompt": EVIL, "answer": EVIL, "tool_results": [{"tool_call_id": "c1", "content": EVIL}]}],
    )  # fmt: skip
    tab.open("#/" + "".join(f"%{byte:02x}" for byte in EVIL.encode()))
    tab.wait(f"document.querySelectorAll('.turn').length === 2 && {DONE}", "the conversation")
    tab.browser.press("Control+K")
    tab.browser.type("onerror")
    tab.wait("document.querySelector('.hit')", "a hit")
    assert tab.js("document.querySelectorAll('#talk img, #talk script, #items img, iframe, object, embed').length") == 0
    assert tab.text(".turn .text p") == EVIL and tab.text(".turn .text th") == EVIL
    assert tab.js("[...document.querySelectorAll('.text a')].map((a) => [a.protocol, a.rel, a.target])") == [
        ["http:", "noopener noreferrer nofollow", "_blank"]
    ]
    tab.faultless()


def test_a_second_tab_follows_the_first(tab: Tab, served: Served) -> None:
    tab.open(imported(served, "shared", ("a", "b")))
    tab.wait(DONE, "the conversation")
    answer = served.post("/ui/api/turn", {"prompt": "from another tab", "session": "shared"}, **{"X-Tab": "other"})
    assert answer.status == 200
    tab.wait(f"document.querySelectorAll('.turn').length === 2 && {DONE}", "the other tab's turn")
    assert "from another tab" in tab.text(".turn:last-child .said")
    served.post("/ui/api/sessions.delete", {"session": "shared"})
    tab.wait("document.querySelector('.hello')", "the page without it")
    tab.faultless()


def test_exports_are_what_the_shell_reads_and_writes(tab: Tab) -> None:
    session = {
        "name": "trip",
        "model": "m",
        "system": 'be "brief"',
        "params": {"temperature": 0.5},
        "mode": None,
        "tools": [],
    }
    call = {"id": "c 1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns: list[Any] = [
        {"prompt": "a", "answer": "x\n## User\n\\## User", "model": "m"},
        {"prompt": "b", "answer": "", "tool_calls": [call], "reasoning": "hm"},
        {"prompt": "", "answer": None, "tool_results": [{"tool_call_id": "c 1", "content": "sunny"}]},
    ]
    given = json.dumps([session, turns])
    version = tab.js("document.querySelector('script').src.split('/')[4]")
    module = f"import('/page/{version}/transcript.js')"
    as_markdown = tab.js(f"{module}.then((m) => m.toMarkdown(...{given}))")
    assert transcript.read(as_markdown, "x") == transcript.read(transcript.to_markdown(session, turns), "x")
    assert as_markdown.partition("\n## ")[2] == transcript.to_markdown(session, turns).partition("\n## ")[2]
    as_json = tab.js(f"{module}.then((m) => m.toJson(...{given}))")
    assert transcript.read(as_json, "x") == transcript.read(transcript.to_json(session, turns), "x")
    back = tab.js(f"{module}.then((m) => m.fromJson({json.dumps(as_json)}, 'x'))")
    assert [turn["prompt"] for turn in back["turns"]] == ["a", "b", ""] and back["name"] == "trip"


def test_a_list_of_messages_is_read_as_the_shell_reads_it(tab: Tab) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[Any] = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "t"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        {"role": "assistant", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "c"},
    ]
    version = tab.js("document.querySelector('script').src.split('/')[4]")
    read = f"import('/page/{version}/transcript.js').then((m) => m.fromJson(%s, 'x')).catch((e) => e.message)"
    assert tab.js(read % json.dumps(json.dumps(messages))) == transcript.read(json.dumps(messages), "x")
    for bad, says in (
        ({"role": "user", "content": [{"type": "text", "text": "a"}]}, "Message 1 has no text"),
        ({"role": "assistant", "content": "a"}, "role assistant is not expected"),
        (None, "Message 1 has no text"),
    ):
        assert says in tab.js(read % json.dumps(json.dumps([bad])))


NAMELESS = """[...document.querySelectorAll('button, input, textarea, a, summary, dialog, [role=listbox]')]
  .filter((each) => each.checkVisibility() && !each.ariaLabel && !each.innerText.trim())
  .filter((each) => !each.closest('label')?.innerText.trim()).map((each) => each.outerHTML)"""
WIDE = """[...document.querySelectorAll('body *')]
  .filter((each) => each.checkVisibility() && !each.closest('pre, .table, #side'))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML.slice(0, 200))"""


def test_all_has_names_and_fits_a_narrow_phone(tab: Tab, served: Served) -> None:
    answer = (
        "```\n" + "wide " * 80 + "\n```\n\n" + "|a|b|c|d|e|\n|-|-|-|-|-|\n|" + "long word|" * 5 + "\n\n" + "x" * 300
    )
    tab.open(imported(served, "narrow", ("y" * 300, answer), ("short", "short")))
    tab.wait(DONE, "the conversation")
    phone = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    for opened in (
        "null",
        "document.querySelector('.pick.model').click()",
        "document.querySelector('[aria-label^=How]').click()",
    ):
        tab.js(opened)
        assert tab.js(NAMELESS) == []
    tab.browser.press("Escape")
    try:
        tab.browser.call("Emulation.setDeviceMetricsOverride", **phone)
        assert tab.js("new Promise((drawn) => requestAnimationFrame(() => drawn(innerWidth)))") == 320
        assert tab.js(WIDE) == []
        assert tab.js("document.documentElement.scrollWidth") == 320
        tab.click("#head button")
        tab.wait("document.body.classList.contains('opened')", "the list")
        assert tab.js(NAMELESS) == []
    finally:
        tab.browser.call("Emulation.clearDeviceMetricsOverride")
    tab.faultless()


def test_a_key_comes_behind_the_hash_once_and_stays_in_the_tab(tab: Tab, served: Served) -> None:
    second = Served(served.daemon, "--key", "secret-100%-1")
    try:
        tab.browser.call("Page.navigate", url=second.url)
        tab.wait("document.querySelector('dialog input[type=password]')", "the question for the key")
        tab.browser.call("Page.navigate", url="about:blank")
        tab.browser.call("Page.navigate", url=f"{second.url}/#key=secret-100%-1")
        tab.wait("/loaded/.test(document.querySelector('.pick.model')?.title)", "the page")
        assert tab.js("location.href") == f"{second.url}/"
        tab.ask("with a key")
        tab.wait(DONE, "an answer")
        tab.browser.call("Page.reload")
        tab.wait(DONE, "the conversation, without being asked again")
        assert "secret" not in tab.js("document.documentElement.outerHTML + location.href + document.cookie")
        tab.faultless()
    finally:
        tab.browser.call("Page.navigate", url="about:blank")
        second.close()


def test_a_daemon_that_ends_and_a_serve_that_is_gone_are_said(tab: Tab, served: Served) -> None:
    tab.open(imported(served, "restarted", ("a", "b")))
    tab.wait(DONE, "the conversation")
    served.daemon.wire().call("shutdown")
    tab.wait("document.querySelector('.daemon.gone')", "the notice")
    tab.ask("and now")
    tab.wait(f"document.querySelectorAll('.turn').length === 2 && {DONE}", "an answer of the next daemon")
    tab.wait("!document.querySelector('.daemon.gone')", "the notice to go")
    assert tab.text(".turn:last-child .answer").startswith("lorem")  # its note, if it failed
    tab.faultless()
    tab.browser.call("Page.navigate", url="about:blank")
    wire = served.daemon.wire()  # this one is no child of the test's, and must not outlive it
    wire.call("shutdown")
    while wire.read() is not None:
        pass
