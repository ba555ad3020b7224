"""Rules about brackets and quotes, by counting (threadrunner.syntax), each with the case that made it. Pure."""

from __future__ import annotations

from threadrunner.lsp.suggest.cursor import Cursor, indent
from threadrunner.syntax.joins import must_join


def cut_second_closer(text: str, cursor: Cursor) -> str:
    """`print(|)` answered with `x)\\n    y = 1`, `print('|')` with `a'`: the closer is there already, so the text ends
    before its own. `print(|)` answered with `f(x)` keeps its own, and so does `for (|` above a body that stands."""
    at = cursor.room.excess(text)
    return text if at is None else text[:at] if cursor.tail.strip() else text[:at].rstrip()


def cut_tail_again(text: str, cursor: Cursor) -> str:
    """`x = | + y` answered with `a + y`: what ends the text is behind the cursor already."""
    tail = cursor.tail.rstrip()
    first, _, rest = text.partition("\n")
    if len(tail.strip()) < 2 and not (tail.strip() and not rest.strip() and not cursor.room.counted):
        return text
    for line in (text.rstrip(), first.rstrip()):
        if line.endswith(tail) and (must_join(tail) or not cursor.room.counted):
            return line[: -len(tail)]
    return text


def keep_what_fits(text: str, cursor: Cursor) -> str:
    """`foo(` and five lines, of which the last closes one bracket too many or too few: the lines up to which the fewest
    brackets are left to close or to open. What leaves more of them than there were is no suggestion, unless it is one
    line that others may follow."""
    room = cursor.room
    best, fewest, end = text, room.after(text).faults, len(text.rstrip())
    while fewest and (end := text.rfind("\n", 0, end)) > 0:
        faults = room.after(text[:end]).faults if text[:end].strip() else fewest
        if faults < fewest and not text[end:].lstrip().startswith("{"):
            best, fewest = text[:end], faults
    if fewest <= room.faults or (not cursor.tail.strip() and "\n" not in best.strip()):
        return best
    return ""


def drop_head_without_body(text: str, cursor: Cursor) -> str:
    """A last line that begins a block, `if x:`, above one that is not indented more: what it begins is missing."""
    if cursor.facts.blocks != "indent" or cursor.tail.strip() or "\n" not in text.strip():
        return text
    lines, _, last = text.rstrip().rpartition("\n")
    if last.endswith(":") and not (cursor.below and indent(cursor.below[0]) > indent(last)):
        return lines
    return text


