"""Conversations as a whole, in the store: found by name, listed, shown, copied, searched, deleted."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from typing import Any

import msgspec
from msgspec import UNSET

from threadrunner.api.conversations import (
    SearchHit,
    SessionImportParams,
    SessionInfo,
    SessionList,
    SessionShown,
    Source,
    Turn,
    Undone,
)
from threadrunner.api.errors import InvalidParams, SessionNotFound
from threadrunner.api.names import LAST
from threadrunner.api.sampling import CHOICE
from threadrunner.daemon.conversations import pictures
from threadrunner.daemon.conversations.columns import Parts, parts_of, tools_of, tools_to_json
from threadrunner.daemon.conversations.store import Store, to_json

REMEMBERED_PARAMS = (*CHOICE, "stop", "memory", "reasoning", "reasoning_budget", "template_vars")
"""What a conversation keeps of a turn's params, in `params`; its tools have a column of their own, since a list of
conversations need not carry them. Seed, grammar, schema, tool_choice and the limits are about one answer; logit_bias is
about one model's tokens, and a conversation may change its model."""

_LONG = ("prompt", "answer", "sources", "results", "calls", "reasoning")
_CONTENT = (
    "prompt, recalled, sources, results, answer, calls, tool_words, reasoning, state, model, error, prompt_tokens, "
    "completion_tokens, reasoning_tokens, began, ended"
)
"""All columns of a turn but whose it is."""

PAGE_CHARS = 1 << 20  # of one `sessions.show`: far below what a frame may have, even where each is six bytes of JSON

INFO = """SELECT *, (SELECT count(*) FROM turns WHERE turns.session = sessions.id) AS turns FROM sessions """
# By the newest turn: the numbers of turns only grow, whereas the clock may be set back.
_LAST_USED_FIRST = """ORDER BY (SELECT coalesce(max(turns.id), 0) FROM turns WHERE turns.session = sessions.id) DESC,
used DESC, id DESC"""
_NUMBERED = """SELECT *, row_number() OVER (ORDER BY id) AS number,
(SELECT count(*) FROM pictures WHERE pictures.turn = turns.id) AS pictures FROM turns WHERE session = ?"""


# Names


def check_name(name: str) -> None:
    """Raises InvalidParams for a name that looks like a flag or a place, or that cannot be read."""
    if not name.isprintable() or name != name.strip() or name[0] in "-@":
        raise InvalidParams(
            f"{name!r} cannot name a conversation: use printable characters, none of - and @ as the first, no blanks "
            "at the ends"
        )


def _check_free(db: sqlite3.Connection, name: str) -> None:
    if db.execute("SELECT 1 FROM sessions WHERE name = ?", (name,)).fetchone():
        raise InvalidParams(f"a conversation is named {name!r} already; give another name, or delete that one first")


def find(store: Store, name: str) -> sqlite3.Row:
    """The conversation's row, without its turns. Raises SessionNotFound."""
    if name == LAST:
        rows = store.rows(f"SELECT * FROM sessions {_LAST_USED_FIRST} LIMIT 1")
        if not rows:
            raise SessionNotFound('there is no conversation yet; `threadrunner -S NAME "…"` begins one')
        return rows[0]
    rows = store.rows("SELECT * FROM sessions WHERE name = ?", name)
    if not rows:
        raise SessionNotFound(
            f"no conversation is named {name!r}; `threadrunner sessions list` shows the names", session=name
        )
    return rows[0]


def free_name(store: Store, wanted: str) -> str:
    """A name like `wanted` that no conversation has."""
    stem = re.sub(r"-\d+$", "", wanted)[:120]
    taken = {row["name"] for row in store.rows("SELECT name FROM sessions WHERE name = ? OR name GLOB ?",
                                               wanted, re.sub(r"[*?\[]", "?", stem) + "-*")}  # fmt: skip
    if wanted not in taken:
        return wanted
    number = 2
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


# Conversations


def listing(store: Store, limit: int, offset: int) -> SessionList:
    rows = store.rows(f"{INFO} {_LAST_USED_FIRST} LIMIT ? OFFSET ?", limit, offset)
    (total,) = store.rows("SELECT count(*) AS n FROM sessions")
    return SessionList([msgspec.structs.replace(info_of(row), tools=UNSET) for row in rows], total["n"])


