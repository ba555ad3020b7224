"""Params and results of sessions.*, memory.* and modes.*.

A turn is one exchange, a prompt and its answer, because it enters and leaves a conversation as a whole.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadrunner.api.chat import CallId, Tool, ToolCall, Tools
from threadrunner.api.fields import INT64_MAX, NewName, NoteText, Query, SessionName, SessionParams, described
from threadrunner.api.names import LAST

TurnState = Literal["open", "done", "stopped", "failed", "lost"]


def slug(prompt: str) -> str:
    """A name from a prompt's first words."""
    words = re.findall(r"\w+", prompt.lower())[:6]
    return "-".join(words)[:40].rstrip("-") or "conversation"


class SessionInfo(Struct, kw_only=True):
    """One conversation. Times are seconds since 1970, UTC."""

    name: str
    model: str | None = None
    backend: str | None = None
    mode: str | None = None
    system: str | None = None
    params: SessionParams = field(default_factory=dict)
    turns: int = 0
    created: float = 0.0
    used: float = 0.0
    forked_from: str | None = None
    tools: (
        Annotated[list[Tool], described("that each turn is generated with; absent in `sessions.list`")] | UnsetType
    ) = UNSET


class ToolResult(Struct, forbid_unknown_fields=True):
    """What a call came to. Whoever has made the call says so: nothing is ever executed here."""

    tool_call_id: CallId
    content: str


class Source(Struct):
    """A passage that was put before a prompt, and where it comes from."""

    kind: Literal["note", "turn"]
    id: int
    text: str
    session: str | None = None
    score: float = 0.0


class Turn(Struct, kw_only=True):
    """A prompt and its answer. `state`: open (being generated), done, stopped (cancelled or timed out: the answer is
    what had been said), failed (see `error`), lost (the daemon was killed under it).

    Where the answer is a call, the next turn begins with its result, and may have no prompt: it is empty then."""

    number: int
    prompt: str
    answer: str | None = None
    state: TurnState = "done"
    model: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    began: float = 0.0
    ended: float | None = None
    in_window: Annotated[bool, described("false: the model is not shown it any more, the context is full")] = True
    sources: list[Source] | UnsetType = UNSET
    pictures: Annotated[int, described("how many the prompt has; the model is shown them with it")] | UnsetType = UNSET
    tool_results: Annotated[list[ToolResult], described("of the calls of the turn before")] | UnsetType = UNSET
    tool_calls: Annotated[list[ToolCall], described("what the answer asks for")] | UnsetType = UNSET
    reasoning: Annotated[str, described("what the model thought before it answered")] | UnsetType = UNSET
    reasoning_tokens: Annotated[int, described("the part of `completion_tokens` that was thought")] | UnsetType = UNSET


class SessionsListParams(Struct, forbid_unknown_fields=True):
    limit: Annotated[int, described("maximum number of conversations, the last used first", ge=1, le=10_000)] = 1000
    offset: Annotated[int, Meta(ge=0, le=INT64_MAX)] = 0


class SessionList(Struct):
    sessions: list[SessionInfo]
    total: int


class SessionShowParams(Struct, forbid_unknown_fields=True):
    session: SessionName = LAST
    after: Annotated[int, described("only turns with a larger number", ge=0, le=INT64_MAX)] = 0
    last: Annotated[int, described("only the last N turns", ge=1, le=INT64_MAX)] | None = None


class SessionShown(Struct):
    """`more`: there are turns after these, which did not fit into one message; ask again with `after`."""

    session: SessionInfo
    turns: list[Turn]
    more: bool = False


class SessionParam(Struct, forbid_unknown_fields=True):
    session: SessionName


class SessionRenameParams(Struct, forbid_unknown_fields=True):
    session: SessionName
    name: NewName


class SessionForkParams(Struct, forbid_unknown_fields=True):
    session: SessionName
    name: NewName | None = None
    turns: Annotated[int, described("only the first N turns", ge=0, le=INT64_MAX)] | None = None


class SessionUndoParams(Struct, forbid_unknown_fields=True):
    session: SessionName
    turns: Annotated[int, described("how many of the last turns go", ge=1, le=INT64_MAX)] = 1


class ImportedTurn(Struct, forbid_unknown_fields=True):
    prompt: str
    answer: str | None = None
    model: str | None = None
    began: float | None = None
    ended: float | None = None
    tool_results: list[ToolResult] = []
    tool_calls: list[ToolCall] = []
    reasoning: str | None = None


class SessionImportParams(Struct, forbid_unknown_fields=True, kw_only=True):
    name: NewName
    turns: list[ImportedTurn]
    system: str | None = None
    model: str | None = None
    backend: str | None = None
    mode: str | None = None
    params: SessionParams = field(default_factory=dict)
    tools: Tools = field(default_factory=list)
    append: Annotated[bool, described("add the turns to a conversation that is there")] = False


class SessionDeleted(Struct):
    session: str


class Undone(Struct):
    """The prompts that went, the last one last."""

    prompts: list[str]


class SessionSearchParams(Struct, forbid_unknown_fields=True):
    query: Query
    session: SessionName | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 20


class SearchHit(Struct):
    """`snippet` has the words that were found between `[` and `]`."""

    session: str
    turn: int
    snippet: str
    score: float
    began: float


class SearchHits(Struct):
    hits: list[SearchHit]


class ModeInfo(Struct, kw_only=True):
    name: str
    description: str = ""
    model: str | None = None
    system: str | None = None
    template: str | None = None
    memory: bool = False
    built_in: bool = False
    problem: Annotated[str, described("why it cannot be used")] | None = None
    params: SessionParams = field(default_factory=dict)


class ModeList(Struct):
    modes: list[ModeInfo]


class Note(Struct):
    id: int
    text: str
    created: float


class MemoryAddParams(Struct, forbid_unknown_fields=True):
    text: NoteText


class MemoryListParams(Struct, forbid_unknown_fields=True):
    limit: Annotated[int, described("maximum number of notes, the newest first", ge=1, le=10_000)] = 1000


class Notes(Struct):
    notes: list[Note]


class MemorySearchParams(Struct, forbid_unknown_fields=True):
    query: Query
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


class Recalled(Struct):
    sources: list[Source]


class MemoryDeleteParams(Struct, forbid_unknown_fields=True):
    note: Annotated[int, described("a note's number, as `memory.list` gives it", ge=-INT64_MAX, le=INT64_MAX)]
