"""What a model generates, made fit to show: the rules in their order. Line ends are LF.

The engine has ended the text already, where it could (engine/prompts/infill_ends.py); these see what it does not, and
texts from the cache at places where they were not made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from threadrunner.lsp.suggest.closers import (
    cut_at_comment_end,
    cut_second_body,
    cut_second_closer,
    cut_tail_again,
    drop_head_without_body,
    keep_what_fits,
)
from threadrunner.lsp.suggest.cursor import Cursor, Rule, indent
from threadrunner.lsp.suggest.ends import (
    cut_at_below,
    cut_at_blank_lines,
    cut_at_block_end,
    cut_at_markup,
    cut_loops,
    cut_second_end,
    cut_unfinished_line,
)


def keep_indentation(text: str, cursor: Cursor) -> str:
    """Behind `    |` a model may repeat the indentation, and only on the first line."""
    lead = len(text) - len(text.lstrip(" \t"))
    if cursor.head.strip() or not cursor.head or not lead or text[:lead] != cursor.head[:lead]:
        return text
    above = cursor.above
    opens = above.endswith((":", "{", "(", "[", "=>", "do", "then"))
    return text if opens and indent(cursor.head) <= indent(above) else text[lead:]


def use_the_files_tabs(text: str, cursor: Cursor) -> str:
    """In a file that indents with tabs, spaces at a line's start are tabs that the model got wrong."""
    if "\n\t" not in cursor.prefix + cursor.suffix or "\n  " in cursor.prefix + cursor.suffix:
        return text
    return re.sub(r"(?<=\n)(?: {4})+", lambda run: "\t" * (len(run[0]) // 4), text)


def drop_line_above(text: str, cursor: Cursor) -> str:
    """A model with nothing to add tends to repeat the line above; drop that, unless the file itself repeats it. With
    more behind the cursor it is another line (`:hash|*` below `:hash-table`)."""
    first = (cursor.head + text.partition("\n")[0]).strip()
    if len(first) < 8 or cursor.tail.strip() or first != cursor.above.strip() or not re.search(r"\w", first):
        return text
    return text if cursor.prefix.split("\n")[-3:-2] == [cursor.above] else ""


def drop_empty_comment(text: str, cursor: Cursor) -> str:
    """`# ` or `//` and nothing behind it, unless it stands between lines of a comment."""
    line = (cursor.head.lstrip() + text).strip()
    signs = [*cursor.facts.line_comments, *(f"{begin}{end}" for begin, end in cursor.facts.block_comments)]
    if not any(line and not line.replace(sign, "").strip() for sign in signs):
        return text
    around = [cursor.above, *cursor.below[:1]]
    return text if any(other.lstrip().startswith(sign) for sign in signs for other in around) else ""


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
    cut_unfinished_line,
    cut_at_markup,
    cut_loops,
    cut_at_blank_lines,
    keep_indentation,
    use_the_files_tabs,
    cut_at_block_end,
    cut_second_end,
    cut_at_below,
    cut_at_comment_end,
    cut_second_body,
    cut_second_closer,
    cut_tail_again,
    keep_what_fits,
    drop_head_without_body,
    drop_line_above,
    drop_empty_comment,
    trim,
    drop_blank,
)

_ENDERS = (
    cut_at_markup,
    cut_loops,
    cut_at_blank_lines,
    cut_at_block_end,
    cut_at_below,
    cut_at_comment_end,
    cut_second_closer,
)


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
