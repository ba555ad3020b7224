"""A turn of a conversation, in the store: from its prompt to its answer."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from threadrunner.api.chat import ImagePart, Tool, ToolCall
from threadrunner.api.conversations import SessionInfo, Source, ToolResult, TurnState, slug
from threadrunner.api.errors import InvalidParams, SessionNotFound
from threadrunner.api.names import LAST, NEW
from threadrunner.daemon.conversations import pictures
from threadrunner.daemon.conversations.columns import Parts, parts_of, tools_to_json
from threadrunner.daemon.conversations.said import PastTurn, complete, open_calls, results_conflict
from threadrunner.daemon.conversations.sessions import (
    INFO,
    check_name,
    drop_last,
    find,
    free_name,
    info_of,
    insert_turn,
)
from threadrunner.daemon.conversations.store import Store, to_json


class OpenTurn(NamedTuple):
    """A turn that is in the file and has no answer yet, and its conversation."""

    turn: int
    session: int
    name: str
    store: int
    """The number of the Store."""


class SessionUpdate(NamedTuple):
    """What a turn makes its conversation remember; None changes nothing, an empty text is none from now on."""

    model: str | None = None
    backend: str | None = None
    mode: str | None = None
    system: str | None = None
    params: dict[str, Any] | None = None
    tools: Sequence[Tool] | None = None
    forgets: Collection[str] = ()
    """Names of params."""


class Outcome(NamedTuple):
    """How a turn ended. `error` is the kind of the error that ended it; counts are tokens, those of the thought are a
    part of the completion's."""

    state: TurnState
    answer: str | None
    model: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    calls: Sequence[ToolCall] = ()
    reasoning: str | None = None
    reasoning_tokens: int | None = None


class History(NamedTuple):
    """A conversation as it was before one of its turns."""

    info: SessionInfo
    turns: list[PastTurn]
    window_start: int
    """The first turn that the model is still shown."""
    window_limit: int
    """Tokens of context that this start was chosen for."""
    images: list[ImagePart]
    """Of the turn itself."""


_OPEN = "SELECT id FROM turns WHERE state = 'open'"


def open_turn(
    store: Store,
    name: str,
    prompt: str,
    update: SessionUpdate,
    replace: int = 0,
    results: Sequence[ToolResult] = (),
    images: Sequence[ImagePart] | None = (),
) -> OpenTurn:
    """Append a prompt, results or both to a conversation, which is made if it does not exist; its last `replace` turns
    are deleted first. `images` None: those of the first turn that is replaced.

    Raises InvalidParams for a name that cannot be one and for results of no open call, SessionNotFound,
    StorageFailed."""
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
        if images is None:
            images = pictures.of_replaced(db, session, replace) if replace else ()
        if replace:
            drop_last(db, session, replace)
        if results:
            _check_results(store, session, results, prompt)
        _remember(db, session, params, update, now)
        turn = insert_turn(db, session, prompt, Parts(results), state="open", began=now)
        pictures.insert(db, turn, images)
        opened = OpenTurn(turn, session, name, store.number)
        store.turn_locks.hold(opened.turn)  # before other daemons can see the turn
        return opened


def _remember(db: sqlite3.Connection, session: int, params: dict[str, Any], update: SessionUpdate, now: float) -> None:
    """`params` are those that the conversation has remembered so far."""
    tools = None if update.tools is None else tools_to_json(update.tools) or ""
    kept = {name: value for name, value in params.items() if name not in update.forgets}
    db.execute(
        "UPDATE sessions SET used = ?, model = coalesce(?, model), backend = coalesce(?, backend), "
        "mode = nullif(coalesce(?, mode), ''), system = nullif(coalesce(?, system), ''), params = ?, "
        "tools = nullif(coalesce(?, tools), '') WHERE id = ?",
        (now, update.model, update.backend, update.mode, update.system, to_json(kept | (update.params or {})),
         tools, session),
    )  # fmt: skip


def _check_results(store: Store, session: int, results: Sequence[ToolResult], prompt: str) -> None:
    """Before anything is written, so that a mistyped id leaves no trace. While an earlier turn is still being answered
    it may make the call yet; its end is waited for, and this turn looked at again. Raises InvalidParams."""
    if store.rows(f"{_OPEN} AND session = ?", session):
        return
    if conflict := results_conflict(open_calls(_past(store, session, 1 << 62)), results, prompt):
        raise InvalidParams(conflict)


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
    shown = pictures.up_to(store, opened.session, opened.turn)
    turns = [turn._replace(pictures=shown.get(turn.id, ())) for turn in _past(store, opened.session, opened.turn)]
    images = [part for part in shown.get(opened.turn, ()) if isinstance(part, ImagePart)]
    return History(info_of(rows[0]), turns, rows[0]["window_start"], rows[0]["window_limit"], images)


def _past(store: Store, session: int, before: int) -> list[PastTurn]:
    """The turns of a conversation up to the one with the id `before`."""
    rows = store.rows("SELECT * FROM turns WHERE session = ? AND id < ? ORDER BY id", session, before)
    return [_past_turn(row) for row in rows]


def _past_turn(row: sqlite3.Row) -> PastTurn:
    tokens = row["prompt_tokens"]
    if tokens:
        tokens += (row["completion_tokens"] or 0) - (row["reasoning_tokens"] or 0)
    # A call that was broken off was never made: it waits for no result, and the model is not shown it.
    parts = parts_of(row)
    calls = [call for call in parts.calls if complete(call)] if row["state"] == "done" else []
    return PastTurn(
        row["id"], with_recalled(row["recalled"], row["prompt"]), row["answer"], row["state"], tokens or None,
        calls, parts.results, row["reasoning"],
    )  # fmt: skip


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
            rows = db.execute("SELECT results, calls FROM turns WHERE id = ?", (turn,)).fetchall()
            parts = [parts_of(row)._replace(calls=outcome.calls).columns() for row in rows]  # none: it was deleted
            columns = {**outcome._asdict(), "ended": time.time(), **(parts[0] if parts else {"calls": None})}
            db.execute(
                f"UPDATE turns SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
                (*columns.values(), turn),
            )
    finally:
        store.turn_locks.release(turn)


def with_recalled(recalled: str | None, prompt: str) -> str:
    """The prompt as the model is shown it."""
    return f"{recalled}\n\n{prompt}" if recalled else prompt
