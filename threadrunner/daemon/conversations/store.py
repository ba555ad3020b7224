"""Conversations and notes in SQLite. Blocking, one connection: `sessions.py` gives it a thread of its own.

Rule: every change is one transaction, and it is on the disk when the method returns.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
from threadrunner.api.errors import InvalidParams, SessionNotFound, StorageFailed
from threadrunner.daemon.conversations import schema
from threadrunner.daemon.conversations.window import PastTurn

LAST, NEW = "@last", "@new"
PAGE_CHARS = 1 << 20  # of one `sessions.show`: far below what a frame may have, even where each is six bytes of JSON

_INFO = """SELECT *, (SELECT count(*) FROM turns WHERE turns.session = sessions.id) AS turns FROM sessions """
_NUMBERED = """SELECT *, row_number() OVER (ORDER BY id) AS number FROM turns WHERE session = ?"""


class OpenTurn(NamedTuple):
    """A turn that is in the file, and its conversation."""

    turn: int
    session: int
    name: str
    fresh: bool
    """The conversation began with this turn."""


class SessionUpdate(NamedTuple):
    """What a turn makes its conversation remember; None changes nothing."""

    model: str | None = None
    backend: str | None = None
    mode: str | None = None
    system: str | None = None
    params: dict[str, Any] | None = None


class Store:
    """See the module. Raises StorageFailed where the file fails."""

    def __init__(self, path: str) -> None:
        self._db = schema.connect(path)

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _failed(error) from None
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(error) from None

    # Turns

    def begin(self, name: str, prompt: str, wish: SessionUpdate, replace: int = 0) -> OpenTurn:
        """Put a prompt at a conversation's end, which is made if it is not there; `replace` turns go before that."""
        now = time.time()
        with self.change() as db:
            if name == NEW:
                name = self._free(slug(prompt))
            elif name == LAST:
                name = self._named(name)["name"]
            row = db.execute("SELECT id, params FROM sessions WHERE name = ?", (name,)).fetchone()
            fresh = row is None
            if fresh:
                check_name(name)
                made = db.execute("INSERT INTO sessions (name, created, used) VALUES (?, ?, ?)", (name, now, now))
                id, params = int(made.lastrowid or 0), {}
            else:
                id, params = int(row["id"]), json.loads(row["params"])
            if replace:
                self._drop_last(id, replace)
            db.execute(
                "UPDATE sessions SET used = ?, model = coalesce(?, model), backend = coalesce(?, backend), "
                "mode = coalesce(?, mode), system = nullif(coalesce(?, system), ''), params = ? WHERE id = ?",
                (now, wish.model, wish.backend, wish.mode, wish.system, _json({**params, **(wish.params or {})}), id),
            )
            turn = db.execute(
                "INSERT INTO turns (session, prompt, state, began) VALUES (?, ?, 'open', ?)", (id, prompt, now)
            )
            return OpenTurn(int(turn.lastrowid or 0), id, name, fresh)

    def past(self, begun: OpenTurn) -> tuple[SessionInfo, list[PastTurn], int, int]:
        """The conversation as it stands before this turn, and its window's start and limit. Raises SessionNotFound
        where somebody has deleted it, or this turn, meanwhile."""
        rows = self.rows(f"{_INFO} WHERE id = ?", begun.session)
        if not rows or not self.rows("SELECT 1 FROM turns WHERE id = ?", begun.turn):
            raise SessionNotFound(f"the conversation {begun.name!r} was deleted while this turn waited")
        turns = [
            PastTurn(
                row["id"],
                with_recalled(row["recalled"], row["prompt"]),
                row["answer"],
                row["state"],
                row["prompt_tokens"] + (row["completion_tokens"] or 0) if row["prompt_tokens"] else None,
            )
            for row in self.rows(
                "SELECT * FROM turns WHERE session = ? AND id < ? ORDER BY id", begun.session, begun.turn
            )
        ]
        return _info(rows[0]), turns, rows[0]["window_start"], rows[0]["window_limit"]

    def recalled(self, turn: int, text: str, sources: Sequence[Source]) -> None:
        with self.change() as db:
            plain = _json([{name: getattr(source, name) for name in source.__struct_fields__} for source in sources])
            db.execute("UPDATE turns SET recalled = ?, sources = ? WHERE id = ?", (text, plain, turn))

    def window(self, session: int, start: int, limit: int) -> None:
        with self.change() as db:
            db.execute("UPDATE sessions SET window_start = ?, window_limit = ? WHERE id = ?", (start, limit, session))

    def finish(
        self, turn: int, state: str, answer: str | None, model: str | None = None, error: str | None = None,
        prompt_tokens: int | None = None, completion_tokens: int | None = None,
    ) -> None:  # fmt: skip
        with self.change() as db:
            db.execute(
                "UPDATE turns SET state = ?, answer = ?, model = ?, error = ?, prompt_tokens = ?, "
                "completion_tokens = ?, ended = ? WHERE id = ?",
                (state, answer, model, error, prompt_tokens, completion_tokens, time.time(), turn),
            )

    # Conversations

    def listing(self, limit: int, offset: int) -> SessionList:
        rows = self.rows(f"{_INFO} ORDER BY used DESC, id DESC LIMIT ? OFFSET ?", limit, offset)
        (total,) = self.rows("SELECT count(*) AS n FROM sessions")
        return SessionList([_info(row) for row in rows], total["n"])

    def info(self, name: str) -> SessionInfo | None:
        """None where there is no such conversation."""
        with contextlib.suppress(SessionNotFound):
            return _info(self.rows(f"{_INFO} WHERE id = ?", self._named(name)["id"])[0])
        return None

    def show(self, name: str, after: int, last: int | None) -> SessionShown:
        session = self._named(name)
        info = _info(self.rows(f"{_INFO} WHERE id = ?", session["id"])[0])
        if last is not None:
            after = max(after, info.turns - last)
        turns: list[Turn] = []
        size = 0
        for row in self.rows(f"SELECT * FROM ({_NUMBERED}) WHERE number > ? ORDER BY number", session["id"], after):
            size += len(row["prompt"]) + len(row["answer"] or "") + len(row["sources"] or "")
            if turns and size > PAGE_CHARS:
                return SessionShown(info, turns, more=True)
            turns.append(_turn(row, session["window_start"]))
        return SessionShown(info, turns)

    def delete(self, name: str) -> str:
        session = self._named(name)
        with self.change() as db:
            db.execute("DELETE FROM sessions WHERE id = ?", (session["id"],))
            db.execute("INSERT INTO turn_words (turn_words) VALUES ('optimize')")
        self.scrub()
        return str(session["name"])

    def rename(self, old: str, new: str) -> SessionInfo:
        check_name(new)
        session = self._named(old)
        with self.change() as db:
            if new != session["name"] and db.execute("SELECT 1 FROM sessions WHERE name = ?", (new,)).fetchone():
                raise taken(new)
            db.execute("UPDATE sessions SET name = ? WHERE id = ?", (new, session["id"]))
        return _info(self.rows(f"{_INFO} WHERE id = ?", session["id"])[0])

    def fork(self, name: str, new: str | None, turns: int | None) -> SessionInfo:
        """A copy with all finished turns, or the first so many."""
        session = self._named(name)
        if new is not None:
            check_name(new)
        now = time.time()
        with self.change() as db:
            if new is None:
                new = self._free(session["name"])
            elif db.execute("SELECT 1 FROM sessions WHERE name = ?", (new,)).fetchone():
                raise taken(new)
            made = db.execute(
                "INSERT INTO sessions (name, model, backend, mode, system, params, created, used, forked_from) "
                "SELECT ?, model, backend, mode, system, params, ?, ?, name FROM sessions WHERE id = ?",
                (new, now, now, session["id"]),
            )
            db.execute(
                "INSERT INTO turns (session, prompt, recalled, sources, answer, state, model, error, prompt_tokens, "
                "completion_tokens, began, ended) SELECT ?, prompt, recalled, sources, answer, state, model, error, "
                "prompt_tokens, completion_tokens, began, ended FROM turns WHERE session = ? AND state != 'open' "
                "ORDER BY id LIMIT ?",
                (made.lastrowid, session["id"], -1 if turns is None else turns),
            )
        return _info(self.rows(f"{_INFO} WHERE name = ?", new)[0])

    def undo(self, name: str, turns: int) -> Undone:
        session = self._named(name)
        with self.change():
            prompts = self._drop_last(session["id"], turns)
        return Undone(prompts)

    def take_in(self, params: SessionImportParams) -> SessionInfo:
        """A conversation from elsewhere."""
        check_name(params.name)
        now = time.time()
        with self.change() as db:
            row = db.execute("SELECT id FROM sessions WHERE name = ?", (params.name,)).fetchone()
            if row is not None and not params.append:
                raise taken(params.name)
            if row is None:
                made = db.execute(
                    "INSERT INTO sessions (name, model, backend, mode, system, params, created, used) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (params.name, params.model, params.backend, params.mode, params.system or None,
                     _json(params.params), now, now),
                )  # fmt: skip
                id = made.lastrowid
            else:
                id = row["id"]
            db.executemany(
                "INSERT INTO turns (session, prompt, answer, state, model, began, ended) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (id, turn.prompt, turn.answer, "lost" if turn.answer is None else "done", turn.model,
                     now if turn.began is None else turn.began, turn.ended)
                    for turn in params.turns
                ],
            )  # fmt: skip
        return _info(self.rows(f"{_INFO} WHERE name = ?", params.name)[0])

    def search(self, query: str, name: str | None, limit: int) -> list[SearchHit]:
        only = self._named(name)["id"] if name is not None else None
        rows = self.rows(
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

    def _named(self, name: str) -> sqlite3.Row:
        """Raises SessionNotFound, with names that are near."""
        if name == LAST:
            rows = self.rows("SELECT * FROM sessions ORDER BY used DESC, id DESC LIMIT 1")
            if not rows:
                raise SessionNotFound('there is no conversation yet; `threadrunner -S NAME "…"` begins one')
            return rows[0]
        rows = self.rows("SELECT * FROM sessions WHERE name = ?", name)
        if not rows:
            raise SessionNotFound(
                f"no conversation is named {name!r}; `threadrunner sessions list` shows the names", session=name
            )
        return rows[0]

    def _free(self, wanted: str) -> str:
        """A name like `wanted` that no conversation has."""
        stem = re.sub(r"-\d+$", "", wanted)[:120]
        taken = {row["name"] for row in self.rows("SELECT name FROM sessions WHERE name = ? OR name GLOB ?",
                                                   wanted, re.sub(r"[*?\[]", "?", stem) + "-*")}  # fmt: skip
        if wanted not in taken:
            return wanted
        number = 2
        while f"{stem}-{number}" in taken:
            number += 1
        return f"{stem}-{number}"

    def _drop_last(self, session: int, turns: int) -> list[str]:
        rows = self.rows("SELECT id, prompt FROM turns WHERE session = ? ORDER BY id DESC LIMIT ?", session, turns)
        self._db.executemany("DELETE FROM turns WHERE id = ?", [(row["id"],) for row in rows])
        return [row["prompt"] for row in reversed(rows)]

    def scrub(self) -> None:
        """Out of the log beside the file too, as far as nobody else reads it at the moment."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def check_name(name: str) -> None:
    """Raises InvalidParams for what could not be told from a flag, a place or noise."""
    if not name.isprintable() or name != name.strip() or name[0] in "-@":
        raise InvalidParams(
            f"{name!r} cannot name a conversation: use printable characters, none of - and @ as the first, no blanks "
            "at the ends"
        )


def taken(name: str) -> InvalidParams:
    return InvalidParams(f"a conversation is named {name!r} already; give another name, or delete that one first")


def slug(prompt: str) -> str:
    """A name from a prompt's first words."""
    words = re.findall(r"\w+", prompt.lower())[:6]
    return "-".join(words)[:40].rstrip("-") or "conversation"


def match(query: str) -> str:
    """FTS5's expression for words as people type them: all of them; a last * means any ending. Raises InvalidParams."""
    words = re.findall(r"\w+\*?", query)
    if not words:
        raise InvalidParams("the search has no word in it; give a word or two")
    return " ".join(f'"{word.rstrip("*")}"{"*" if word.endswith("*") else ""}' for word in words)


def with_recalled(recalled: str | None, prompt: str) -> str:
    return f"{recalled}\n\n{prompt}" if recalled else prompt


def _info(row: sqlite3.Row) -> SessionInfo:
    names = ("name", "model", "backend", "mode", "system", "turns", "created", "used", "forked_from")
    return SessionInfo(**{name: row[name] for name in names}, params=json.loads(row["params"]))


def _turn(row: sqlite3.Row, window_start: int) -> Turn:
    names = ("number", "prompt", "answer", "state", "model", "error", "prompt_tokens", "completion_tokens")
    return Turn(
        **{name: row[name] for name in names},
        began=row["began"],
        ended=row["ended"],
        in_window=row["id"] >= window_start,
        sources=[Source(**source) for source in json.loads(row["sources"])] if row["sources"] else UNSET,
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _failed(error: sqlite3.Error) -> StorageFailed:
    return StorageFailed(
        f"the conversations' file: {error}; is the disk full, or the file not ours to write? `threadrunner doctor` "
        "shows where it is"
    )
