"""Notes, and the search for those notes and past turns that are relevant to a prompt: by words and by meaning.

Two rankings are fused: full-text search, which finds names and rare words, and nearness of embeddings, which finds
what was said in other words. Each passage gets 1 / (60 + its place) from each ranking (reciprocal rank fusion, which
needs no common scale). Embeddings are made by the model that answers, in idle time, and kept beside the passages.
"""

from __future__ import annotations

import math
import re
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from operator import mul
from typing import NamedTuple

from threadrunner.api.conversations import Note, Notes, Source
from threadrunner.api.errors import InvalidParams
from threadrunner.daemon.conversations.store import Store

PASSAGES = 4
PASSAGE_CHARS = 600
TOTAL_CHARS = 2000
CANDIDATES = 20
NEWEST = 2000
"""Vectors that are compared at most: in Python each takes about 25 microseconds."""

NEAR = 0.55
"""Minimum cosine, measured from the mean of all passages, for one that shares no word with the prompt."""

_FUSION = 60
_COMMON = """
    a about all also am an and any are as at be been but by can could did do does for from had has have he her
    him his how i if in into is it its just me more my no not of on one or our out say she should so some tell
    than that the their them then there these they this to up us was we were what when where which who why
    will with would you your der die das und ist ich du wir le la les et est un une de
"""
_STOP = frozenset(re.findall(r"\w+", _COMMON))


class Passage(NamedTuple):
    kind: str
    id: int
    """The row's, by which its vector is found."""
    source: Source


def add(store: Store, text: str, now: float) -> Note:
    with store.change() as db:
        made = db.execute("INSERT INTO notes (text, created) VALUES (?, ?)", (text, now))
    return Note(int(made.lastrowid or 0), text, now)


def listing(store: Store, limit: int) -> Notes:
    rows = store.rows("SELECT * FROM notes ORDER BY id DESC LIMIT ?", limit)
    return Notes([Note(row["id"], row["text"], row["created"]) for row in rows])


def delete(store: Store, id: int) -> Note:
    """The note that was deleted. Raises InvalidParams for a number that no note has, StorageFailed."""
    rows = store.rows("SELECT * FROM notes WHERE id = ?", id)
    if not rows:
        raise InvalidParams(f"there is no note {id}; `threadrunner memory list` shows the numbers")
    with store.change() as db:
        db.execute("DELETE FROM notes WHERE id = ?", (id,))
        db.execute("INSERT INTO note_words (note_words) VALUES ('optimize')")
    store.scrub()
    return Note(rows[0]["id"], rows[0]["text"], rows[0]["created"])


def recall(
    store: Store,
    text: str,
    *,
    vector: Sequence[float] | None,
    model: str,
    exclude_session: int | None,
    limit: int = PASSAGES,
) -> list[Source]:
    """At most `limit` passages that are relevant to `text`, the most relevant first, TOTAL_CHARS of text in all.

    `exclude_session` is the id of a conversation whose turns the model sees anyway; `vector` is the text's, of
    length 1, made by `model`. Raises StorageFailed.
    """
    worded = by_words(store, text, exclude_session)
    near = by_meaning(store, vector, model, exclude_session) if vector else []
    chosen = fuse([worded, near])[:limit]
    passages = {(passage.kind, passage.id): passage.source for passage in _passages(store, [key for key, _ in chosen])}
    found: list[Source] = []
    size = 0
    for key, score in chosen:
        source = passages.get(key)
        if source is None or (found and size + len(source.text) > TOTAL_CHARS):
            continue
        size += len(source.text)
        source.score = round(score, 5)
        found.append(source)
    return found


Key = tuple[str, int]


def fuse(rankings: Iterable[Sequence[Key]]) -> list[tuple[Key, float]]:
    scores: dict[Key, float] = {}
    for ranking in rankings:
        for place, key in enumerate(ranking):
            scores[key] = scores.get(key, 0.0) + 1 / (_FUSION + place)
    return sorted(scores.items(), key=lambda item: -item[1])


def words(text: str) -> list[str]:
    """The first 32 words of a text that carry meaning, lower case, each once."""
    found = dict.fromkeys(word for word in re.findall(r"\w+", text.lower()) if len(word) > 1 and word not in _STOP)
    return list(found)[:32]


