"""What is remembered, what is found of it, and that none of it is used unasked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PATIENCE, Daemon
from threadrunner.api.chat import FunctionCall, ToolCall
from threadrunner.api.conversations import ToolResult
from threadrunner.api.errors import InvalidParams
from threadrunner.daemon.conversations import notes, turns
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall, vector_space
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import Outcome, SessionUpdate

LOREM = "lorem ipsum dolor sit amet"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "sessions.db"))
    yield store
    store.close()


def note(store: Store, text: str) -> int:
    return notes.add(store, text, 1.0).id


def turn(store: Store, session: str, prompt: str, answer: str) -> int:
    begun = turns.open_turn(store, session, prompt, SessionUpdate())
    turns.finish(store, begun.turn, Outcome("done", answer))
    return begun.session


def found(store: Store, text: str, **more: object) -> list[str]:
    settings = {"vector": None, "model": "", "exclude_session": None, **more}
    return [source.text for source in notes.recall(store, text, **settings)]  # type: ignore[arg-type]


def test_notes_and_turns_are_found_by_their_words(store: Store) -> None:
    note(store, "the wifi password is sesame")
    note(store, "the cat is called Minka")
    turn(store, "trip", "how far is Porto?", "about 300 km")
    assert found(store, "What is the password?") == ["the wifi password is sesame"]
    assert found(store, "tell me of porto") == ["asked: how far is Porto? answered: about 300 km"]
    assert found(store, "what is the and of it") == []


def test_of_a_tool_round_it_is_what_was_said(store: Store) -> None:
    begun = turns.open_turn(store, "trip", "how warm is Porto?", SessionUpdate())
    call = ToolCall("c1", FunctionCall("thermometer", "{}"))
    turns.finish(store, begun.turn, Outcome("done", "", calls=[call], reasoning="they shiver"))
    begun = turns.open_turn(store, "trip", "", SessionUpdate(), results=[ToolResult("c1", "celsius: 24")])
    turns.finish(store, begun.turn, Outcome("done", "pleasantly mild"))
    assert found(store, "porto") == ["asked: how warm is Porto?"]
    assert found(store, "mild") == ["answered: pleasantly mild"]
    assert found(store, "celsius thermometer shiver") == []


def test_the_conversation_itself_is_left_out(store: Store) -> None:
    session = turn(store, "a", "porto?", "yes")
    turn(store, "b", "porto!", "no")
    assert found(store, "porto", exclude_session=session) == ["asked: porto! answered: no"]


def test_meaning_finds_what_shares_no_word(store: Store) -> None:
    ids = [note(store, text) for text in ("alpha", "beta", "gamma", "delta", "epsilon")]
    vectors = [[1.0, 0.0, 0.1], [0.0, 1.0, 0.1], [-1.0, 0.0, 0.1], [0.0, -1.0, 0.1], [-0.4, -0.3, 0.1]]
    notes.save_vectors(store, "m", [(("note", id), v) for id, v in zip(ids, vectors, strict=True)])
    assert found(store, "something else", vector=[0.9, 0.1, 0.1], model="m") == ["alpha"]
    assert found(store, "beta", vector=[0.9, 0.1, 0.1], model="m")[:2] == ["beta", "alpha"]
    assert found(store, "something else", vector=[0.9, 0.1, 0.1], model="another") == []
    assert found(store, "something else", vector=[0.9, 0.1], model="m") == []


def test_what_both_rankings_have_comes_first() -> None:
    ranked = notes.fuse([[("note", 1), ("note", 2)], [("note", 2), ("note", 3)]])
    assert [key[1] for key, _ in ranked] == [2, 1, 3]


def test_a_passage_that_is_forgotten_leaves_no_vector(store: Store) -> None:
    id = note(store, "secret")
    notes.save_vectors(store, "m", [(("note", id), [1.0])])
    assert notes.without_vector(store, "m", 10) == []
    notes.delete(store, id)
    assert store.rows("SELECT * FROM vectors") == []
    with pytest.raises(InvalidParams, match="memory list"):
        notes.delete(store, id)
    notes.save_vectors(store, "m", [(("note", id), [1.0])])  # its embedding was under way
    assert store.rows("SELECT * FROM vectors") == []


def test_long_passages_are_cut_and_their_sum_bounded(store: Store) -> None:
    for number in range(6):
        note(store, f"needle {number} " + "hay " * 1000)
    texts = found(store, "needle", limit=6)
    assert all(len(text) <= notes.PASSAGE_CHARS for text in texts)
    assert sum(map(len, texts)) <= notes.TOTAL_CHARS


class TooFew:
    """Gives a vector for fewer texts than it was given."""

    async def embed(self, texts: list[str], priority: str) -> tuple[str, list[list[float]]]:
        return "m", [[1.0]] * (len(texts) - 1)


def test_a_defect_in_idle_time_is_logged_and_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It came up again in `close`, so models were not told to save, and the socket was left behind."""

    async def scenario() -> None:
        conversations = Conversations(str(tmp_path / "sessions.db"))
        await conversations.run(lambda store: note(store, "alpha"))
        recall = Recall(conversations)
        recall.fill(TooFew())
        while not caplog.records:
            await asyncio.sleep(0)
        await recall.close()
        assert await conversations.run(lambda store: len(notes.without_vector(store, "m", 10))) == 1
        await conversations.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert "zip() argument" in caplog.text


