"""What a model says, made fit to show: one rule each, with the case that made it, in the order of PIPELINE.

Pure: a rule takes the text and the cursor and gives text back, whole, cut or empty (nothing to show). Line ends are LF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from threadrunner.lsp.suggest import brackets


@dataclass(frozen=True)
class Cursor:
    """Where the text would stand."""

    prefix: str
    suffix: str
    language: str = ""
    unfinished: bool = False
    """The model was stopped by a limit, not by itself."""
    whole: bool = True
    """Prefix and suffix are all of the file."""

    @property
    def head(self) -> str:
        return self.prefix[self.prefix.rfind("\n") + 1 :]

    @property
    def tail(self) -> str:
        return self.suffix.partition("\n")[0]

    @property
    def below(self) -> list[str]:
        """The lines with anything in them under the cursor's line."""
        return [line.rstrip() for line in self.suffix.split("\n")[1:] if line.strip()]

    @property
    def above(self) -> str:
        """The nearest line with anything in it over the cursor's line."""
        lines = self.prefix.split("\n")[:-1]
        return next((line.rstrip() for line in reversed(lines) if line.strip()), "")


Rule = Callable[[str, Cursor], str]


def cut_at_markup(text: str, at: Cursor) -> str:
    """Instruct models end code with a Markdown fence, and say FIM tokens of another family as plain text."""
    found = re.search(r"\n?```|<\|[a-z_]{2,30}\|>|<(?:fim|file)_[a-z]+>|<\uff5c", text)
    return text[: found.start()] if found else text


def cut_unfinished_line(text: str, at: Cursor) -> str:
    """`return sum(x for x` where the tokens ran out: half a line is worth showing only when it is all there is."""
    whole = text.rfind("\n")  # a time limit ends at a line's end: then nothing is half
    return text[:whole] if at.unfinished and whole > 0 and text[:whole].strip() else text


def cut_at_blank_lines(text: str, at: Cursor) -> str:
    """Two blank lines in a row end what is being written; what follows is the next thing the model thinks of."""
    found = re.search(r"\S[^\n]*\n([ \t]*\n){2}", text)
    return text[: text.index("\n", found.start())] if found else text


def cut_at_block_end(text: str, at: Cursor) -> str:
    """The cursor's block ends at the first line that is indented less, unless the file goes on out there.

    The suffix is the measure: text may go out as far as the line below the cursor stands, for it has to join it. A
    line of closers alone still belongs to the block it closes.
    """
    head = at.head if at.head.strip() else at.head + text[: len(text) - len(text.lstrip(" \t"))]
    least = _indent(head)
    if at.below:
        least = min(least, _indent(at.below[0]))
    elif least:
        least = 1
    kept: list[str] = []
    deeper = False
    for number, line in enumerate(text.split("\n")):
        if number and line.strip():
            indent = _indent(line)
            deeper = deeper or indent > least
            out = indent < least or (not at.below and least == 0 and indent == 0 and deeper)
            if out and not _CONTINUES.match(line):
                return "\n".join(kept).rstrip() if any(map(str.strip, kept)) else ""
        kept.append(line)
    return text


_CONTINUES = re.compile(r"\s*(?:[)\]}>;,]+|end\b|(?:else|elif|except|finally|catch|fi|done|esac)\b)")


def _indent(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())


def cut_at_below(text: str, at: Cursor) -> str:
    """The model goes on with what stands below already: everything from there on is said twice.

    A line that could stand anywhere (`}`, `else:`, `return`) counts only if all that follows is below as well.
    """
    if not at.below:
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        whole = (at.head + line if not number else line).rstrip()
        if whole != at.below[0]:
            continue
        rest = [other.rstrip() for other in lines[number:] if other.strip()]
        said_again = rest[1:] == at.below[1 : len(rest)]
        if said_again or (len(re.findall(r"\w", whole)) >= 8 and not _ANYWHERE.match(whole)):
            return "\n".join(lines[:number])
    return text


_ANYWHERE = re.compile(r"\s*(?:return|pass|break|continue|else|finally|try|end)\b\W*\w*\W*\Z")


def cut_tail_again(text: str, at: Cursor) -> str:
    """`foo(|)` answered with `a, b)`: what ends the text stands behind the cursor already.

    Closers alone say nothing by standing there twice: `foo(|)` answered with `bar(a)` needs both. They are cut only
    where they leave too few open for those behind the cursor. So are quotes: `print('|')` answered with `a', 'b'`.
    """
    tail = at.tail.rstrip()
    if not tail.strip():
        return text
    first, newline, rest = text.partition("\n")
    for line, others in ((text.rstrip(), ""), (first.rstrip(), newline + rest)):
        for size in range(len(tail), 0, -1):
            closers = not re.search(r"\w", tail[:size])
            if not ((size == len(tail) or closers) and line.endswith(tail[:size])):
                continue
            if closers and not (_ends_the_string(line, tail[0], at) or _closes_too_much(line + others, at)):
                return text
            # After the first line the text goes on behind what it must not repeat: the rest is out of place.
            return line[:-size] if not others.strip() or size == len(tail) else text
    return text


