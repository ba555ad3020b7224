"""A turn of a conversation, in the store: from its prompt to its answer."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from threadrunner.api.conversations import SessionInfo, Source, TurnState
from threadrunner.api.errors import SessionNotFound
from threadrunner.api.names import LAST, NEW
from threadrunner.daemon.conversations.sessions import (
    INFO,
    check_name,
    drop_last,
    find,
    free_name,
    info_of,
    slug,
)
from threadrunner.daemon.conversations.store import Store, to_json
from threadrunner.daemon.conversations.window import PastTurn


class OpenTurn(NamedTuple):
    """A turn that is in the file and has no answer yet, and its conversation."""

    turn: int
    session: int
    name: str
    store: int
    """The number of the Store."""


class SessionUpdate(NamedTuple):
    """What a turn makes its conversation remember; None changes nothing."""

    model: str | None = None
    backend: str | None = None
    mode: str | None = None
    system: str | None = None
    params: dict[str, Any] | None = None


class Outcome(NamedTuple):
    """How a turn ended. `error` is the kind of the error that ended it; counts are tokens."""

    state: TurnState
    answer: str | None
    model: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class History(NamedTuple):
    """A conversation as it was before one of its turns."""

    info: SessionInfo
    turns: list[PastTurn]
    window_start: int
    """The first turn that the model is still shown."""
    window_limit: int
    """Tokens of context that this start was chosen for."""


_OPEN = "SELECT id FROM turns WHERE state = 'open'"


def open_turn(store: Store, name: str, prompt: str, update: SessionUpdate, replace: int = 0) -> OpenTurn:
    """Append a prompt to a conversation, which is made if it does not exist; its last `replace` turns are deleted
    first. Raises InvalidParams for a name that cannot be one, SessionNotFound, StorageFailed."""
    now = time.time()
    with store.change() as db:
        if name == NEW:
            name = free_name(store, slug(prompt))
        elif name == LAST:
            name = find(store, name)["name"]
        row = db.execute("SELECT id, params FROM sessions WHERE name = ?", (name,)).fetchone()
        if row is None:
            check_name(name)
            made = db.execute("INSERT INTO sessions (name, created, used) VALUES (?, ?, ?)", (name, now, now))
            session, params = int(made.lastrowid or 0), {}
        else:
            session, params = int(row["id"]), json.loads(row["params"])
        if replace:
            drop_last(db, session, replace)
        params |= update.params or {}
        db.execute(
            "UPDATE sessions SET used = ?, model = coalesce(?, model), backend = coalesce(?, backend), "
            "mode = coalesce(?, mode), system = nullif(coalesce(?, system), ''), params = ? WHERE id = ?",
            (now, update.model, update.backend, update.mode, update.system, to_json(params), session),
        )
        turn = db.execute(
            "INSERT INTO turns (session, prompt, state, began) VALUES (?, ?, 'open', ?)", (session, prompt, now)
        )
        opened = OpenTurn(int(turn.lastrowid or 0), session, name, store.number)
        store.turn_locks.hold(opened.turn)  # before other daemons can see the turn
        return opened


def mark_lost(store: Store) -> None:
    """Open turns that no daemon is answering have lost their answer."""
    lost = [(row["id"],) for row in store.rows(_OPEN) if not store.turn_locks.held(row["id"])]
    if lost:
        with store.change() as db:
            # Once more: a daemon that has just finished one has written so before it let go of it.
            db.executemany("UPDATE turns SET state = 'lost', ended = began WHERE id = ? AND state = 'open'", lost)


def waits_for_others(store: Store, opened: OpenTurn) -> bool:
    """Whether another daemon is still answering an earlier turn of this conversation."""
    rows = store.rows(f"{_OPEN} AND session = ? AND id < ?", opened.session, opened.turn)
    return any(not store.turn_locks.ours(row["id"]) for row in rows)


def history(store: Store, opened: OpenTurn) -> History | None:
    """None while another daemon answers an earlier turn. Raises SessionNotFound where the conversation, or this turn,
    was deleted meanwhile."""
    if waits_for_others(store, opened):
        return None
    rows = store.rows(f"{INFO} WHERE id = ?", opened.session)
    if not rows or not store.rows("SELECT 1 FROM turns WHERE id = ?", opened.turn):
        raise SessionNotFound(f"the conversation {opened.name!r} was deleted while this turn waited")
    before = store.rows("SELECT * FROM turns WHERE session = ? AND id < ? ORDER BY id", opened.session, opened.turn)
    turns = [
        PastTurn(
            row["id"],
            with_recalled(row["recalled"], row["prompt"]),
            row["answer"],
            row["state"],
            row["prompt_tokens"] + (row["completion_tokens"] or 0) if row["prompt_tokens"] else None,
        )
        for row in before
    ]
    return History(info_of(rows[0]), turns, rows[0]["window_start"], rows[0]["window_limit"])


def save_recalled(store: Store, turn: int, text: str, sources: Sequence[Source]) -> None:
    """Keep the passages that were put before a turn's prompt, so that the next turn shows the model the same text."""
    plain = to_json([{name: getattr(source, name) for name in source.__struct_fields__} for source in sources])
    with store.change() as db:
        db.execute("UPDATE turns SET recalled = ?, sources = ? WHERE id = ?", (text, plain, turn))


def save_window(store: Store, session: int, start: int, limit: int) -> None:
    """Keep where the conversation's window starts, and the context (tokens) that this was chosen for."""
    with store.change() as db:
        db.execute("UPDATE sessions SET window_start = ?, window_limit = ? WHERE id = ?", (start, limit, session))


def finish(store: Store, turn: int, outcome: Outcome) -> None:
    """Write how the turn ended."""
    try:
        with store.change() as db:
            db.execute(
                "UPDATE turns SET state = ?, answer = ?, model = ?, error = ?, prompt_tokens = ?, "
                "completion_tokens = ?, ended = ? WHERE id = ?",
                (*outcome, time.time(), turn),
            )
    finally:
        store.turn_locks.release(turn)


def with_recalled(recalled: str | None, prompt: str) -> str:
    """The prompt as the model is shown it."""
    return f"{recalled}\n\n{prompt}" if recalled else prompt
