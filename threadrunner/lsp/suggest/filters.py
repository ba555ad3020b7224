"""What a model generates, made fit to show: one function per rule, with the case that made it, in PIPELINE's order.

Pure: a rule takes the text and the cursor and returns the text, whole, cut or empty (nothing to show). Line ends are
LF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from threadrunner.lsp.suggest import brackets
from threadrunner.lsp.suggest.text import CursorText, indent_width

TAB_WIDTH = 4
"""Columns of a tab, where tabs and spaces are compared."""


@dataclass(frozen=True)
class Cursor(CursorText):
    """Where the text would go."""

    language: str = ""
    unfinished: bool = False
    """The model was stopped by a limit, not by itself."""
    whole: bool = True
    """Prefix and suffix are all of the file."""

    @property
    def below(self) -> list[str]:
        """The lines below the cursor's line that are not blank."""
        return [line.rstrip() for line in self.suffix.split("\n")[1:] if line.strip()]

    @property
    def above(self) -> str:
        """The nearest line above the cursor's line that is not blank; empty for none."""
        lines = self.prefix.split("\n")[:-1]
        return next((line.rstrip() for line in reversed(lines) if line.strip()), "")


Rule = Callable[[str, Cursor], str]


def cut_at_markup(text: str, _cursor: Cursor) -> str:
    """Instruct models end code with a Markdown fence, and write FIM tokens of another family as plain text."""
    found = re.search(r"\n?```|<\|[a-z_]{2,30}\|>|<(?:fim|file)_[a-z]+>|<\uff5c", text)
    return text[: found.start()] if found else text


def cut_unfinished_line(text: str, cursor: Cursor) -> str:
    """`return sum(x for x` where the tokens ran out: half a line is worth showing only when it is all there is."""
    whole = text.rfind("\n")  # a time limit ends at a line's end: then no line is half
    return text[:whole] if cursor.unfinished and whole > 0 and text[:whole].strip() else text


def cut_at_blank_lines(text: str, _cursor: Cursor) -> str:
    """Two blank lines in a row end what is being written; what follows them is something else."""
    found = re.search(r"\S[^\n]*\n([ \t]*\n){2}", text)
    return text[: text.index("\n", found.start())] if found else text


def cut_at_block_end(text: str, cursor: Cursor) -> str:
    """The cursor's block ends at the first line that is indented less, unless the file continues there.

    The suffix decides: text may be indented as little as the line below the cursor is, which it leads to. A line of
    closers alone still belongs to the block it closes.
    """
    head = cursor.head if cursor.head.strip() else cursor.head + text[: len(text) - len(text.lstrip(" \t"))]
    allowed = _indent(head)
    if cursor.below:
        allowed = min(allowed, _indent(cursor.below[0]))
    elif allowed:
        allowed = 1
    kept: list[str] = []
    deeper = False
    for number, line in enumerate(text.split("\n")):
        if number and line.strip():
            indent = _indent(line)
            deeper = deeper or indent > allowed
            out = indent < allowed or (not cursor.below and allowed == 0 and indent == 0 and deeper)
            if out and not _CONTINUES.match(line):
                return "\n".join(kept).rstrip() if any(map(str.strip, kept)) else ""
        kept.append(line)
    return text


_CONTINUES = re.compile(r"\s*(?:[)\]}>;,]+|end\b|(?:else|elif|except|finally|catch|fi|done|esac)\b)")


def _indent(line: str) -> int:
    return indent_width(line, TAB_WIDTH)


def cut_at_below(text: str, cursor: Cursor) -> str:
    """The model repeats what is below the cursor already: everything from there on is cut.

    A line that could be anywhere (`}`, `else:`, `return`) counts only if all that follows is below as well.
    """
    if not cursor.below:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        whole = (cursor.head + line if not number else line).rstrip()
        if whole != cursor.below[0]:
            continue
        rest = [other.rstrip() for other in lines[number:] if other.strip()]
        repeated = rest[1:] == cursor.below[1 : len(rest)]
        if repeated or (len(re.findall(r"\w", whole)) >= 8 and not _ANYWHERE.match(whole)):
            return "\n".join(lines[:number])
    return text


_ANYWHERE = re.compile(r"\s*(?:return|pass|break|continue|else|finally|try|end)\b\W*\w*\W*\Z")


def cut_tail_again(text: str, cursor: Cursor) -> str:
    """`foo(|)` answered with `a, b)`: what ends the text is behind the cursor already.

    Closers alone may be needed twice: `foo(|)` answered with `bar(a)` needs both. They are cut only where they leave
    too few open for those behind the cursor. So are quotes: `print('|')` answered with `a', 'b'`.
    """
    tail = cursor.tail.rstrip()
    if not tail.strip():
        return text
    first, newline, rest = text.partition("\n")
    for line, others in ((text.rstrip(), ""), (first.rstrip(), newline + rest)):
        for size in range(len(tail), 0, -1):
            closers = not re.search(r"\w", tail[:size])
            if not ((size == len(tail) or closers) and line.endswith(tail[:size])):
                continue
            if closers and not (_ends_the_string(line, tail[0], cursor) or _closes_too_much(line + others, cursor)):
                return text
            # If the first line repeats all of the tail, the lines after it are out of place, and are cut with it.
            return line[:-size] if not others.strip() or size == len(tail) else text
    return text


def _ends_the_string(text: str, quote: str, cursor: Cursor) -> bool:
    """Whether the quote at the end of `text` ends the string that the quote behind the cursor should end: editors
    insert quotes in pairs."""
    if quote not in "\"'`":
        return False
    line = (cursor.head + text).rpartition("\n")[2]
    return _unescaped(line, quote) % 2 == 0 and _unescaped(cursor.tail, quote) % 2 == 1