def test_nothing_is_recalled_unasked_and_sources_are_told(daemon: Daemon) -> None:
    wire = daemon.wire()
    id = wire.call("memory.add", text="the wifi password is sesame")["id"]
    assert wire.call("generate", prompt="the wifi password?")["text"] == f"{LOREM} the. wifi. password."
    result = wire.call("generate", prompt="the wifi password?", memory=True)
    assert "sesame." in result["text"] and result["text"].endswith("the. wifi. password.")
    assert [(source["kind"], source["id"]) for source in result["sources"]] == [("note", id)]
    assert wire.call("generate", prompt="zebra?", memory=True)["sources"] == []
    assert wire.call("memory.search", query="password")["sources"][0]["text"] == "the wifi password is sesame"
    assert wire.call("memory.delete", note=id)["text"] == "the wifi password is sesame"
    assert wire.call("memory.list")["notes"] == []
    assert wire.call("generate", prompt="the wifi password?", memory=True)["sources"] == []


def test_nothing_is_put_before_a_tools_result_or_an_answer(daemon: Daemon) -> None:
    wire = daemon.wire()
    id = wire.call("memory.add", text="minka is a cat")["id"]
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = {"role": "user", "content": "minka"}
    result = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "minka"}]
    for said in ([asked, *result], [asked, {"role": "assistant", "content": "minka"}]):
        answer = wire.call("generate", messages=said, memory=True)
        assert (answer["text"], answer["sources"]) == (f"{LOREM} minka.", [])
    assert "cat." in wire.call("generate", messages=[asked], memory=True)["text"]
    wire.call("memory.delete", note=id)


def test_a_conversation_keeps_what_was_recalled_for_it(daemon: Daemon) -> None:
    """The model is shown the same text again: what is cached of it stays a prefix."""
    wire = daemon.wire()
    id = wire.call("memory.add", text="minka is a cat")["id"]
    wire.call("generate", prompt="who is minka?", session="cats", memory=True)
    wire.call("memory.delete", note=id)
    shown = wire.call("sessions.show", session="cats")["turns"][0]
    assert shown["prompt"] == "who is minka?"
    assert shown["sources"][0]["text"] == "minka is a cat"
    wire.call("generate", prompt="and?", session="other", memory=True)  # remembered params: on from here
    assert wire.call("sessions.show", session="other")["session"]["params"] == {"memory": True}


def test_raw_prompts_are_left_as_they_are(daemon: Daemon) -> None:
    assert daemon.wire().fail("generate", prompt="x", raw=True, memory=True)["code"] == -32602


def test_vectors_that_were_made_in_another_way_are_made_again(store: Store) -> None:
    note(store, "the cat is called Minka")
    ((key, _),) = notes.without_vector(store, "m", 10)
    notes.save_vectors(store, "m", [(key, [1.0, 0.0])])
    assert notes.without_vector(store, "m", 10) == []
    assert [key for key, _ in notes.without_vector(store, vector_space("m"), 10)] == [key]
