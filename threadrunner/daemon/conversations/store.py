"""The conversations' file: one SQLite connection. Blocking; queue.py gives it a thread of its own.

Rule: every change is one transaction, and it is on the disk when `change` returns.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
from collections.abc import Iterator
from typing import Any

from threadrunner.api.errors import StorageFailed
from threadrunner.daemon.conversations import schema
from threadrunner.daemon.conversations.turn_locks import TurnLocks

_BESIDE = ("-wal", "-shm")
"""SQLite's own files: what has been written since the file was brought up to date, and an index of that."""

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; make room, then try again",
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that program, then try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; make it and its folder writable for you",
    sqlite3.SQLITE_CORRUPT: schema.DAMAGED,
    sqlite3.SQLITE_NOTADB: schema.DAMAGED,
}
_OF_THE_CONNECTION = {
    sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}  # fmt: skip
"""Errors after which the file is opened again: what caused them may have been mended."""

_numbers = itertools.count(1)


class Store:
    """Rows in and rows out. turns.py, sessions.py and notes.py say what they mean. Raises StorageFailed where the file
    fails."""

    def __init__(self, path: str) -> None:
        self.number = next(_numbers)
        """Tells this opened file from all others of this process."""
        self.broken = False
        """Whether it has failed in a way that opening it again may mend."""
        self._path = path
        self._db = schema.connect(path)
        try:
            self.turn_locks = TurnLocks(f"{path}.lock")
            self._files = _identities(path)
        except OSError as error:
            self._db.close()
            raise StorageFailed(f"cannot use {path}.lock: {error.strerror}; conversations need it") from None

    @property
    def in_place(self) -> bool:
        """Whether the files that are open are still those that have their names.

        People move them away, e.g. to begin again, put a copy in their place or delete them, and what would then be
        written would be found by no process after this one.
        """
        return _identities(self._path) == self._files

    def close(self) -> None:
        """Close it. If it was moved, all that was written goes with it: SQLite would leave the newest of it in the log
        beside the old place, and take that log for the next file's."""
        moved = not self.in_place
        if moved:
            self.scrub()
        self._db.close()
        self.turn_locks.close()
        if moved:
            for suffix, ours, now in zip(_BESIDE, self._files[1:], _identities(self._path)[1:], strict=True):
                if now is not None and now == ours:
                    with contextlib.suppress(OSError):
                        os.unlink(self._path + suffix)

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk at the end, undone by an exception."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from None
        finally:
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query; inside `change`, as the transaction sees them."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def scrub(self) -> None:
        """Remove what was deleted from the log beside the file too, if no other process reads it at the moment."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _failed(self, error: sqlite3.Error) -> StorageFailed:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits says where in SQLite
        self.broken = self.broken or kind in _OF_THE_CONNECTION
        reason = _REASONS.get(kind, "is the disk full, or the file not ours to write?")
        return StorageFailed(f"the conversations' file {self._path}: {error}; {reason}")


def to_json(value: Any) -> str:
    """As the file's columns hold JSON."""
    return json.dumps(value, ensure_ascii=False)


def _identities(path: str) -> tuple[tuple[int, int] | None, ...]:
    """Device and inode of the file and of SQLite's beside it; None for one that is not there."""
    found: list[tuple[int, int] | None] = []
    for suffix in ("", *_BESIDE):
        try:
            facts = os.stat(path + suffix)
        except OSError:
            found.append(None)
        else:
            found.append((facts.st_dev, facts.st_ino))
    return tuple(found)