def by_words(store: Store, text: str, exclude_session: int | None) -> list[Key]:
    wanted = words(text)
    if not wanted:
        return []
    query = " OR ".join(f'"{word}"' for word in wanted)
    rows = store.rows(
        "SELECT 'note' AS kind, rowid AS id, bm25(note_words) AS score FROM note_words WHERE note_words MATCH ? "
        "UNION ALL SELECT 'turn', turn_words.rowid, bm25(turn_words) FROM turn_words JOIN turns "
        "ON turns.id = turn_words.rowid WHERE turn_words MATCH ? AND turns.state = 'done' "
        "AND turns.session IS NOT ? ORDER BY score LIMIT ?",
        query, f"{{prompt answer}} : ({query})", exclude_session, CANDIDATES,  # what tools said is no memory
    )  # fmt: skip
    return [(row["kind"], row["id"]) for row in rows]


def by_meaning(store: Store, vector: Sequence[float], model: str, exclude_session: int | None) -> list[Key]:
    """The passages nearest to `vector`, the nearest first. Measured from the mean of all vectors: those of language
    models all point in about the same direction."""
    rows = store.rows(
        "SELECT kind, id, vector FROM vectors WHERE model = ? AND NOT (kind = 'turn' AND id IN "
        "(SELECT id FROM turns WHERE session IS ?)) ORDER BY id DESC LIMIT ?",
        model, exclude_session, NEWEST,
    )  # fmt: skip
    stored = [((row["kind"], row["id"]), unpacked(row["vector"])) for row in rows]
    stored = [(key, other) for key, other in stored if len(other) == len(vector)]
    if len(stored) < 4:  # too few for a mean
        return []
    mean = [sum(column) / len(stored) for column in zip(*(other for _, other in stored), strict=True)]
    asked = _direction(mean, vector)
    scored = [(key, sum(map(mul, asked, _direction(mean, other)))) for key, other in stored]
    scored.sort(key=lambda item: -item[1])
    return [key for key, score in scored[:CANDIDATES] if score >= NEAR]


def _direction(mean: Sequence[float], vector: Sequence[float]) -> list[float]:
    moved = [x - m for x, m in zip(vector, mean, strict=True)]
    length = math.sqrt(sum(map(mul, moved, moved))) or 1.0
    return [x / length for x in moved]


def without_vector(store: Store, model: str, limit: int) -> list[tuple[Key, str]]:
    """At most `limit` passages that have no vector by `model` yet, the newest first, and their texts."""
    rows = store.rows(
        "SELECT 'note' AS kind, id FROM notes WHERE NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.kind = 'note' "
        "AND vectors.id = notes.id AND vectors.model = ?) UNION ALL SELECT 'turn', id FROM turns WHERE state = 'done' "
        "AND NOT EXISTS (SELECT 1 FROM vectors WHERE vectors.kind = 'turn' AND vectors.id = turns.id AND "
        "vectors.model = ?) ORDER BY id DESC LIMIT ?",
        model, model, limit,
    )  # fmt: skip
    keys = [(row["kind"], row["id"]) for row in rows]
    return [((passage.kind, passage.id), passage.source.text) for passage in _passages(store, keys)]


def save_vectors(store: Store, model: str, vectors: Sequence[tuple[Key, Sequence[float]]]) -> None:
    """Keep the vectors of those passages that still exist."""
    with store.change() as db:
        for (kind, id), vector in vectors:
            there = "notes" if kind == "note" else "turns"
            db.execute(
                f"INSERT OR REPLACE INTO vectors (kind, id, model, vector) SELECT ?, ?, ?, ? WHERE EXISTS "
                f"(SELECT 1 FROM {there} WHERE id = ?)",
                (kind, id, model, packed(vector), id),
            )


def packed(vector: Sequence[float]) -> bytes:
    return array("f", vector).tobytes()


def unpacked(data: bytes) -> array[float]:
    vector = array("f")
    vector.frombytes(data)
    return vector


def _passages(store: Store, keys: Sequence[Key]) -> list[Passage]:
    found: list[Passage] = []
    for kind, id in keys:
        if kind == "note":
            rows = store.rows("SELECT text FROM notes WHERE id = ?", id)
            found += [Passage("note", id, Source("note", id, _cut(row["text"], PASSAGE_CHARS))) for row in rows]
        else:
            found += [Passage("turn", id, _turn(row)) for row in store.rows(_TURN, id)]
    return found


_TURN = """SELECT turns.prompt, turns.answer, sessions.name,
    (SELECT count(*) FROM turns AS b WHERE b.session = turns.session AND b.id <= turns.id) AS number
    FROM turns JOIN sessions ON sessions.id = turns.session WHERE turns.id = ?"""


def _turn(row: sqlite3.Row) -> Source:
    half = PASSAGE_CHARS // 2
    said = (("asked", row["prompt"]), ("answered", row["answer"]))  # one is empty where there are calls or results
    text = " ".join(f"{what}: {_cut(part, half)}" for what, part in said if part)
    return Source("turn", row["number"], text, row["name"])


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
