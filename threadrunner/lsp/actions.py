"""Code actions: what is offered where, what the model is asked, and the edit that its answer becomes. Pure.

The model's part is kept small, because small models drop code when they repeat it: explanations and documentation are
answered in prose, which we put in as comments; only a fix and a rewrite replace code.
"""

from __future__ import annotations

import os
import re
import textwrap
from dataclasses import dataclass
from typing import Any

from threadrunner.lsp.suggest.context import DEFINES
from threadrunner.lsp.suggest.documents import Document, Place, without_end
from threadrunner.lsp.suggest.text import indent_width
from threadrunner.syntax.languages import language_of

TITLES = {
    "explain": "ThreadRunner: explain in a comment",
    "document": "ThreadRunner: document",
    "fix": "ThreadRunner: fix the problems here",
    "test": "ThreadRunner: write a test",
    "rewrite": "ThreadRunner: rewrite as the comment above says",
}
LSP_KINDS = {
    "explain": "refactor.rewrite.explain",
    "document": "refactor.rewrite.document",
    "fix": "quickfix",
    "test": "refactor.rewrite.test",
    "rewrite": "refactor.rewrite",
}
ANSWER_TOKENS = 512
"""Tokens of an answer, at most."""
BLOCK_LINES = 120
"""Lines of a definition that count as its block, at most."""
INSTRUCTION_CHARS = 1000
"""Characters of a comment's line that may be an instruction, at most."""
COMMENT_WIDTH = 88
"""Columns."""

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class EditJob:
    """What to do to the lines `first` to `last` of a document. `kind` is a key of TITLES."""

    kind: str
    uri: str
    version: int | None
    first: int
    last: int
    instruction: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edit:
    """A text in place of another one in `uri`, or, with `create`, of a new file."""

    uri: str
    start: Place
    end: Place
    text: str
    create: bool = False


def offered(
    document: Document, start: Place, end: Place, problems: list[tuple[int, str]], only: list[str] | None
) -> list[EditJob]:
    """Jobs for a selection, or for the block around a cursor. `problems` are diagnostics: (line, message); `only` are
    the LSP kinds that the client asked for, None for all."""
    first, last = selected(document, start, end)
    if not any(line.strip() for line in document.lines[first : last + 1]):
        return []
    jobs = [EditJob(kind, document.uri, document.version, first, last) for kind in ("explain", "document", "test")]
    here = tuple(message for line, message in problems if start.line <= line <= end.line)
    if here:
        jobs.insert(0, EditJob("fix", document.uri, document.version, first, last, problems=here))
    if instruction := comment_text(document.lines[first], document.language):
        jobs.append(EditJob("rewrite", document.uri, document.version, first, last, instruction))
    if only is None:
        return jobs
    return [job for job in jobs if any(f"{LSP_KINDS[job.kind]}.".startswith(f"{kind}.") for kind in only)]


def selected(document: Document, start: Place, end: Place) -> tuple[int, int]:
    """First and last line of the selection; of the block around the cursor where nothing is selected."""
    if start != end:
        last = end.line - 1 if end.column == 0 and end.line > start.line else end.line
        return start.line, last
    return block(document.lines, start.line)


def block(lines: list[str], line: int) -> tuple[int, int]:
    """First and last line of the definition that holds the line, else of the paragraph it is in."""
    indent = indent_width(lines[line]) if lines[line].strip() else 10_000
    for first in range(line, -1, -1):
        if lines[first].strip() and (first == line or indent_width(lines[first]) < indent):
            indent = indent_width(lines[first])
            if DEFINES.match(lines[first]):
                return first, _block_end(lines, first, indent)
    first = last = line
    if not lines[line].strip():
        return line, line
    while first > 0 and lines[first - 1].strip():
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].strip():
        last += 1
    return first, last


def _block_end(lines: list[str], first: int, indent: int) -> int:
    last = at = first
    while at + 1 < len(lines) and at - first < BLOCK_LINES:
        at += 1
        if not lines[at].strip():
            continue
        closes = re.match(r"\s*[)\]}]", lines[at])
        if indent_width(lines[at]) <= indent and not (closes and indent_width(lines[at]) == indent):
            break
        last = at
    return last


def ask(job: EditJob, document: Document) -> list[dict[str, str]]:
    """The conversation with the model, as messages of `generate`."""
    code = textwrap.dedent("".join(document.lines[job.first : job.last + 1])).rstrip()
    fenced = f"```{document.language}\n{code}\n```"
    requests = {
        "explain": "Explain in two or three plain sentences what this code does. No code, no lists.",
        "document": "Write the documentation comment of this code: one or two sentences that say what it does and what "
        "it returns. Only the text, no code, no quotes.",
        "fix": "Fix this code. The problems: " + "; ".join(job.problems) + ". Answer with the whole corrected code in "
        "one code block and nothing else.",
        "test": f"Write one short test for this code{_framework(document.language)}. Answer with one code block and "
        "nothing else.",
        "rewrite": f"Rewrite this code: {job.instruction}. Answer with the whole new code in one code block and "
        "nothing else.",
    }
    system = "You are a careful programmer. You answer exactly what is asked, briefly."
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": f"{requests[job.kind]}\n\n{fenced}"},
    ]


