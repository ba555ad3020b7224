"""Rules about where a text ends, each with the case that made it. Pure; texts are some hundred characters."""

from __future__ import annotations

import re

from threadrunner.lsp.suggest.cursor import Cursor, indent
from threadrunner.syntax.joins import closers_alone
from threadrunner.syntax.scan import scan

_MARKUP = re.compile(r"<\|[a-z_]{2,30}\|>|<(?:fim|file)_[a-z]+>|<\uff5c")
_FENCE = re.compile(r"(?m)^[ \t]*```")


def cut_at_markup(text: str, cursor: Cursor) -> str:
    """Instruct models end code with a Markdown fence, and write FIM tokens of another family as plain text. A fence
    stays where the language has them: in Markdown, in a comment, in a string of several lines."""
    found = _MARKUP.search(text)
    text = text[: found.start()] if found else text
    if cursor.facts.fences:
        return text
    for fence in _FENCE.finditer(text):
        if not scan(text[: fence.start()], cursor.facts, inside=cursor.around.inside).inside:
            return text[: fence.start()].removesuffix("\n")
    return text


def cut_unfinished_line(text: str, cursor: Cursor) -> str:
    """`return sum(x for x` where the tokens ran out: half a line is worth showing only when it is all there is."""
    whole = text.rfind("\n")  # a time limit ends at a line's end: then no line is half
    half = cursor.unfinished and not _MARKUP.search(text, whole + 1)  # what is behind markup is another text
    return text[:whole] if half and whole > 0 and text[:whole].strip() else text


def cut_at_blank_lines(text: str, _cursor: Cursor) -> str:
    """Two blank lines in a row end what is being written; what follows them is something else."""
    found = re.search(r"\S[^\n]*\n([ \t]*\n){2}", text)
    return text[: text.index("\n", found.start())] if found else text


def cut_at_block_end(text: str, cursor: Cursor) -> str:
    """The cursor's block ends at the first line that is indented less, unless the file continues there.

    The suffix decides: text may be indented as little as the line below the cursor is, which it leads to. A line of
    closers alone still belongs to the block it closes. In Lisp, brackets say it and indentation does not, but for a
    bracket at a line's beginning.
    """
    if cursor.facts.blocks == "lists":
        return text.partition("\n(")[0] if cursor.head else text
    head = cursor.head if cursor.head.strip() else cursor.head + text[: len(text) - len(text.lstrip(" \t"))]
    allowed = indent(head)
    if cursor.below:
        allowed = min(allowed, indent(cursor.below[0]))
    elif allowed:
        allowed = 1
    kept: list[str] = []
    deeper = False
    for number, line in enumerate(text.split("\n")):
        if number and line.strip():
            depth = indent(line)
            deeper = deeper or depth > allowed
            out = depth < allowed or (not cursor.below and allowed == 0 and depth == 0 and deeper)
            if out and not _continues(line, cursor):
                return "\n".join(kept).rstrip() if any(map(str.strip, kept)) else ""
        kept.append(line)
    return text


_FIRST = re.compile(r"\s*(?:[)\]}>;,]+|(\w+))")


def _continues(line: str, cursor: Cursor) -> bool:
    found = _FIRST.match(line)
    if found is None or found[1] is None:
        return found is not None
    return found[1] in cursor.facts.middle_words or found[1] in cursor.facts.end_words


def cut_second_end(text: str, cursor: Cursor) -> str:
    """`end` above an `else` or an `end` that is indented alike: the block has one already. So has the block whose head
    is being typed, `case |`, where what is below is indented more."""
    if not cursor.below:
        return text
    goes_on = _first_word(cursor.below[0]) in cursor.facts.middle_words | cursor.facts.end_words
    depth = indent(cursor.below[0]) if goes_on else indent(cursor.head)
    if not goes_on and (not cursor.head.strip() or indent(cursor.below[0]) <= depth):
        return text
    end = text.find("\n")
    while end >= 0:
        line = text[end + 1 :].partition("\n")[0]
        if _first_word(line) in cursor.facts.end_words and indent(line) == depth:
            return text[:end]
        end = text.find("\n", end + 1)
    return text


def _first_word(line: str) -> str:
    found = _FIRST.match(line)
    return (found and found[1]) or ""


AGREE = 4
"""Lines of a text that must be those below the cursor for it to have reached them."""


def cut_at_below(text: str, cursor: Cursor) -> str:
    """The model repeats what is below the cursor already: everything from there on is cut.

    A line that could be anywhere (`}`, `else:`, `return`) counts only if all that follows is below as well, any other
    if the next AGREE lines are: tests of a file begin alike. A line that the file says twice in a row may come once
    more."""
    if not cursor.below or cursor.around.inside is not None:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        whole = (cursor.head + line if not number else line).rstrip()
        if whole != cursor.below[0] or (not number and not line):
            continue
        rest = [other.rstrip() for other in lines[number:] if other.strip()]
        counted = cursor.around.counted and closers_alone(whole)
        near = cursor.below[1 : min(len(rest), AGREE)]
        telling = len(re.findall(r"\w", "".join([whole, *near]))) >= 8 and not _anywhere(whole, cursor)
        same = rest[1 : 1 + len(near)] == near and (len(rest) > 1 or cursor.below[1:2] != cursor.below[:1])
        if (telling and same) or (number and not counted and rest[1:] == cursor.below[1 : len(rest)]):
            return "\n".join(lines[:number])
    return text


_ANYWHERE = re.compile(r"\s*(?:return|pass|break|continue|try|end)\b\W*\w*\W*\Z")


def _anywhere(line: str, cursor: Cursor) -> bool:
    return bool(_ANYWHERE.match(line)) or line.strip(" \t:{}") in cursor.facts.middle_words


def cut_loops(text: str, cursor: Cursor) -> str:
    """Small models fall into loops: the same few lines, or the same few characters again and again, up to where their
    tokens ran out, or one letter. A ruler (`-----`) is one sign, and no loop; nor are a few closing tags, or a row of a
    table of numbers that goes on otherwise."""
    looped = _LOOP.search(text)
    if looped and len(set(looped[1].strip())) > 1 and looped[1].startswith(looped[2].rstrip()):
        text = _without_half(text[: looped.end(1)], cursor)
    if (run := _RUN.search(text)) is not None:
        text = _without_half(text[: run.end(1)], cursor)
    lines = text.split("\n")
    for period in range(1, 7):
        for start in range(len(lines) - 3 * period + 1):
            block = lines[start : start + period]
            turns = 2 if any(not _CLOSING_TAG.match(line) for line in block) else 5
            if any(map(str.strip, block)) and all(
                lines[start + turn * period : start + (turn + 1) * period] == block for turn in range(1, turns + 1)
            ):
                return "\n".join(lines[: start + period])
    return text


def _without_half(text: str, cursor: Cursor) -> str:
    """Without its last line, which a loop has cut; where it is all there is, it stays if nothing stands behind it."""
    lines = text.rpartition("\n")[0]
    return lines if lines.strip() else "" if cursor.tail.strip() else text


_LOOP = re.compile(r"(.{3,40}?)\1{5,}(.{0,40})\Z")
_CLOSING_TAG = re.compile(r"\s*(?:</[\w:.-]+>\s*)*\Z")
_RUN = re.compile(r"(\w)\1{15,}\Z")