def info(store: Store, name: str) -> SessionInfo | None:
    """None where there is no such conversation."""
    with contextlib.suppress(SessionNotFound):
        return info_of(store.rows(f"{INFO} WHERE id = ?", find(store, name)["id"])[0])
    return None


def models(store: Store, name: str) -> list[str | None]:
    """Those that answered its turns, each once; None stands for turns without an answer. Raises SessionNotFound."""
    rows = store.rows("SELECT DISTINCT model FROM turns WHERE session = ?", find(store, name)["id"])
    return [row["model"] for row in rows]


def show(store: Store, name: str, after: int, last: int | None) -> SessionShown:
    """The turns with a number over `after`, of the last `last` ones, as many as PAGE_CHARS holds. Raises
    SessionNotFound, StorageFailed."""
    session = find(store, name)
    info = info_of(store.rows(f"{INFO} WHERE id = ?", session["id"])[0])
    if last is not None:
        after = max(after, info.turns - last)
    turns: list[Turn] = []
    size = 0
    for row in store.rows(f"SELECT * FROM ({_NUMBERED}) WHERE number > ? ORDER BY number", session["id"], after):
        size += sum(len(row[name] or "") for name in _LONG)
        if turns and size > PAGE_CHARS:
            return SessionShown(info, turns, more=True)
        turns.append(_turn(row, session["window_start"]))
    return SessionShown(info, turns)


def delete(store: Store, name: str) -> str:
    """The name of the conversation that was deleted. Raises SessionNotFound, StorageFailed."""
    session = find(store, name)
    with store.change() as db:
        db.execute("DELETE FROM sessions WHERE id = ?", (session["id"],))
        db.execute("INSERT INTO turn_words (turn_words) VALUES ('optimize')")
    store.scrub()
    return str(session["name"])


def rename(store: Store, old: str, new: str) -> SessionInfo:
    """The conversation under its new name. Raises SessionNotFound, InvalidParams, StorageFailed."""
    check_name(new)
    session = find(store, old)
    with store.change() as db:
        if new != session["name"]:
            _check_free(db, new)
        db.execute("UPDATE sessions SET name = ? WHERE id = ?", (new, session["id"]))
    return info_of(store.rows(f"{INFO} WHERE id = ?", session["id"])[0])


def fork(store: Store, name: str, new: str | None, turns: int | None) -> SessionInfo:
    """A copy with all finished turns, or the first `turns` of them; without `new`, under a name like the old one.
    Raises SessionNotFound, InvalidParams for a name that is taken, StorageFailed."""
    session = find(store, name)
    if new is not None:
        check_name(new)
    now = time.time()
    with store.change() as db:
        if new is None:
            new = free_name(store, session["name"])
        else:
            _check_free(db, new)
        made = db.execute(
            "INSERT INTO sessions (name, model, backend, mode, system, params, tools, created, used, forked_from) "
            "SELECT ?, model, backend, mode, system, params, tools, ?, ?, name FROM sessions WHERE id = ?",
            (new, now, now, session["id"]),
        )
        db.execute(
            f"INSERT INTO turns (session, {_CONTENT}) SELECT ?, {_CONTENT} FROM turns "
            "WHERE session = ? AND state != 'open' ORDER BY id LIMIT ?",
            (made.lastrowid, session["id"], -1 if turns is None else turns),
        )
        pictures.copy(db, session["id"], int(made.lastrowid or 0))
    return info_of(store.rows(f"{INFO} WHERE name = ?", new)[0])


def undo(store: Store, name: str, turns: int) -> Undone:
    session = find(store, name)
    with store.change() as db:
        prompts = drop_last(db, session["id"], turns)
    return Undone(prompts)


def import_session(store: Store, params: SessionImportParams) -> SessionInfo:
    """Keep a conversation that took place elsewhere; with `append`, add its turns to one that exists. Raises
    InvalidParams for a name that is taken or cannot be one, StorageFailed."""
    check_name(params.name)
    now = time.time()
    with store.change() as db:
        if not params.append:
            _check_free(db, params.name)
        row = db.execute("SELECT id FROM sessions WHERE name = ?", (params.name,)).fetchone()
        if row is None:
            made = db.execute(
                "INSERT INTO sessions (name, model, backend, mode, system, params, tools, created, used) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (params.name, params.model, params.backend, params.mode or None, params.system or None,
                 to_json(params.params), tools_to_json(params.tools), now, now),
            )  # fmt: skip
        session = int(made.lastrowid or 0) if row is None else int(row["id"])
        for turn in params.turns:
            insert_turn(
                db, session, turn.prompt, Parts(turn.tool_results, turn.tool_calls), answer=turn.answer,
                reasoning=turn.reasoning, state="done" if turn.answer is not None or turn.tool_calls else "lost",
                model=turn.model, began=now if turn.began is None else turn.began, ended=turn.ended,
            )  # fmt: skip
    return info_of(store.rows(f"{INFO} WHERE name = ?", params.name)[0])


