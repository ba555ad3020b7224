"""The page's files and headers, and what it asks of `serve`."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.http.served import JSON, Served, serving
from threadrunner.http.dialects.page import FOLDER, PageFiles, wants_html

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from serving()


def ask(served: Served, method: str, **params: Any) -> Any:
    answer = served.post(f"/ui/api/{method}", params)
    assert answer.status == 200, answer.body
    return answer.json


def told(body: bytes) -> list[dict[str, Any]]:
    """The lines of an answer."""
    return [json.loads(line) for line in body.splitlines() if line.strip()]


def say(served: Served, prompt: str, **params: Any) -> list[dict[str, Any]]:
    answer = served.post("/ui/api/turn", {"prompt": prompt, **params})
    assert answer.status == 200, answer.body
    return told(answer.body)


# Files


def test_browsers_get_the_page_and_programs_a_line(served: Served) -> None:
    page = served.get("/", **HTML)
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert b"<title>ThreadRunner</title>" in page.body
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        plain = served.get("/", **accept)
        assert plain.body == b"Ollama is running" and plain.headers["content-type"].startswith("text/plain")
        assert "Accept" in plain.headers["vary"]
    assert served.ask("HEAD", "/").status == 200
    assert wants_html("text/html;q=0.9") and not wants_html("text/htmlx, */*")


def test_headers_let_nothing_in(served: Served) -> None:
    page = served.get("/", **HTML)
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["trusted-types"] == "'none'"
    assert all(policy[f"{kind}-src"] == "'self'" for kind in ("script", "style", "connect", "img", "manifest"))
    assert all(policy[name] == "'none'" for name in ("base-uri", "form-action", "frame-ancestors"))
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in page.headers


def test_the_page_is_asked_for_again_and_its_parts_are_kept_for_ever(served: Served) -> None:
    page = served.get("/", **HTML)
    assert page.headers["cache-control"] == "no-cache"
    unchanged = served.get("/", **HTML, **{"If-None-Match": f'"x", W/{page.headers["etag"]}'})
    assert unchanged.status == 304 and unchanged.body == b""
    parts = set(re.findall(r'"(/page/[^"]+)"', page.body.decode()))
    assert len(parts) > 10
    for path in parts:
        part = served.get(path)
        assert part.status == 200 and "immutable" in part.headers["cache-control"], path
        packed = served.get(path, **{"Accept-Encoding": "gzip, br"})
        assert gzip.decompress(packed.body) == part.body and packed.headers["etag"] != part.headers["etag"]
    version = parts.pop().split("/")[2]
    for gone in (f"/page/{version}/no.js", "/page/000000000000/app.js", f"/page/{version}/..%2fapp.py"):
        assert served.get(gone).status == 404


def test_no_part_needs_another_server_or_what_the_policy_forbids() -> None:
    for file in FOLDER.iterdir():
        if file.suffix in (".js", ".css", ".html", ".webmanifest"):
            text = file.read_text()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", text) or (
                file.name == "dom.js" and text.count("innerHTML") == 1  # in a comment
            ), file
            urls = set(re.findall(r"https?://[\w.-]+", text))
            assert urls <= {"http://www.w3.org"}, file
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_it_weighs_less_than_100_kb() -> None:
    """What a browser fetches, all together: each file as it goes over the wire."""
    files = PageFiles()
    names = [file.name for file in FOLDER.iterdir()]
    assert sum(len(files[name].packed) for name in names) < 100_000


PAIRS = [
    *(("ink", ground) for ground in ("bg", "side", "raised", "tint")),
    *(("soft", ground) for ground in ("bg", "side", "raised", "tint")),
    *(("accent", ground) for ground in ("bg", "raised")),
    *((f"hl-{kind}", "tint") for kind in ("word", "text", "number", "name")),
    ("on-accent", "accent"),
    ("warn", "warn-tint"),
]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_can_be_read_in_both_schemes(scheme: int) -> None:
    """4.5 to 1 for each colour of text on what it stands on (WCAG 2.2, 1.4.3)."""
    style = (FOLDER / "style.css").read_text()
    colours = {name: pair[scheme] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", style)}
    for text, ground in PAIRS:
        dark, light = sorted((_luminance(colours[text]), _luminance(colours[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_all_modules_are_in_the_page_before_they_are_needed() -> None:
    html = (FOLDER / "index.html").read_text()
    for module in FOLDER.glob("*.js"):
        assert f"/page/@/{module.name}" in html


def test_modules_import_what_there_is_and_use_it() -> None:
    texts = {file.name: file.read_text() for file in FOLDER.glob("*.js")}
    given = {
        name: set(re.findall(r"^export (?:async )?(?:function\*?|class|const) (\w+)", text, re.MULTILINE))
        for name, text in texts.items()
    }
    taken: dict[str, set[str]] = {name: set() for name in texts}
    for name, text in texts.items():
        rest = re.sub(r"^import .*$", "", text, flags=re.MULTILINE)
        for names, source in re.findall(r'^import \{([^}]*)\} from "\./(\w+\.js)";$', text, re.MULTILINE):
            for each in (part.strip() for part in names.split(",")):
                assert each in given[source] and re.search(rf"\b{each}\b", rest), (name, each)
                taken[source].add(each)
        assert len(text.splitlines()) <= 330, name
    # What tests/http/test_page_browser.py and test_page_markdown.py ask for by name is used in the page too.
    assert given == taken


def test_it_can_be_installed(served: Served) -> None:
    found = served.get("/manifest.webmanifest")
    assert found.headers["content-type"] == "application/manifest+json"
    manifest = found.json
    assert manifest["start_url"] == "/" and manifest["display"] == "standalone"
    assert {icon["sizes"] for icon in manifest["icons"]} == {"any", "192x192", "512x512"}
    for icon in manifest["icons"]:
        shown = served.get(icon["src"])
        assert shown.status == 200 and shown.headers["content-type"] == icon["type"]
    assert served.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_the_wheel_has_it(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"threadrunner/http/page/{file.name}" for file in FOLDER.iterdir()} <= names


# What it asks


def test_a_turn_is_lines_and_its_conversation_is_the_shells(served: Served) -> None:
    first, *middle, last = say(served, "!think of it\nHello there")
    assert first["session"] == "think-of-it-hello-there"
    assert "".join(line.get("thought", "") for line in middle) == "of it"
    assert "".join(line.get("text", "") for line in middle) == last["done"]["text"]
    shown = served.daemon.wire().call("sessions.show", session=first["session"])
    assert shown["turns"][0]["answer"] == last["done"]["text"]
    (again, *_) = say(served, "!think of it\nHello there")
    assert again["session"] == f"{first['session']}-2"


def test_replace_takes_the_last_turns_place_but_not_one_that_the_tab_has_not_seen(served: Served) -> None:
    (first, *_) = say(served, "one replaced")
    name = first["session"]
    say(served, "two", session=name)
    say(served, "three", session=name, replace=1, turns=2)
    served.daemon.wire().call("generate", prompt="from a shell", session=name)
    late = served.post("/ui/api/turn", {"prompt": "four", "session": name, "replace": 1, "turns": 2})
    assert late.status == 409 and late.json["error"]["code"] == "moved_on"
    turns = ask(served, "sessions.show", session=name)["turns"]
    assert [turn["prompt"] for turn in turns] == ["one replaced", "three", "from a shell"]


def test_what_a_turn_is_made_with_is_remembered(served: Served) -> None:
    (first, *_) = say(served, "settings", system="Be brief.", temperature=0.3, memory=False, mode="chat")
    session = ask(served, "sessions.show", session=first["session"])["session"]
    assert session["system"] == "Be brief." and session["params"]["temperature"] == 0.3 and session["mode"] == "chat"
    say(served, "on", session=first["session"], mode="")
    assert ask(served, "sessions.show", session=first["session"])["session"]["mode"] is None


def test_a_failure_is_a_line_with_its_kind(served: Served) -> None:
    *_, last = say(served, "hello", mode="no-such")
    assert last["failed"]["kind"] == "InvalidParams" and "no-such" in last["failed"]["message"]


def test_conversations_are_changed_through_it(served: Served) -> None:
    made = ask(served, "sessions.import", name="ui-1", turns=[{"prompt": "apples", "answer": "pears"}])
    assert made["turns"] == 1
    assert ask(served, "sessions.search", query="pea*")["hits"][0]["session"] == "ui-1"
    assert ask(served, "sessions.fork", session="ui-1", turns=1)["name"] == "ui-2"
    assert ask(served, "sessions.rename", session="ui-2", name="ui-three")["name"] == "ui-three"
    assert ask(served, "sessions.undo", session="ui-three")["prompts"] == ["apples"]
    assert ask(served, "sessions.delete", session="ui-three") == {"session": "ui-three"}
    assert "ui-three" not in [each["name"] for each in ask(served, "sessions.list")["sessions"]]
    gone = served.post("/ui/api/sessions.show", {"session": "ui-three"})
    assert gone.status == 404 and gone.json["error"]["kind"] == "SessionNotFound"


def test_state_says_what_there_is(served: Served) -> None:
    state = ask(served, "state")
    assert state["status"]["backend"] == "dummy" and state["live"] == []
    assert any(mode["name"] == "chat" for mode in state["modes"]) and isinstance(state["models"], list)


def test_no_path_is_taken_for_a_model(served: Served) -> None:
    for path in ("/etc/passwd", "./x.gguf", "~/x.gguf"):
        answer = served.post("/ui/api/turn", {"prompt": "x", "model": path})
        assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found"
    turns = [{"prompt": "a", "answer": "b"}]
    ask(served, "sessions.import", name="with-path", turns=turns, model="/etc/passwd", backend="llama")
    session = ask(served, "sessions.show", session="with-path")["session"]
    assert session["model"] is None and session["backend"] is None


@pytest.mark.parametrize("method", ["models.pull", "models.remove", "shutdown", "generate", "config", "models.load"])
def test_it_passes_no_other_method_on(served: Served, method: str) -> None:
    assert served.post(f"/ui/api/{method}", {}).status == 404
    assert served.get(f"/ui/api/{method}").status == 405


@pytest.fixture(scope="module")
def stricter(served: Served) -> Iterator[Served]:
    """A second `serve`, which asks for a key and lets another page in."""
    second = Served(served.daemon, "--key", "secret-key-1", "--allow-origin", "https://chat.example")
    yield second
    second.close()


def test_with_a_key_the_page_is_there_and_says_nothing(stricter: Served) -> None:
    page = stricter.get("/", **HTML)
    assert page.status == 200
    (part,) = set(re.findall(r'"(/page/[^"]+app\.js)"', page.body.decode()))
    assert stricter.get(part).status == 200
    assert stricter.post("/ui/api/state", {}).status == 401
    assert stricter.post("/ui/api/state", {}, Authorization="Bearer secret-key-1").status == 200


def test_an_origin_that_is_allowed_elsewhere_is_not_the_page(stricter: Served) -> None:
    key = {"Authorization": "Bearer secret-key-1"}
    foreign = stricter.post("/ui/api/sessions.list", {}, Origin="https://chat.example", **key)
    assert foreign.status == 403
    own = stricter.post("/ui/api/sessions.list", {}, Origin=stricter.url, **key)
    assert own.status == 200
    assert "access-control-allow-origin" not in own.headers


def test_a_tab_that_is_only_open_starts_no_daemon(served: Served) -> None:
    refused = served.post("/ui/api/state", {"passive": True})
    assert refused.status == 503 and refused.json["error"]["kind"] == "Disconnected"
    tab = Reading(served, "events")
    assert tab.next() == {"daemon": "there"}
    assert served.post("/ui/api/state", {"passive": True}).status == 200
    tab.close()


class Reading:
    """A stream that is read line by line."""

    def __init__(self, served: Served, method: str, **params: Any) -> None:
        self.connection = served.open()
        self.connection.request("POST", f"/ui/api/{method}", json.dumps(params), JSON)
        self.response: http.client.HTTPResponse = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()

    def next(self) -> Any:
        while line := self.response.readline():
            if line.strip():
                return json.loads(line)
        return None

    def until(self, name: str) -> Any:
        while (line := self.next()) is not None:
            if name in line:
                return line
        raise AssertionError(f"ended without {name}")

    def close(self) -> None:
        self.connection.close()
        self.response.close()


LONG = "word " * 60_000


def test_an_answer_is_found_again_and_stopped(served: Served) -> None:
    first = Reading(served, "turn", prompt=LONG, session="long one")
    first.until("text")
    assert ask(served, "state")["live"] == ["long one"]
    busy = served.post("/ui/api/turn", {"prompt": "x", "session": "long one"})
    assert busy.status == 409 and busy.json["error"]["code"] == "busy"
    first.close()  # as a tab does that is loaded again
    second = Reading(served, "watch", session="long one")
    assert second.next()["session"] == "long one"
    assert second.until("text")["text"].startswith("lorem")
    assert ask(served, "stop", session="long one") == {"stopped": True}
    second.until("stopped")
    assert second.next() is None
    second.close()
    turn = ask(served, "sessions.show", session="long one")["turns"][-1]
    assert turn["state"] == "stopped" and turn["answer"].startswith("lorem ipsum")
    assert ask(served, "stop", session="long one") == {"stopped": False}
    assert served.post("/ui/api/watch", {"session": "long one"}).status == 404


def test_other_tabs_hear_of_changes_and_of_the_daemons_models(served: Served) -> None:
    tab = Reading(served, "events")
    assert tab.next() == {"daemon": "there"}
    (first, *_) = say(served, "heard elsewhere")
    assert tab.until("session") == {"session": first["session"], "change": "begun", "by": None}
    assert tab.until("session")["change"] == "ended"
    served.post("/ui/api/sessions.rename", {"session": first["session"], "name": "new"}, **{"X-Tab": "t1"})
    about = {"session": first["session"], "change": "sessions.rename", "by": "t1", "name": "new"}
    assert tab.until("session") == about
    served.post("/ui/api/sessions.delete", {"session": "new"}, **{"X-Tab": "t1"})
    assert tab.until("session") == {"session": "new", "change": "sessions.delete", "by": "t1"}
    served.daemon.wire().call("models.unload")
    assert tab.until("event")["event"] == "model.unloaded"
    tab.close()