def _ends_the_string(text: str, quote: str, at: Cursor) -> bool:
    """Whether the quote that ends `text` ends the string which the one behind the cursor is there to end: editors put
    quotes down in pairs."""
    if quote not in "\"'`":
        return False
    line = (at.head + text).rpartition("\n")[2]
    return _unescaped(line, quote) % 2 == 0 and _unescaped(at.tail, quote) % 2 == 1


def _unescaped(line: str, quote: str) -> int:
    return len(re.findall(rf"(?<!\\){re.escape(quote)}", line))


def _closes_too_much(text: str, at: Cursor) -> bool:
    """Whether the brackets that stand open after the text are fewer than those that the suffix closes: counted over
    the file where all of it is there, else over the cursor's line."""
    prefix, suffix = (at.prefix, at.suffix) if at.whole else (at.head, at.tail)
    before, behind = brackets.scan(prefix), brackets.scan(suffix)
    if before is None or behind is None:
        return False
    found = brackets.scan(text, before[0])
    return found is not None and len(found[0]) < len(behind[1])


def cut_second_closer(text: str, at: Cursor) -> str:
    """`print(|)` answered with `x)\\n    y = 1`: the closer is there, so the text ends before its own."""
    tail = at.tail.strip()
    found = brackets.scan(text)
    if found is None or not found[1] or tail[:1] != found[1][0]:
        return text
    return text[: found[2][0]]


def cut_unopened_closer(text: str, at: Cursor) -> str:
    """A closer with nothing left to close: the brackets before the cursor, less those that the suffix closes."""
    if not at.whole:
        return text
    before, behind = brackets.scan(at.prefix), brackets.scan(at.suffix)
    if before is None or behind is None or before[1] or len(behind[1]) > len(before[0]):
        return text
    free = before[0][len(behind[1]) :]
    found = brackets.scan(text, free)
    return text[: found[2][0]].rstrip(" ") if found and found[2] else text


def cut_loops(text: str, at: Cursor) -> str:
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


def keep_indentation(text: str, at: Cursor) -> str:
    """Behind `    |` a model may say the indentation once more, and only for the first line."""
    lead = len(text) - len(text.lstrip(" \t"))
    if at.head.strip() or not at.head or not lead or text[:lead] != at.head[:lead]:
        return text
    above = at.above
    opens = above.endswith((":", "{", "(", "[", "=>", "do", "then"))
    return text if opens and _indent(at.head) <= _indent(above) else text[lead:]


def use_the_files_tabs(text: str, at: Cursor) -> str:
    """In a file that indents with tabs, spaces at a line's start are tabs that the model got wrong."""
    if "\n\t" not in at.prefix + at.suffix or "\n  " in at.prefix:
        return text
    return re.sub(r"(?<=\n)(?: {4})+", lambda run: "\t" * (len(run[0]) // 4), text)


def drop_line_above(text: str, at: Cursor) -> str:
    """The line above once more is what a model says that has nothing to say."""
    first = (at.head + text.partition("\n")[0]).strip()
    return "" if len(first) >= 8 and first == at.above.strip() and re.search(r"\w", first) else text


def drop_empty_comment(text: str, at: Cursor) -> str:
    """`# ` or `//` and nothing behind it."""
    return "" if re.fullmatch(r"\s*(?:#+|//+|--|/\*+\s*\*/|<!--\s*-->)\s*", at.head.lstrip() + text) else text


def trim(text: str, at: Cursor) -> str:
    """Blanks at the end; before more text on the line, only the line ends. At a line's very beginning one line end
    stays: whole lines were put before that line."""
    if not at.tail.strip():
        return text.rstrip()
    lines = text.rstrip("\n")
    return lines + "\n" if not at.head and lines != text else lines


def drop_blank(text: str, at: Cursor) -> str:
    """Nothing but blanks is nothing to show. Anything else is: `):` is short, and right."""
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


def apply(text: str, at: Cursor) -> str:
    """The text to show; empty for none."""
    for rule in PIPELINE:
        if not text:
            break
        text = rule(text, at)
    return text


def steps(text: str, at: Cursor) -> Iterator[tuple[str, str]]:
    """(rule's name, text after it) for each rule: what the benchmark measures."""
    for rule in PIPELINE:
        text = rule(text, at) if text else text
        yield rule.__name__, text


def ended(text: str, at: Cursor) -> bool:
    """Whether the rest can be left unsaid: a rule cuts the whole lines that have come so far."""
    lines = text[: text.rfind("\n") + 1]
    if not lines.strip():
        return False
    return any(len(rule(lines, at).rstrip()) < len(lines.rstrip()) for rule in _ENDERS)
