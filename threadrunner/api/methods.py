"""Every method: the type of its params and result, and the notifications that may come before the result."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from threadrunner.api.conversations import (
    MemoryAddParams,
    MemoryDeleteParams,
    MemoryListParams,
    MemorySearchParams,
    ModeList,
    Note,
    Notes,
    Recalled,
    SearchHits,
    SessionDeleted,
    SessionForkParams,
    SessionImportParams,
    SessionInfo,
    SessionList,
    SessionParam,
    SessionRenameParams,
    SessionSearchParams,
    SessionShown,
    SessionShowParams,
    SessionsListParams,
    SessionUndoParams,
    Undone,
)
from threadrunner.api.generation import (
    AppliedTemplate,
    ApplyTemplateParams,
    Detokenized,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    Reranked,
    RerankParams,
    Tokenized,
    TokenizeParams,
)
from threadrunner.api.models import (
    Loaded,
    LoadParams,
    ModelList,
    ModelListParams,
    ModelParams,
    ModelShown,
    ModelShowParams,
    NamedModel,
    Pulled,
    PullParams,
    Removed,
    Unloaded,
)
from threadrunner.api.remotes import RemoteList, RemoteModels, RemoteModelsParams
from threadrunner.api.status import (
    EventNotice,
    NoParams,
    ProgressNotice,
    Status,
    Stopping,
    Subscribed,
    SubscribeParams,
    TokenNotice,
)
from threadrunner.api.votes import CandidateNotice, ChoiceTaken, ChooseParams


class Method(NamedTuple):
    params: type[Struct]
    result: type[Struct]
    summary: str
    notifications: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    "generate": Method(
        GenerateParams, Generated, "Answer a prompt or a conversation", ("token", "progress", "candidate")
    ),
    "infill": Method(InfillParams, Generated, "Complete the code at a cursor", ("token", "progress")),
    "choose": Method(ChooseParams, ChoiceTaken, "Choose one of a request's answers, under `vote` by the client"),
    "embed": Method(EmbedParams, Embedded, "Turn texts into vectors of length 1", ("progress",)),
    "rerank": Method(RerankParams, Reranked, "Put texts in order of how well they answer a question", ("progress",)),
    "tokenize": Method(TokenizeParams, Tokenized, "The model's tokens of a text", ("progress",)),
    "detokenize": Method(DetokenizeParams, Detokenized, "The text of tokens", ("progress",)),
    "apply_template": Method(
        ApplyTemplateParams, AppliedTemplate, "The prompt that the model is shown for a conversation", ("progress",)
    ),
    "models.list": Method(ModelListParams, ModelList, "The models that can be named"),
    "models.show": Method(ModelShowParams, ModelShown, "What is known of a model"),
    "models.remove": Method(NamedModel, Removed, "Delete a model's files from the models folder"),
    "models.load": Method(LoadParams, Loaded, "Load a model ahead of its first request", ("progress",)),
    "models.unload": Method(ModelParams, Unloaded, "Unload a model; without a name, all of them"),
    "models.pull": Method(PullParams, Pulled, "Fetch a model", ("progress",)),
    "remotes.list": Method(NoParams, RemoteList, "The servers on other machines that config.toml names"),
    "remotes.models": Method(RemoteModelsParams, RemoteModels, "Ask one of them which models it has"),
    "sessions.list": Method(SessionsListParams, SessionList, "The conversations, the last used first"),
    "sessions.show": Method(SessionShowParams, SessionShown, "A conversation and its turns"),
    "sessions.delete": Method(SessionParam, SessionDeleted, "Delete a conversation for good"),
    "sessions.rename": Method(SessionRenameParams, SessionInfo, "Give a conversation another name"),
    "sessions.fork": Method(SessionForkParams, SessionInfo, "Copy a conversation, or its first turns"),
    "sessions.undo": Method(SessionUndoParams, Undone, "Delete a conversation's last turns"),
    "sessions.import": Method(SessionImportParams, SessionInfo, "Import a conversation"),
    "sessions.search": Method(SessionSearchParams, SearchHits, "Full-text search over all conversations"),
    "memory.add": Method(MemoryAddParams, Note, "Remember a note"),
    "memory.list": Method(MemoryListParams, Notes, "The notes, the newest first"),
    "memory.search": Method(MemorySearchParams, Recalled, "The notes and past turns that are relevant to a text"),
    "memory.delete": Method(MemoryDeleteParams, Note, "Forget a note"),
    "modes.list": Method(NoParams, ModeList, "The modes that can be named"),
    "status": Method(NoParams, Status, "What is loaded and how busy it is"),
    "subscribe": Method(SubscribeParams, Subscribed, "Receive events", ("event",)),
    "shutdown": Method(NoParams, Stopping, "Finish what runs, then end the daemon"),
}

NOTIFICATIONS: dict[str, type[Struct]] = {
    "token": TokenNotice,
    "progress": ProgressNotice,
    "candidate": CandidateNotice,
    "event": EventNotice,
}


class CancelParams(Struct):
    """Params of the notification `$/cancelRequest`, which a client sends."""

    id: int | str