def search(store: Store, query: str, name: str | None, limit: int) -> list[SearchHit]:
    """The turns that have all words of the query, the best first; only those of conversation `name`, if given. Raises
    InvalidParams for a query without a word, SessionNotFound, StorageFailed."""
    only = find(store, name)["id"] if name is not None else None
    rows = store.rows(
        "SELECT turns.id, turns.began, sessions.name, bm25(turn_words) AS score, "
        "snippet(turn_words, -1, '[', ']', '…', 24) AS snippet, "
        "(SELECT count(*) FROM turns AS b WHERE b.session = turns.session AND b.id <= turns.id) AS number "
        "FROM turn_words JOIN turns ON turns.id = turn_words.rowid JOIN sessions ON sessions.id = turns.session "
        "WHERE turn_words MATCH ? AND (? IS NULL OR sessions.id = ?) ORDER BY score, turns.id DESC LIMIT ?",
        match(query), only, only, limit,
    )  # fmt: skip
    return [
        SearchHit(row["name"], row["number"], row["snippet"], round(-row["score"], 4), row["began"]) for row in rows
    ]


def insert_turn(db: sqlite3.Connection, session: int, prompt: str, parts: Parts, **columns: Any) -> int:
    """Append a turn inside a transaction; its id."""
    columns = {"session": session, "prompt": prompt, **parts.columns(), **columns}
    places = ", ".join("?" * len(columns))
    made = db.execute(f"INSERT INTO turns ({', '.join(columns)}) VALUES ({places})", tuple(columns.values()))
    return int(made.lastrowid or 0)


def drop_last(db: sqlite3.Connection, session: int, turns: int) -> list[str]:
    """Delete the last `turns` turns inside a transaction; their prompts, the last one last. Where the model was shown
    none of those before any more, it is shown them again, as far as they fit."""
    rows = db.execute(
        "SELECT id, prompt FROM turns WHERE session = ? ORDER BY id DESC LIMIT ?", (session, turns)
    ).fetchall()
    db.executemany("DELETE FROM turns WHERE id = ?", [(row["id"],) for row in rows])
    last = "SELECT coalesce(max(id), 0) FROM turns WHERE session = sessions.id"
    db.execute(f"UPDATE sessions SET window_start = 0 WHERE id = ? AND window_start > ({last})", (session,))
    return [row["prompt"] for row in reversed(rows)]


def match(query: str) -> str:
    """FTS5's expression for words as people type them: all of them; a last * means any ending. Raises InvalidParams."""
    words = re.findall(r"\w+\*?", query)
    if not words:
        raise InvalidParams("the search has no word in it; give a word or two")
    return " ".join(f'"{word.rstrip("*")}"{"*" if word.endswith("*") else ""}' for word in words)


def info_of(row: sqlite3.Row) -> SessionInfo:
    """A row of INFO as the API has it."""
    names = ("name", "model", "backend", "mode", "system", "turns", "created", "used", "forked_from")
    return SessionInfo(
        **{name: row[name] for name in names}, params=json.loads(row["params"]), tools=tools_of(row) or UNSET
    )


def _turn(row: sqlite3.Row, window_start: int) -> Turn:
    names = ("number", "prompt", "answer", "state", "model", "error", "prompt_tokens", "completion_tokens")
    parts = parts_of(row)
    return Turn(
        **{name: row[name] for name in names},
        pictures=row["pictures"] or UNSET,
        tool_results=list(parts.results) or UNSET,
        tool_calls=list(parts.calls) or UNSET,
        reasoning=row["reasoning"] or UNSET,
        reasoning_tokens=row["reasoning_tokens"] or UNSET,
        began=row["began"],
        ended=row["ended"],
        in_window=row["id"] >= window_start,
        sources=[Source(**source) for source in json.loads(row["sources"])] if row["sources"] else UNSET,
    )
