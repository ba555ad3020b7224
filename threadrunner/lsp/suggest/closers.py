"""Rules about brackets and quotes, by counting (threadrunner.syntax), each with the case that made it. Pure."""

from __future__ import annotations

import re

from threadrunner.lsp.suggest.cursor import Cursor, indent
from threadrunner.syntax.joins import closers_alone, must_join
from threadrunner.syntax.scan import CLOSERS, scan


def cut_second_closer(text: str, cursor: Cursor) -> str:
    """`print(|)` answered with `x)\\n    y = 1`, `print('|')` with `a'`: the closer is there already, so the text ends
    before its own. `print(|)` answered with `f(x)` keeps its own, and so does `for (|` above a body that stands."""
    at = cursor.around.excess(text)
    if at is not None and cursor.around.takes(text):
        return text  # it opens as many again, some lines later
    return text if at is None else text[:at] if cursor.tail.strip() else text[:at].rstrip()


def cut_tail_again(text: str, cursor: Cursor) -> str:
    """`x = | + y` answered with `a + y`: what ends the text is behind the cursor already. So are closers where brackets
    are not counted, `(see |)` in prose, unless the text has opened them itself."""
    tail = cursor.tail.rstrip()
    first, _, rest = text.partition("\n")
    joins = must_join(tail)
    counted = cursor.around.counted and cursor.facts.blocks != "tags"  # where `">` closes, brackets say little
    if len(tail.strip()) < (TELLING if joins else 1) or (not joins and (counted or rest.strip())):
        return text
    for line in (text.rstrip(), first.rstrip()):
        if line.endswith(tail) and (joins or _closes_too_much(cursor.head + line + tail, tail.strip()[0])):
            return line[: -len(tail)]
    return text


MOST_LINES = 40
"""Lines that are taken back, at most: for each, all around the cursor is read again."""
TELLING = 4
"""Characters of the rest of a line; fewer may be the text's own."""


def _closes_too_much(line: str, closer: str) -> bool:
    opener = CLOSERS.get(closer, closer)
    return line.count(closer) % 2 == 1 if opener == closer else line.count(opener) < line.count(closer)


def cut_at_comment_end(text: str, cursor: Cursor) -> str:
    """`// sorts the|` answered with ` list` and with a function below: the comment is what was being written. Code may
    follow one that is complete: where the text begins on the next line. A comment's line that is put between two of its
    lines is followed by none but its own."""
    if _between_comments(cursor):
        lines = text.split("\n")
        own = [line.lstrip().startswith(cursor.facts.line_comments) for line in lines]
        return "\n".join(lines[: own.index(False)]) if own[0] and not all(own) else text
    return text[: cursor.around.comment_end(text)]


def _between_comments(cursor: Cursor) -> bool:
    """Whether the cursor's line is blank, and the lines directly above and below it are comments of lines."""
    signs = cursor.facts.line_comments
    if not signs or (cursor.head + cursor.tail).strip() or cursor.around.inside is not None:
        return False
    above, below = cursor.prefix.split("\n")[-2:-1], cursor.suffix.split("\n")[1:2]
    return bool(above and below) and all(line.lstrip().startswith(signs) for line in (*above, *below))


def keep_what_fits(text: str, cursor: Cursor) -> str:
    """`foo(` and five lines, of which the last closes one bracket too many or too few: the lines up to which the fewest
    brackets are left to close or to open. What leaves more of them than there were is no suggestion, unless it is one
    line that others may follow. `for (|` above a body that stands, answered with the head and a body of its own, ends
    with the head."""
    inside = cursor.around.inside
    before, whole = cursor.around.faults, cursor.around.after(text).faults
    if before is None and inside is not None and not inside.comment:
        before = 0  # a string, which the text may end
    if not whole or before is None:
        return text
    if (at := cursor.around.opened_enough(text)) is not None:
        return text[: _body_end(text, at, cursor)]
    best, fewest, end = text, whole, len(text.rstrip())
    for _ in range(MOST_LINES):
        if not fewest or (end := text.rfind("\n", 0, end)) <= 0:
            break
        faults = cursor.around.after(text[:end]).faults if text[:end].strip() else None
        if faults is not None and faults < fewest and not text[end:].lstrip().startswith("{"):
            best, fewest = text[:end], faults
    return best if fewest <= before or not cursor.tail.strip() else ""


def _body_end(text: str, head_end: int, cursor: Cursor) -> int:
    """The end of a block's head whose body stands already, or of its body where only the closer does."""
    end = head_end
    while cursor.below and closers_alone(cursor.below[0]):
        further = text.find("\n", end + 1)
        if further < 0 or cursor.around.after(text[:further]).faults:
            break
        end = further
    return end


def drop_head_without_body(text: str, cursor: Cursor) -> str:
    """A last line that begins a block, `if x:`, above one that is not indented more: what it begins is missing. Of a
    text of one line nothing is dropped."""
    if cursor.tail.strip():
        return text
    while "\n" in text.strip():
        lines, _, last = text.rstrip().rpartition("\n")
        below = cursor.below[0] if cursor.below else ""
        if not _begins_a_block(last, cursor) or indent(below) > indent(last) or closers_alone(below):
            return text
        text = lines
    return text


def cut_second_body(text: str, cursor: Cursor) -> str:
    """An empty line above lines that are indented more, answered with a whole `f() {…}`: the body stands already, so
    the text ends with its head. One that leaves a bracket open needs no cut. Only where braces make blocks: what words
    and indentation leave open is not counted."""
    depth = indent(cursor.head)
    if cursor.facts.blocks != "braces" or (cursor.head + cursor.tail).strip() or cursor.around.inside is not None:
        return text
    if not cursor.below or indent(cursor.below[0]) <= depth or not re.match(r"[ \t]+\w", cursor.below[0]):
        return text
    found = scan(text, cursor.facts)
    if found.opened or found.inside is not None:
        return text
    lines = text.rstrip().split("\n")
    heads = [n for n, line in enumerate(lines) if line.endswith("{") and indent(line) == (depth if n else 0)]
    return "\n".join(lines[: heads[-1] + 1]) if heads else text


_WORD_HEAD = re.compile(
    r"\s*(?:def|class|module|if|unless|while|until|for|case|begin|function|local function)\b(?!.*\bend\b)"
    r"|.*\b(?:do|then|else)(?:\s*\|[^|]*\|)?\s*\Z"
)


def _begins_a_block(line: str, cursor: Cursor) -> bool:
    found = scan(line, cursor.facts)
    if found.inside is not None or found.missing:
        return False  # a comment; or the end of a head of several lines, whose indentation says nothing
    if cursor.facts.blocks == "indent":
        return line.endswith(":")
    if cursor.facts.blocks == "words" and _WORD_HEAD.match(line):
        return True
    return cursor.unfinished and cursor.facts.blocks in ("braces", "words") and line.endswith(("{", "(", "["))
