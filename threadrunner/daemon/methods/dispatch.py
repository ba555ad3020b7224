"""A handler for each method. A handler gets typed params and returns a result, or raises an ApiError."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from jsonrpcserver import Error, Success
from jsonrpcserver.async_main import dispatch_to_serializable
from jsonrpcserver.result import Result

from threadrunner import __version__, machine
from threadrunner.api.conversations import MemorySearchParams, ModeList, Recalled, Source
from threadrunner.api.errors import BY_CODE, ApiError, InvalidParams, ShuttingDown
from threadrunner.api.fields import Priority
from threadrunner.api.generation import (
    DetokenizeParams,
    Embedded,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    Message,
    SamplingParams,
    TokenizeParams,
)
from threadrunner.api.methods import METHODS
from threadrunner.api.status import NoParams, Status, Stopping, Subscribed, SubscribeParams
from threadrunner.daemon.conversations.recall import Embed, add, delete, listing
from threadrunner.daemon.conversations.store import OpenTurn, with_recalled
from threadrunner.daemon.methods import conversations, models, modes, turn
from threadrunner.daemon.methods.generation import Daemon, deadline, default_model, lease, resolve
from threadrunner.daemon.methods.turn import Sink
from threadrunner.daemon.peer import Call

log = logging.getLogger("threadrunner.daemon.methods")

Handler = Callable[[Daemon, Call, Any], Awaitable[Any]]


async def dispatch(daemon: Daemon, call: Call, message: Any) -> dict[str, Any] | None:
    """The response to one request object, as jsonrpcserver makes it; None for a notification."""
    response: Any = await dispatch_to_serializable(
        "", methods=_METHODS, context=(daemon, call), deserializer=lambda _: message
    )
    if response and (error := response.get("error")) and not isinstance(error.get("data"), dict):
        # The library's own errors carry a bare text: give them a kind like all others.
        known = BY_CODE.get(error["code"], ApiError)
        error["data"] = {"kind": known.__name__, "detail": error.get("data")}
    return response  # type: ignore[no-any-return]  # the library's own type also allows a batch, which Peer splits


async def generate(daemon: Daemon, call: Call, params: GenerateParams) -> Generated:
    params, given = modes.applied(params, call.given)
    check_generate(params)
    if daemon.config.log_prompts:
        log.debug("prompt: %s", params.prompt if params.prompt is not None else params.messages)
    if params.session is not None:
        return await _turn(daemon, call, params, given)
    params = modes.with_defaults(params)
    if params.memory:
        return await _remembering(daemon, call, params)
    return await _generated(daemon, call, "generate", params)


async def _turn(daemon: Daemon, call: Call, params: GenerateParams, given: frozenset[str]) -> Generated:
    """`generate` with a `session`."""
    turn.check(params)

    def check_model(name: str) -> None:
        resolve(daemon, name)

    call.stream = params.stream
    config = daemon.config
    defaults = turn.Defaults(config.backend, config.model_path or config.model, check_model)
    async with deadline(params.timeout):
        params, begun = await turn.begin(daemon.sessions, params, given, defaults)

        async def ask(asked: GenerateParams, sink: Sink, fit: turn.Fit) -> Generated:
            return await _generated(daemon, call, "generate", asked, sink, fit)

        async def recall(asked: GenerateParams, begun: OpenTurn) -> list[Source]:
            return await daemon.memory.recall(asked.prompt or "", _embed(daemon, call, asked), begun.session)

        result = await turn.answer(daemon.sessions, params, begun, call, ask, recall)
    if params.memory:
        _fill_memory(daemon, call, params)
    return result


async def _remembering(daemon: Daemon, call: Call, params: GenerateParams) -> Generated:
    """`generate` with `memory` and no session: passages stand before the prompt, or before the last message."""
    said = list(params.messages or [Message("user", params.prompt or "")])
    sources = await daemon.memory.recall(said[-1].content, _embed(daemon, call, params), None)
    if sources:
        text = with_recalled(turn.recalled_text(sources), said[-1].content)
        said[-1] = Message(said[-1].role, text)
        params = msgspec.structs.replace(params, prompt=None, messages=said)
    result = await _generated(daemon, call, "generate", params)
    result.sources = sources
    _fill_memory(daemon, call, params)
    return result


def _fill_memory(daemon: Daemon, call: Call, params: SamplingParams) -> None:
    if params.keep_alive != 0:  # a model that is to go at once is not loaded again for this
        daemon.memory.fill(_embed(daemon, Call(call.peer, None), params))


def _embed(daemon: Daemon, call: Call, params: SamplingParams) -> Embed:
    """Embeddings from the model that the params name."""

    async def embed(texts: list[str], priority: Priority) -> tuple[str, list[list[float]]]:
        asked = EmbedParams(
            input=texts, model=params.model, backend=params.backend, offline=params.offline,
            keep_alive=params.keep_alive, priority=priority,
        )  # fmt: skip
        found = msgspec.json.decode(await _passed_on(daemon, call, "embed", asked), type=Embedded)
        return found.model, found.embeddings

    return embed


async def memory_search(daemon: Daemon, call: Call, params: MemorySearchParams) -> Recalled:
    """By meaning too where a model is loaded: a search is no reason to load one."""
    ready = [resident for resident in daemon.fleet.loaded if resident.backend == "llama"]
    embed = None
    if ready:
        embed = _embed(daemon, call, GenerateParams(model=ready[0].model.path, backend="llama"))
    return Recalled(await daemon.memory.recall(params.query, embed, None, params.limit))


async def infill(daemon: Daemon, call: Call, params: InfillParams) -> Generated:
    params, _ = modes.applied(params, call.given)
    return await _generated(daemon, call, "infill", modes.with_defaults(params))


async def modes_list(daemon: Daemon, call: Call, params: NoParams) -> ModeList:
    return ModeList(modes.listing())


async def embed(daemon: Daemon, call: Call, params: EmbedParams) -> msgspec.Raw:
    return await _passed_on(daemon, call, "embed", params)


async def tokenize(daemon: Daemon, call: Call, params: TokenizeParams) -> msgspec.Raw:
    return await _passed_on(daemon, call, "tokenize", params)


async def detokenize(daemon: Daemon, call: Call, params: DetokenizeParams) -> msgspec.Raw:
    return await _passed_on(daemon, call, "detokenize", params)


async def status(daemon: Daemon, call: Call, params: NoParams) -> Status:
    return Status(
        version=__version__,
        pid=os.getpid(),
        uptime_s=round(time.monotonic() - daemon.started, 1),
        rss_bytes=machine.resident_bytes(os.getpid()),
        backend=daemon.config.backend,
        model=default_model(daemon).name,
        models=daemon.fleet.status(),
        clients=daemon.clients,
        socket=daemon.socket,
        log=daemon.log_file(),
        work=daemon.tally.work(),
        errors=dict(daemon.tally.errors),
    )


async def subscribe(daemon: Daemon, call: Call, params: SubscribeParams) -> Subscribed:
    call.peer.events = set(params.events)
    return Subscribed(sorted(call.peer.events))


async def shutdown(daemon: Daemon, call: Call, params: NoParams) -> Stopping:
    daemon.stop()
    return Stopping(os.getpid())


def check_generate(params: GenerateParams) -> None:
    """What the types alone cannot say. Raises InvalidParams."""
    if (params.prompt is None) == (params.messages is None):
        raise InvalidParams("give exactly one of `prompt` and `messages`")
    if params.raw and (params.messages is not None or params.system is not None or params.memory):
        raise InvalidParams("`raw` continues a `prompt` as it stands; it goes with no `messages`, `system` or `memory`")
    if params.grammar is not None and params.json_schema not in (None, False):
        raise InvalidParams("give at most one of `grammar` and `json_schema`")


async def _generated(
    daemon: Daemon,
    call: Call,
    method: str,
    params: GenerateParams | InfillParams,
    sink: Sink | None = None,
    fit: turn.Fit | None = None,
) -> Generated:
    """A worker's answer, its times counted from the request's arrival. `sink` takes the call's place; `fit` gives the
    params once the model and with it its context is there."""
    arrived = time.monotonic()
    call.stream = params.stream
    sink = sink or call
    async with deadline(params.timeout), lease(daemon, call, params) as leased:
        waited = (time.monotonic() - arrived) * 1e3
        asked = fit(leased.resident.facts.context) if fit else params
        answer = await leased.request(method, params.priority, asked, sink)
    result = msgspec.json.decode(answer, type=Generated)
    result.model = leased.resident.model.name
    result.timings.load_ms = round(waited, 3)
    result.timings.ttft_ms = round(result.timings.ttft_ms + waited, 3)
    daemon.tally.answered(result)
    return result


async def _passed_on(
    daemon: Daemon, call: Call, method: str, params: EmbedParams | TokenizeParams | DetokenizeParams
) -> msgspec.Raw:
    async with deadline(params.timeout), lease(daemon, call, params) as leased:
        return msgspec.Raw(await leased.request(method, params.priority, params, call))


def _method(name: str, handler: Handler) -> Callable[..., Awaitable[Result]]:
    params_type = METHODS[name].params

    async def run(context: tuple[Daemon, Call], /, **members: Any) -> Result:
        daemon, call = context
        call.given = frozenset(name for name, value in members.items() if value is not None)
        try:
            if daemon.stopping and name not in ("status", "shutdown"):
                raise ShuttingDown("the daemon is ending; connect again once it has hung up")
            return Success(await handler(daemon, call, msgspec.convert(members, params_type)))
        except msgspec.ValidationError as error:
            wrong: ApiError = InvalidParams(f"{name}: {error}")
        except ApiError as error:
            wrong = error
        daemon.tally.failed(wrong.kind)
        return Error(wrong.code, wrong.message, wrong.data)

    return run


_HANDLERS: dict[str, Handler] = {
    "generate": generate,
    "infill": infill,
    "embed": embed,
    "tokenize": tokenize,
    "detokenize": detokenize,
    "models.list": models.listed,
    "models.show": models.show,
    "models.remove": models.remove,
    "models.load": models.load,
    "models.unload": models.unload,
    "models.pull": models.pull,
    "sessions.list": conversations.listing,
    "sessions.show": conversations.show,
    "sessions.delete": conversations.delete,
    "sessions.rename": conversations.rename,
    "sessions.fork": conversations.fork,
    "sessions.undo": conversations.undo,
    "sessions.import": conversations.take_in,
    "sessions.search": conversations.search,
    "memory.add": add,
    "memory.list": listing,
    "memory.search": memory_search,
    "memory.delete": delete,
    "modes.list": modes_list,
    "status": status,
    "subscribe": subscribe,
    "shutdown": shutdown,
}
_METHODS = {name: _method(name, _HANDLERS[name]) for name in METHODS}
