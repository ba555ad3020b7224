"""Every method: the type of its params and result, and the notifications that may come before the result."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from threadrunner.api import sessions as s
from threadrunner.api import types as t


class Method(NamedTuple):
    params: type[Struct]
    result: type[Struct]
    summary: str
    notifications: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    "generate": Method(t.GenerateParams, t.Generated, "Answer a prompt or a conversation", ("token", "progress")),
    "infill": Method(t.InfillParams, t.Generated, "Complete the code at a cursor", ("token", "progress")),
    "embed": Method(t.EmbedParams, t.Embedded, "Turn texts into vectors of length 1", ("progress",)),
    "tokenize": Method(t.TokenizeParams, t.Tokenized, "The model's tokens of a text", ("progress",)),
    "detokenize": Method(t.DetokenizeParams, t.Detokenized, "The text of tokens", ("progress",)),
    "models.list": Method(t.NoParams, t.ModelList, "The models that can be named"),
    "models.show": Method(t.NamedModel, t.ModelShown, "What is known of a model"),
    "models.remove": Method(t.NamedModel, t.Removed, "Delete a model's files from the models folder"),
    "models.load": Method(t.LoadParams, t.Loaded, "Load a model ahead of its first request", ("progress",)),
    "models.unload": Method(t.ModelParams, t.Unloaded, "Unload a model; without a name, all of them"),
    "models.pull": Method(t.PullParams, t.Pulled, "Fetch a model", ("progress",)),
    "sessions.list": Method(s.SessionsListParams, s.SessionList, "The conversations, the last used first"),
    "sessions.show": Method(s.SessionShowParams, s.SessionShown, "A conversation and its turns"),
    "sessions.delete": Method(s.SessionParam, s.SessionDeleted, "Delete a conversation for good"),
    "sessions.rename": Method(s.SessionRenameParams, s.SessionInfo, "Give a conversation another name"),
    "sessions.fork": Method(s.SessionForkParams, s.SessionInfo, "Copy a conversation, or its first turns"),
    "sessions.undo": Method(s.SessionUndoParams, s.Undone, "Delete a conversation's last turns"),
    "sessions.import": Method(s.SessionImportParams, s.SessionInfo, "Take in a conversation from elsewhere"),
    "sessions.search": Method(s.SessionSearchParams, s.SearchHits, "Full-text search over all conversations"),
    "memory.add": Method(s.MemoryAddParams, s.Note, "Remember a note"),
    "memory.list": Method(s.MemoryListParams, s.Notes, "What is remembered, the newest first"),
    "memory.search": Method(s.MemorySearchParams, s.Recalled, "The notes and past turns that bear on a text"),
    "memory.delete": Method(s.MemoryDeleteParams, s.Note, "Forget a note"),
    "modes.list": Method(t.NoParams, s.ModeList, "The modes that can be named"),
    "status": Method(t.NoParams, t.Status, "What is loaded and how busy it is"),
    "subscribe": Method(t.SubscribeParams, t.Subscribed, "Be told of events", ("event",)),
    "shutdown": Method(t.NoParams, t.Stopping, "Finish what runs, then end the daemon"),
}

WORKER_METHODS = ("generate", "infill", "embed", "tokenize", "detokenize")
"""Those that a worker answers; the daemon answers the rest itself."""

NOTIFICATIONS: dict[str, type[Struct]] = {
    "token": t.TokenNotice,
    "progress": t.ProgressNotice,
    "event": t.EventNotice,
}


class Cancel(Struct):
    """Params of the notification `$/cancelRequest`, which a client sends."""

    id: int | str