def _unescaped(line: str, quote: str) -> int:
    return len(re.findall(rf"(?<!\\){re.escape(quote)}", line))


def _closes_too_much(text: str, cursor: Cursor) -> bool:
    """Whether fewer brackets are open after the text than the suffix closes: counted over the whole file if the window
    has it, else over the cursor's line."""
    prefix, suffix = (cursor.prefix, cursor.suffix) if cursor.whole else (cursor.head, cursor.tail)
    before, behind = brackets.scan(prefix), brackets.scan(suffix)
    if before is None or behind is None:
        return False
    found = brackets.scan(text, before[0])
    return found is not None and len(found[0]) < len(behind[1])


def cut_second_closer(text: str, cursor: Cursor) -> str:
    """`print(|)` answered with `x)\\n    y = 1`: the closer is there already, so the text ends before its own."""
    tail = cursor.tail.strip()
    found = brackets.scan(text)
    if found is None or not found[1] or tail[:1] != found[1][0]:
        return text
    return text[: found[2][0]]


def cut_unopened_closer(text: str, cursor: Cursor) -> str:
    """A closer with nothing left to close: what the suffix closes already is not open for the text."""
    if not cursor.whole:
        return text
    before, behind = brackets.scan(cursor.prefix), brackets.scan(cursor.suffix)
    if before is None or behind is None or before[1] or len(behind[1]) > len(before[0]):
        return text
    free = before[0][len(behind[1]) :]
    found = brackets.scan(text, free)
    return text[: found[2][0]].rstrip(" ") if found and found[2] else text


def cut_loops(text: str, _cursor: Cursor) -> str:
    """Small models fall into loops: the same line, the same few lines, or the same few characters again and again."""
    looped = re.search(r"(.{3,40}?)\1{5,}", text)
    if looped and re.search(r"\w", looped[1]):
        text = text[: looped.end(1)]
    lines = text.split("\n")
    for period in range(1, 7):
        for start in range(len(lines) - 3 * period + 1):
            block = lines[start : start + period]
            if any(map(str.strip, block)) and all(
                lines[start + turn * period : start + (turn + 1) * period] == block for turn in (1, 2)
            ):
                return "\n".join(lines[: start + period])
    return text


def keep_indentation(text: str, cursor: Cursor) -> str:
    """Behind `    |` a model may repeat the indentation, and only on the first line."""
    lead = len(text) - len(text.lstrip(" \t"))
    if cursor.head.strip() or not cursor.head or not lead or text[:lead] != cursor.head[:lead]:
        return text
    above = cursor.above
    opens = above.endswith((":", "{", "(", "[", "=>", "do", "then"))
    return text if opens and _indent(cursor.head) <= _indent(above) else text[lead:]


def use_the_files_tabs(text: str, cursor: Cursor) -> str:
    """In a file that indents with tabs, spaces at a line's start are tabs that the model got wrong."""
    if "\n\t" not in cursor.prefix + cursor.suffix or "\n  " in cursor.prefix:
        return text
    return re.sub(r"(?<=\n)(?: {4})+", lambda run: "\t" * (len(run[0]) // 4), text)


def drop_line_above(text: str, cursor: Cursor) -> str:
    """A model with nothing to add tends to repeat the line above; drop that."""
    first = (cursor.head + text.partition("\n")[0]).strip()
    return "" if len(first) >= 8 and first == cursor.above.strip() and re.search(r"\w", first) else text


def drop_empty_comment(text: str, cursor: Cursor) -> str:
    """`# ` or `//` and nothing behind it."""
    return "" if re.fullmatch(r"\s*(?:#+|//+|--|/\*+\s*\*/|<!--\s*-->)\s*", cursor.head.lstrip() + text) else text


def trim(text: str, cursor: Cursor) -> str:
    """Blanks at the end; before more text on the line, only the line ends. At a line's beginning one line end stays:
    whole lines were put before that line."""
    if not cursor.tail.strip():
        return text.rstrip()
    lines = text.rstrip("\n")
    return lines + "\n" if not cursor.head and lines != text else lines


def drop_blank(text: str, _cursor: Cursor) -> str:
    """Nothing but blanks is not worth showing. Anything else is: `):` is short, and right."""
    return text if text.strip() else ""


PIPELINE: tuple[Rule, ...] = (
    cut_at_markup,
    cut_unfinished_line,
    cut_loops,
    cut_at_blank_lines,
    keep_indentation,
    use_the_files_tabs,
    cut_at_block_end,
    cut_at_below,
    cut_tail_again,
    cut_second_closer,
    cut_unopened_closer,
    drop_line_above,
    drop_empty_comment,
    trim,
    drop_blank,
)

_ENDERS = (cut_at_markup, cut_loops, cut_at_blank_lines, cut_at_block_end, cut_at_below)


def apply(text: str, cursor: Cursor) -> str:
    """The text to show; empty for none."""
    for rule in PIPELINE:
        if not text:
            break
        text = rule(text, cursor)
    return text


def steps(text: str, cursor: Cursor) -> Iterator[tuple[str, str]]:
    """(rule's name, text after it) for each rule, for the benchmark."""
    for rule in PIPELINE:
        text = rule(text, cursor) if text else text
        yield rule.__name__, text


def ended(text: str, cursor: Cursor) -> bool:
    """Whether the rest need not be generated: a rule cuts into the whole lines that have arrived so far."""
    lines = text[: text.rfind("\n") + 1]
    if not lines.strip():
        return False
    return any(len(rule(lines, cursor).rstrip()) < len(lines.rstrip()) for rule in _ENDERS)
