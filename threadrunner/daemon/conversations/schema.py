"""The file that conversations are kept in: how it is opened, and what its versions look like.

`PRAGMA user_version` counts the migrations that a file has had. A file that a newer version has written is left
alone. Only ever add to MIGRATIONS.
"""

from __future__ import annotations

import os
import sqlite3
import stat

from threadrunner.api.errors import StorageFailed
from threadrunner.system import files

BUSY_SECONDS = 10  # a second daemon with the same home, or an sqlite3 shell, may hold the lock for a moment

DAMAGED = (
    "if it is damaged, move it away, and the -wal file beside it with it: a new one is made, and prompts without a "
    "conversation never need it"
)

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        model TEXT, backend TEXT, mode TEXT, system TEXT,
        params TEXT NOT NULL DEFAULT '{}',
        window_start INTEGER NOT NULL DEFAULT 0,    -- the first turn that the model is still shown
        window_limit INTEGER NOT NULL DEFAULT 0,    -- the context that this was decided for
        created REAL NOT NULL, used REAL NOT NULL,
        forked_from TEXT
    ) STRICT;
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        prompt TEXT NOT NULL,
        recalled TEXT,                              -- passages put before the prompt, as the model was shown
        sources TEXT,
        answer TEXT,
        state TEXT NOT NULL CHECK (state IN ('open', 'done', 'stopped', 'failed', 'lost')),
        model TEXT, error TEXT, prompt_tokens INTEGER, completion_tokens INTEGER,
        began REAL NOT NULL, ended REAL
    ) STRICT;
    CREATE INDEX turns_by_session ON turns (session, id);
    CREATE INDEX turns_open ON turns (id) WHERE state = 'open';
    CREATE VIRTUAL TABLE turn_words USING fts5 (
        prompt, answer, content = 'turns', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
    CREATE TRIGGER turns_in AFTER INSERT ON turns BEGIN
        INSERT INTO turn_words (rowid, prompt, answer) VALUES (new.id, new.prompt, new.answer);
    END;
    CREATE TRIGGER turns_out AFTER DELETE ON turns BEGIN
        INSERT INTO turn_words (turn_words, rowid, prompt, answer) VALUES ('delete', old.id, old.prompt, old.answer);
    END;
    CREATE TRIGGER turns_changed AFTER UPDATE OF prompt, answer ON turns BEGIN
        INSERT INTO turn_words (turn_words, rowid, prompt, answer) VALUES ('delete', old.id, old.prompt, old.answer);
        INSERT INTO turn_words (rowid, prompt, answer) VALUES (new.id, new.prompt, new.answer);
    END;
    """,
    """
    CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, created REAL NOT NULL) STRICT;
    CREATE VIRTUAL TABLE note_words USING fts5 (
        text, content = 'notes', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
    CREATE TRIGGER notes_in AFTER INSERT ON notes BEGIN
        INSERT INTO note_words (rowid, text) VALUES (new.id, new.text);
    END;
    CREATE TRIGGER notes_out AFTER DELETE ON notes BEGIN
        INSERT INTO note_words (note_words, rowid, text) VALUES ('delete', old.id, old.text);
        DELETE FROM vectors WHERE kind = 'note' AND id = old.id;
    END;
    CREATE TABLE vectors (
        kind TEXT NOT NULL CHECK (kind IN ('note', 'turn')),
        id INTEGER NOT NULL,
        model TEXT NOT NULL,                        -- vectors of two models cannot be compared
        vector BLOB NOT NULL,
        PRIMARY KEY (kind, id, model)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER turn_vectors_out AFTER DELETE ON turns BEGIN
        DELETE FROM vectors WHERE kind = 'turn' AND id = old.id;
    END;
    """,
    """
    ALTER TABLE sessions ADD COLUMN tools TEXT;         -- that its turns are generated with
    ALTER TABLE turns ADD COLUMN results TEXT;          -- of the calls of the turn before
    ALTER TABLE turns ADD COLUMN calls TEXT;            -- of the answer
    ALTER TABLE turns ADD COLUMN reasoning TEXT;        -- not searched: it is no part of what was said
    ALTER TABLE turns ADD COLUMN reasoning_tokens INTEGER;
    -- The text in results and calls, for the search: FTS5 reads its content where json_each cannot be used.
    ALTER TABLE turns ADD COLUMN tool_words TEXT;
    DROP TRIGGER turns_in;
    DROP TRIGGER turns_out;
    DROP TRIGGER turns_changed;
    DROP TABLE turn_words;
    CREATE VIRTUAL TABLE turn_words USING fts5 (
        prompt, answer, tool_words,
        content = 'turns', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
    INSERT INTO turn_words (turn_words) VALUES ('rebuild');
    CREATE TRIGGER turns_in AFTER INSERT ON turns BEGIN
        INSERT INTO turn_words (rowid, prompt, answer, tool_words)
            VALUES (new.id, new.prompt, new.answer, new.tool_words);
    END;
    CREATE TRIGGER turns_out AFTER DELETE ON turns BEGIN
        INSERT INTO turn_words (turn_words, rowid, prompt, answer, tool_words)
            VALUES ('delete', old.id, old.prompt, old.answer, old.tool_words);
    END;
    CREATE TRIGGER turns_changed AFTER UPDATE OF prompt, answer, tool_words ON turns BEGIN
        INSERT INTO turn_words (turn_words, rowid, prompt, answer, tool_words)
            VALUES ('delete', old.id, old.prompt, old.answer, old.tool_words);
        INSERT INTO turn_words (rowid, prompt, answer, tool_words)
            VALUES (new.id, new.prompt, new.answer, new.tool_words);
    END;
    """,
    """
    CREATE TABLE pictures (                         -- of what the user said; the files as they were sent
        id INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        media_type TEXT,
        data BLOB NOT NULL
    ) STRICT;
    CREATE INDEX pictures_by_turn ON pictures (turn, number);
    """,
)


def connect(path: str) -> sqlite3.Connection:
    """The file at `path`, made if it does not exist, and brought to our version. Raises StorageFailed."""
    try:
        # Made by us and not by SQLite, so that no other user can read it for even a moment; -wal and -shm get its mode.
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        made = os.open(path, os.O_RDWR | os.O_CREAT | files.OWN | files.NOFOLLOW | files.NONBLOCK, 0o600)
        regular = stat.S_ISREG(os.fstat(made).st_mode)
        os.close(made)
        if not regular:
            raise StorageFailed(f"{path} is not a file; move it away: a new one is made")
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StorageFailed(f"cannot open the conversations' file {path}: {error}; conversations need it") from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StorageFailed(f"{path} cannot be used: {error}; {DAMAGED}") from None
    except StorageFailed:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    # A turn that was acknowledged survives a power cut too: two syncs a turn, against seconds of generation.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # deleted text is not left readable in the file
    migrate(connection, path)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to our version, in one transaction. Raises StorageFailed for one that is newer."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StorageFailed(
                f"{path} was written by a newer threadrunner (format {version}, ours is {len(MIGRATIONS)}); update "
                "this one, or set THREADRUNNER_HOME to another folder"
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def statements(script: str) -> list[str]:
    """The script's statements; executescript() would commit what runs already."""
    found, current = [], ""
    for line in script.splitlines():
        current += f"{line}\n"
        if sqlite3.complete_statement(current):
            found.append(current.strip())
            current = ""
    return found
