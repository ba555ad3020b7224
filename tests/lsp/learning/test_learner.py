"""Which suggestions are shown, and what is learned of what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp

from tests.lsp.fakes import FakeDaemon
from threadrunner.learning import kept
from threadrunner.learning.habits import ACQUAINTED, Habits
from threadrunner.learning.quiet import Ledger, explores
from threadrunner.lsp.learning.features import NAMES, Habit, spoken, vector
from threadrunner.lsp.learning.learner import Learner
from threadrunner.lsp.learning.store import LearnedStore
from threadrunner.lsp.suggest.ask import Ask, Suggestion
from threadrunner.lsp.suggest.documents import Document, Documents, Place
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.suggester import Suggester
from threadrunner.lsp.suggest.text import CursorText
from threadrunner.lsp.suggest.window import around
from threadrunner.lsp.suggest.workspace import Workspace

URI = "file:///work/a.py"
SURE, UNSURE = -0.01, -4.0


def sure_ones_only() -> Habits:
    """Those of someone well known, who takes what the model is sure of, and nothing else."""
    ledger = Ledger.empty()
    for n in range(100):
        ledger.add(0.04, 0.0, 10)
        ledger.add(0.9, float(n % 2), 10)
    return known(Habits.of(NAMES, {"mean": 4.0, "always": 3.0}, ledger))


def known(habits: Habits) -> Habits:
    habits.counts["prose"] = Counter(shown=ACQUAINTED)
    return habits


class Scene:
    """A learner beside a document; time passes only by hand."""

    def __init__(self, text: str = "x = \n", habits: Habits | None = None) -> None:
        self.now = 1000.0
        self.learner = Learner(lambda: self.now)
        self.learner.allowed = True
        self.learner.take(habits or sure_ones_only())
        self.document = Document(URI, "/work/a.py", "python", 1, text)
        self.place = Place(0, 4)

    def shows(self, text: str, sure: float = UNSURE, id: str = "00000001", **ask: Any) -> bool:
        self.learner.heard(id, {"logprobs": [{"text": text, "logprob": sure}]})
        window = around(self.document, self.place, 4000, 1000)
        return self.learner.shows(Ask(self.document, self.place, **ask), window, Suggestion(id, text))

    def types(self, text: str, after: float = 1.0) -> None:
        """`after` so many seconds."""
        self.now += after
        here = lsp.Position(self.place.line, self.place.column)
        self.document.change(lsp.Range(here, here), text)
        self.place = self.document.focus
        self.learner.changed(self.document, self.place)

    @property
    def counts(self) -> dict[str, int]:
        return {name: n for name, n in self.learner.habits.counts.get("python", {}).items() if n}


def test_what_is_unlikely_is_held_back_and_what_is_likely_is_shown() -> None:
    assert not Scene().shows("alpha", UNSURE)
    assert Scene().shows("alpha", SURE)


def test_a_stranger_sees_everything() -> None:
    """Until some have been taken or not: what others would not take is no reason to show nothing at first."""
    stranger = Habits.of(NAMES, {"always": -8.0}, sure_ones_only().ledger)
    scene = Scene(habits=stranger)
    for n in range(ACQUAINTED):
        assert scene.shows("alpha", UNSURE, id=f"{n:08x}")
        scene.types("m")
    assert not scene.shows("alpha", UNSURE, id="0000ffff")


def test_on_request_all_is_shown() -> None:
    scene = Scene()
    assert scene.shows("alpha", manual=True)
    scene.types("m")
    assert scene.counts == {"shown": 1, "wrong": 1}
    scene.place = Place(0, 4)
    assert scene.shows("alpha", manual=True)  # though it was wrong before


def test_an_item_chosen_in_a_menu_is_always_completed() -> None:
    assert Scene().shows("alpha", selected="be")


def test_what_was_typed_over_before_it_could_be_seen_says_nothing() -> None:
    """Or else fast typing alone would make the server quiet."""
    scene = Scene()
    before = scene.learner.habits.copy()
    for n in range(30):
        scene.place = Place(0, 4)
        scene.shows("alpha", SURE if n % 2 else UNSURE, id=f"{n:08x}")
        scene.types("m", after=0.1)
    assert scene.counts == {} and scene.learner.outcomes == 0
    assert scene.learner.habits.told() == before.told()


def test_a_suggestion_that_is_typed_along_stands_from_its_first_key() -> None:
    scene = Scene()
    scene.shows("alpha", SURE)
    for typed, rest in (("a", "lpha"), ("l", "pha"), ("p", "ha")):
        scene.types(typed, after=0.1)
        scene.shows(rest, SURE)
    scene.types("m", after=0.1)
    assert scene.counts == {"shown": 1, "wrong": 1}


def test_one_that_is_taken_at_once_was_seen() -> None:
    scene = Scene()
    scene.shows("alpha", SURE)
    scene.types("alpha", after=0.1)
    assert scene.counts == {"shown": 1, "taken": 1}


def test_a_few_unlikely_ones_are_shown_to_see_what_becomes_of_them() -> None:
    id = next(f"{n:08x}" for n in range(1, 10**6) if explores(f"{n:08x}"))
    assert Scene().shows("alpha", UNSURE, id=id)


def test_nothing_happens_where_learning_is_off() -> None:
    for name in ("allowed", "counts"):
        scene = Scene()
        setattr(scene.learner, name, False)
        assert scene.shows("alpha", UNSURE)
        scene.types("alpha")
        assert scene.counts == {} and scene.learner.outcomes == 0


def test_what_is_shown_stays_shown() -> None:
    scene = Scene()
    assert scene.shows("alpha", SURE)
    scene.types("a")
    scene.learner.take(known(Habits.of(NAMES, {"always": -8.0}, sure_ones_only().ledger)))
    assert scene.shows("lpha", SURE)  # the same one, while it is typed


def test_what_was_taken_is_learned() -> None:
    scene = Scene()
    before = scene.learner.habits.copy()
    assert scene.shows("alpha", SURE)
    scene.types("alpha")
    assert scene.counts == {"shown": 1, "taken": 1}
    assert scene.learner.habits.since(before).model.weights[0] > 0


def test_one_that_was_held_back_and_then_typed_was_right() -> None:
    scene = Scene()
    before = scene.learner.habits.copy()
    assert not scene.shows("ab")
    scene.types("a")
    assert not scene.shows("b")
    scene.types("b")
    assert scene.counts == {"quiet": 1, "quiet_right": 1}
    assert scene.learner.habits.since(before).model.weights[0] > 0


def test_what_the_editor_tells_is_counted_once() -> None:
    scene = Scene()
    documents = Documents()
    documents.open(scene.document)
    scene.shows("alpha", SURE)
    scene.now += 1
    scene.learner.told(documents, "00000001", "dismissed")
    scene.learner.told(documents, "00000001", "dismissed")
    scene.types("z")
    assert scene.counts == {"shown": 1, "wrong": 1}


def test_a_person_who_never_takes_such_ones_sees_fewer_of_them() -> None:
    """The threshold moves with the person: at first all but the most unlikely are shown."""
    scene = Scene(habits=Habits.of(NAMES, {"mean": 1.0}, Ledger.empty()))
    shown = []
    for n in range(200):
        sure = n % 2
        scene.place = Place(0, 4)
        shown.append(scene.shows("alpha", SURE if sure else -1.5, id=f"{n:08x}"))
        scene.types("alpha" if sure else "m")
        scene.now += 5
    assert all(shown[:4])
    unlikely = shown[100::2]
    assert sum(unlikely) < len(unlikely) / 2
    assert all(shown[101::2])


def test_a_vector_has_all_names_and_no_large_number() -> None:
    at = CursorText("a = 1\n    # x\n    value.", ")\n")
    for text in ("", "\n", "x", "y" * 5000, "\n\n\n  z = 1\n" * 50):
        found = vector(text, at, "python", [(text, -50.0)], Habit(0.0, 0.0, 1.0, 99, 99))
        assert len(found) == len(NAMES)
        assert all(-4.0 <= x <= 4.0 for x in found)


def test_the_tokens_of_the_part_that_is_shown() -> None:
    scores = [("re", -1.0), ("turn", -2.0), (" a", -3.0), ("\n", -4.0)]
    assert spoken("turn a", scores) == scores[1:3]
    assert spoken("other", scores) == []


# ---- what is kept on disk


def open_store(folder: Path) -> tuple[LearnedStore, Learner]:
    learner = Learner(lambda: 0.0)
    learner.keeping.set_ignore(Ignore(["/work"]))
    return LearnedStore(str(folder)), learner


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    monkeypatch.delenv("THREADRUNNER_LEARN", raising=False)
    return tmp_path


def learn_one(learner: Learner, language: str = "python") -> None:
    learner.habits.count(language, "shown")
    learner.outcomes += 1


def test_two_editors_keep_what_both_have_learned(home: Path) -> None:
    async def scenario() -> None:
        editors = [open_store(home / "learned") for _ in range(2)]
        for store, learner in editors:
            await store.sync(learner)
        for _ in range(3):
            for store, learner in editors:
                learn_one(learner)
                await store.sync(learner)
        store, learner = editors[0]
        await store.sync(learner)
        assert learner.habits.counts["python"]["shown"] == 6

    asyncio.run(scenario())
    told = json.loads((home / "learned" / kept.HABITS).read_text())
    assert told["counts"]["python"]["shown"] == 6


def test_what_is_learned_while_the_file_is_written_is_not_lost(home: Path) -> None:
    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        learner.allowed = True
        learn_one(learner)
        writing = asyncio.create_task(store.sync(learner))
        await asyncio.sleep(0)
        learn_one(learner)
        await writing
        await store.sync(learner)
        assert learner.habits.counts["python"]["shown"] == 2

    asyncio.run(scenario())


def test_a_write_that_is_cancelled_counts_once(home: Path) -> None:
    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        learn_one(learner)
        writing = asyncio.create_task(store.sync(learner))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writing.cancel()
        await store.sync(learner)
        await store.sync(learner)

    asyncio.run(scenario())
    assert json.loads((home / "learned" / kept.HABITS).read_text())["counts"]["python"]["shown"] == 1


def test_the_last_is_written_when_the_editor_goes(home: Path) -> None:
    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        await store.sync(learner)
        learn_one(learner)
        store.finish(learner)
        store.finish(learner)

    asyncio.run(scenario())
    assert json.loads((home / "learned" / kept.HABITS).read_text())["counts"]["python"]["shown"] == 1


def test_a_deleted_file_stays_deleted(home: Path) -> None:
    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        learn_one(learner)
        await store.sync(learner)
        kept.delete()
        learn_one(learner, "go")
        await store.sync(learner)
        assert list(learner.habits.counts) == ["go"]

    asyncio.run(scenario())


def test_off_is_off_and_nothing_is_written(home: Path) -> None:
    (home / "config.toml").write_text("learn = false\n")

    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        learn_one(learner)
        await store.sync(learner)
        assert not learner.enabled and learner.habits.counts == {}

    asyncio.run(scenario())
    assert not (home / "learned").exists()


@pytest.mark.parametrize("text", ["{", '{"version": 0}', '{"version": 1, "weights": []}'])
def test_a_broken_file_is_no_reason_to_stop(home: Path, text: str) -> None:
    path = home / "learned" / kept.HABITS
    path.parent.mkdir()
    path.write_text(text)

    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        learn_one(learner)
        await store.sync(learner)
        assert learner.habits.counts["python"]["shown"] == 1

    asyncio.run(scenario())
    assert path.with_name("habits.json.broken").read_text() == text


def test_a_home_that_cannot_be_written_is_no_reason_to_stop(home: Path) -> None:
    (home / "learned").write_text("a file")

    async def scenario() -> None:
        store, learner = open_store(home / "learned")
        await store.sync(learner)
        learn_one(learner)
        await store.sync(learner)
        assert learner.habits.counts["python"]["shown"] == 1
        (home / "learned").unlink()
        learn_one(learner)
        await store.sync(learner)

    asyncio.run(scenario())
    assert json.loads((home / "learned" / kept.HABITS).read_text())["counts"]["python"]["shown"] == 2


def test_nothing_is_learned_where_the_environment_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may say no beside its mistake."""
    monkeypatch.setenv("THREADRUNNER_LOG", "no-such-level")
    store, learner = open_store(home / "learned")
    asyncio.run(store.sync(learner))
    assert not learner.enabled


# ---- within a suggester


def test_a_suggester_asks_for_confidence_and_shows_what_is_likely() -> None:
    async def scenario() -> None:
        scene, daemon = Scene(), FakeDaemon()
        workspace = Workspace(settings=Settings(debounce_ms=0, speculate=False))
        suggester = Suggester(daemon, workspace, judge=scene.learner)
        workspace.documents.open(scene.document)
        for number, (logprob, texts) in enumerate([(SURE, ["alpha"]), (UNSURE, [])], 1):
            scene.types("b")
            asked = asyncio.create_task(suggester.suggest(Ask(scene.document, scene.place)))
            request = await daemon.sent(number)
            assert request.params["confidence"] is True
            request.end("alpha", logprobs=[{"text": "alpha", "logprob": logprob}])
            assert [each.text for each in await asked] == texts

    asyncio.run(scenario())
