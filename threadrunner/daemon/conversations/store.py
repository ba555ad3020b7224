"""The conversations' file: one SQLite connection. Blocking; queue.py gives it a thread of its own.

Rule: every change is one transaction, and it is on the disk when `change` returns.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from threadrunner.api.errors import StorageFailed
from threadrunner.daemon.conversations import schema


class Store:
    """Rows in and rows out. turns.py, sessions.py and notes.py say what they mean. Raises StorageFailed where the file
    fails."""

    def __init__(self, path: str) -> None:
        self._db = schema.connect(path)

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk at the end, undone by an exception."""
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
        """All rows of a query; inside `change`, as the transaction sees them."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(error) from None

    def scrub(self) -> None:
        """Remove what was deleted from the log beside the file too, if no other process reads it at the moment."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def to_json(value: Any) -> str:
    """As the file's columns hold JSON."""
    return json.dumps(value, ensure_ascii=False)


def _failed(error: sqlite3.Error) -> StorageFailed:
    return StorageFailed(
        f"the conversations' file: {error}; is the disk full, or the file not ours to write? `threadrunner doctor` "
        "shows where it is"
    )