def edits(job: EditJob, document: Document, answer: str, new_files: bool) -> list[Edit]:
    """What the answer changes; nothing where it holds nothing that can be used.

    `new_files`: whether the client can create files. The edits are in the order in which to apply them.
    """
    indent = re.match(r"[ \t]*", document.lines[job.first])[0]  # type: ignore[index]  # it always matches
    if job.kind in ("explain", "document"):
        return _comment_edits(job, document, prose(answer), indent)
    new = code(answer)
    if not new.strip():
        return []
    if job.kind == "test":
        return _test(job, document, new, new_files)
    return _code_edits(job, document, textwrap.indent(textwrap.dedent(new).rstrip(), indent))


def _comment_edits(job: EditJob, document: Document, text: str, indent: str) -> list[Edit]:
    if not text:
        return []
    if job.kind == "document" and document.language == "python" and DEFINES.match(document.lines[job.first]):
        return _docstring(job, document, text, indent)
    start = Place(job.first, 0)
    return [Edit(job.uri, start, start, document.with_line_ends(comment(text, document.language, indent)))]


def _code_edits(job: EditJob, document: Document, whole: str) -> list[Edit]:
    """The lines replaced by `whole`, unless it says nothing new."""
    lines, language = document.lines, document.language
    start, end = Place(job.first, 0), Place(job.last, len(without_end(lines[job.last])))
    kept = comment_text(lines[job.first], language) if job.kind == "rewrite" else ""
    if kept and comment_text(whole.partition("\n")[0], language) == kept:
        whole = whole.partition("\n")[2]  # the instruction has been followed, so its comment is removed
    if whole.rstrip() == document.between(start, end).replace("\r\n", "\n").rstrip():
        return []
    return [Edit(job.uri, start, end, document.with_line_ends(whole))]


def code(answer: str) -> str:
    """The first code block of an answer; all of the answer where there is none."""
    found = _FENCE.search(answer)
    return found[1] if found else answer.strip("\n")


def prose(answer: str) -> str:
    """An answer as plain text: without code, quotes and Markdown."""
    text = _FENCE.sub("", answer).replace("`", "").replace('"""', "").replace("*/", "")
    return " ".join(text.strip().strip("\"'#").split())


def comment(text: str, language: str, indent: str) -> str:
    """Whole lines of comment."""
    begin, end = language_of(language).comment
    if end:
        text = text.replace("--", "—") if end == "-->" else text.replace(end, "")
        return f"{indent}{begin} {text} {end}\n"
    leader = f"{indent}{begin} "
    return "\n".join(textwrap.wrap(text, COMMENT_WIDTH, initial_indent=leader, subsequent_indent=leader)) + "\n"


def comment_text(line: str, language: str) -> str:
    """The text of a line that is all comment, up to the line's end; empty for any other line."""
    if len(line) > INSTRUCTION_CHARS:
        return ""
    signs = "|".join(re.escape(sign.strip()) for sign in language_of(language).line_comments)
    found = re.fullmatch(rf"\s*(?:{signs})+\s*(\S.*?)\s*", line) if signs else None
    return found[1] if found else ""


def _docstring(job: EditJob, document: Document, text: str, indent: str) -> list[Edit]:
    lines = document.lines
    head = job.first
    while head < job.last and not re.search(r":\s*(?:#.*)?$", without_end(lines[head])):
        head += 1
    if head == job.last:
        return []  # a body on the line of its `def` has no room for a docstring
    body = next((line for line in lines[head + 1 : job.last + 1] if line.strip()), "")
    if body.lstrip().startswith(('"""', "'''", 'r"""')):
        return []  # there is a docstring already
    inner = re.match(r"[ \t]*", body)[0] or f"{indent}    "  # type: ignore[index]
    docstring = "\n".join(textwrap.wrap(f'"""{text}"""', COMMENT_WIDTH, initial_indent=inner, subsequent_indent=inner))
    start = Place(head + 1, 0)
    return [Edit(job.uri, start, start, document.with_line_ends(f"{docstring}\n"))]


def _test(job: EditJob, document: Document, new: str, new_files: bool) -> list[Edit]:
    text = textwrap.dedent(new).strip("\n") + "\n"
    folder, _, name = document.uri.rpartition("/")
    stem, suffix = os.path.splitext(name)
    if new_files and suffix:
        sister = f"test_{name}" if document.language == "python" else f"{stem}.test{suffix}"
        top = Place(0, 0)
        return [Edit(f"{folder}/{sister}", top, top, document.with_line_ends(text), create=True)]
    last = len(document.lines) - 1
    end = Place(last, len(document.lines[last]))
    gap = "\n\n" if not document.lines[last] else "\n\n\n"
    return [Edit(job.uri, end, end, document.with_line_ends(gap + text))]


def _framework(language: str) -> str:
    if language in ("javascript", "typescript"):
        return " with node:test"
    return " with pytest" if language == "python" else ""


def from_data(data: Any) -> EditJob | None:
    """A job as it came back from the client in an action's `data` or a command's argument."""
    if not isinstance(data, dict):
        return None
    try:
        job = EditJob(
            kind=str(data["kind"]), uri=str(data["uri"]), version=data.get("version"), first=int(data["first"]),
            last=int(data["last"]), instruction=str(data.get("instruction", "")),
            problems=tuple(map(str, data.get("problems", ()))),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None
    return job if job.kind in TITLES else None


def to_data(job: EditJob) -> dict[str, Any]:
    return {
        "kind": job.kind, "uri": job.uri, "version": job.version, "first": job.first, "last": job.last,
        "instruction": job.instruction, "problems": list(job.problems),
    }  # fmt: skip
