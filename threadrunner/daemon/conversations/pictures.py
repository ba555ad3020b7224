"""The pictures of a conversation's turns, in the store: the files themselves, since they are shown to the model again
with each turn that follows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from threadrunner.api.chat import MAX_IMAGES, PICTURE, ImagePart, TextPart
from threadrunner.daemon.conversations.store import Store

MAX_BYTES = 32 << 20
"""Of pictures that one request has; what a worker is sent is limited."""
STEP = 8
"""Old pictures leave in groups: whenever one leaves, the model must evaluate all behind it again."""


def left_out(sizes: Sequence[int], new: int) -> int:
    """How many of a conversation's pictures, the oldest first, are not shown to the model any more; `sizes` are those
    of all, in bytes, and the last `new` belong to the turn that is to be answered."""
    count, old = 0, len(sizes) - new
    while count < old and (len(sizes) - count > MAX_IMAGES or sum(sizes[count:]) > MAX_BYTES):
        count = min(count + STEP, old)
    return count


def insert(db: sqlite3.Connection, turn: int, images: Sequence[ImagePart]) -> None:
    """Inside a transaction."""
    rows = [(turn, number, image.media_type, image.data) for number, image in enumerate(images)]
    db.executemany("INSERT INTO pictures (turn, number, media_type, data) VALUES (?, ?, ?, ?)", rows)


def of_replaced(db: sqlite3.Connection, session: int, replace: int) -> list[ImagePart]:
    """Those of the first of the conversation's last `replace` turns."""
    last = "SELECT id FROM turns WHERE session = ? ORDER BY id DESC LIMIT ?"
    rows = db.execute(
        f"SELECT data, media_type FROM pictures WHERE turn = (SELECT min(id) FROM ({last})) ORDER BY number",
        (session, replace),
    )
    return [ImagePart(row["data"], row["media_type"]) for row in rows]


def copy(db: sqlite3.Connection, old: int, new: int) -> None:
    """From a conversation's finished turns to those of its copy, which are in the same order."""
    turns = "SELECT id, row_number() OVER (ORDER BY id) AS place FROM turns WHERE session = ?"
    db.execute(
        "INSERT INTO pictures (turn, number, media_type, data) "
        f"SELECT made.id, number, media_type, data FROM ({turns} AND state != 'open') AS had "
        f"JOIN ({turns}) AS made USING (place) JOIN pictures ON pictures.turn = had.id",
        (old, new),
    )


def up_to(store: Store, session: int, turn: int) -> dict[int, list[ImagePart | TextPart]]:
    """Turn to its pictures, up to the one with the id `turn`, which is to be answered; a word stands for those that
    the model is not shown any more."""
    rows = store.rows(
        "SELECT pictures.id, turn, length(data) AS size FROM pictures JOIN turns ON turns.id = turn "
        "WHERE session = ? AND turn <= ? ORDER BY turn, number",
        session, turn,
    )  # fmt: skip
    gone = left_out([row["size"] for row in rows], sum(row["turn"] == turn for row in rows))
    found: dict[int, list[ImagePart | TextPart]] = {}
    for place, row in enumerate(rows):
        part: ImagePart | TextPart = TextPart(f"{PICTURE}\n") if place < gone else _read(store, row["id"])
        found.setdefault(row["turn"], []).append(part)
    return found


def _read(store: Store, id: int) -> ImagePart:
    (row,) = store.rows("SELECT data, media_type FROM pictures WHERE id = ?", id)
    return ImagePart(row["data"], row["media_type"])
