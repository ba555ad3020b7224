"""A handler for each method. A handler gets typed params and returns a result, or raises an ApiError."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import msgspec
from jsonrpcserver import Error, Success
from jsonrpcserver.async_main import dispatch_to_serializable
from jsonrpcserver.result import Result

from threadrunner import __version__
from threadrunner.api import types as t
from threadrunner.api.errors import BY_CODE, ApiError, InvalidParams, ModelNotFound, ShuttingDown, Timeout
from threadrunner.api.methods import METHODS
from threadrunner.api.sessions import MemorySearchParams, ModeList, Recalled, Source
from threadrunner.config import Config
from threadrunner.daemon import (
    catalog,
    inventory,
    memories_methods,
    memory,
    modes,
    sessions_methods,
    sessions_turn,
)
from threadrunner.daemon.fleet import Fleet
from threadrunner.daemon.memories_methods import Embed, Memory
from threadrunner.daemon.peer import Call
from threadrunner.daemon.pull import Pulls
from threadrunner.daemon.resident import Lease, Resident
from threadrunner.daemon.sessions import Sessions
from threadrunner.daemon.sessions_store import Begun, with_recalled
from threadrunner.daemon.sessions_turn import Sink
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.usage import Usage


class Daemon(Protocol):
    """What handlers may ask of the daemon as a whole."""

    config: Config
    fleet: Fleet
    pulls: Pulls
    usage: Usage
    tally: Tally
    sessions: Sessions
    memory: Memory
    models_dir: str
    socket: str
    log_file: Callable[[], str]
    started: float

    @property
    def clients(self) -> int: ...

    @property
    def stopping(self) -> bool: ...

    def stop(self) -> None: ...


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


async def generate(daemon: Daemon, call: Call, params: t.GenerateParams) -> t.Generated:
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


async def _turn(daemon: Daemon, call: Call, params: t.GenerateParams, given: frozenset[str]) -> t.Generated:
    """`generate` with a `session`."""
    sessions_turn.check(params)

    def check_model(name: str) -> None:
        _resolve(daemon, name)

    call.stream = params.stream
    config = daemon.config
    defaults = sessions_turn.Defaults(config.backend, config.model_path or config.model, check_model)
    async with _deadline(params.timeout):
        params, begun = await sessions_turn.begin(daemon.sessions, params, given, defaults)

        async def ask(asked: t.GenerateParams, sink: Sink, fit: sessions_turn.Fit) -> t.Generated:
            return await _generated(daemon, call, "generate", asked, sink, fit)

        async def recall(asked: t.GenerateParams, begun: Begun) -> list[Source]:
            return await daemon.memory.recall(asked.prompt or "", _embed(daemon, call, asked), begun.session)

        result = await sessions_turn.answer(daemon.sessions, params, begun, call, ask, recall)
    if params.memory:
        _fill_memory(daemon, call, params)
    return result


async def _remembering(daemon: Daemon, call: Call, params: t.GenerateParams) -> t.Generated:
    """`generate` with `memory` and no session: passages stand before the prompt, or before the last message."""
    said = list(params.messages or [t.Message("user", params.prompt or "")])
    sources = await daemon.memory.recall(said[-1].content, _embed(daemon, call, params), None)
    if sources:
        text = with_recalled(sessions_turn.recalled_text(sources), said[-1].content)
        said[-1] = t.Message(said[-1].role, text)
        params = msgspec.structs.replace(params, prompt=None, messages=said)
    result = await _generated(daemon, call, "generate", params)
    result.sources = sources
    _fill_memory(daemon, call, params)
    return result


def _fill_memory(daemon: Daemon, call: Call, params: t.Sampling) -> None:
    if params.keep_alive != 0:  # a model that is to go at once is not loaded again for this
        daemon.memory.fill(_embed(daemon, Call(call.peer, None), params))


def _embed(daemon: Daemon, call: Call, params: t.Sampling) -> Embed:
    """Embeddings from the model that the params name."""

    async def embed(texts: list[str], priority: t.Priority) -> tuple[str, list[list[float]]]:
        asked = t.EmbedParams(
            input=texts, model=params.model, backend=params.backend, offline=params.offline,
            keep_alive=params.keep_alive, priority=priority,
        )  # fmt: skip
        found = msgspec.json.decode(await _passed_on(daemon, call, "embed", asked), type=t.Embedded)
        return found.model, found.embeddings

    return embed


async def memory_search(daemon: Daemon, call: Call, params: MemorySearchParams) -> Recalled:
    """By meaning too where a model is loaded: a search is no reason to load one."""
    ready = [resident for resident in daemon.fleet.loaded if resident.backend == "llama"]
    embed = None
    if ready:
        embed = _embed(daemon, call, t.GenerateParams(model=ready[0].model.path, backend="llama"))
    return Recalled(await daemon.memory.recall(params.query, embed, None, params.limit))


async def infill(daemon: Daemon, call: Call, params: t.InfillParams) -> t.Generated:
    params, _ = modes.applied(params, call.given)
    return await _generated(daemon, call, "infill", modes.with_defaults(params))


async def modes_list(daemon: Daemon, call: Call, params: t.NoParams) -> ModeList:
    return ModeList(modes.listing())


async def embed(daemon: Daemon, call: Call, params: t.EmbedParams) -> msgspec.Raw:
    return await _passed_on(daemon, call, "embed", params)


async def tokenize(daemon: Daemon, call: Call, params: t.TokenizeParams) -> msgspec.Raw:
    return await _passed_on(daemon, call, "tokenize", params)


async def detokenize(daemon: Daemon, call: Call, params: t.DetokenizeParams) -> msgspec.Raw:
    return await _passed_on(daemon, call, "detokenize", params)


async def models_list(daemon: Daemon, call: Call, params: t.NoParams) -> t.ModelList:
    listed = await asyncio.to_thread(catalog.every, daemon.models_dir)
    listed += [_resolve(daemon, alias) for alias in daemon.config.aliases if _known(daemon, alias)]
    return t.ModelList(await asyncio.to_thread(inventory.listed, listed, _situation(daemon)))


async def models_show(daemon: Daemon, call: Call, params: t.NamedModel) -> t.ModelShown:
    return await asyncio.to_thread(inventory.shown, _resolve(daemon, params.model), _situation(daemon))


async def models_remove(daemon: Daemon, call: Call, params: t.NamedModel) -> t.Removed:
    model = _resolve(daemon, params.model)
    inventory.check_removable(model, daemon.models_dir)
    await daemon.fleet.unload([resident for resident in daemon.fleet.loaded if resident.model.path == model.path])
    return await asyncio.to_thread(inventory.remove, model)


def _situation(daemon: Daemon) -> inventory.Situation:
    return inventory.Situation(
        loaded={resident.model.path for resident in daemon.fleet.loaded},
        default=default_model(daemon).path,
        last_used=daemon.usage.times(),
    )


def _resolve(daemon: Daemon, name: str) -> catalog.Model:
    return catalog.resolve(name, daemon.models_dir, daemon.config.aliases)


def _known(daemon: Daemon, name: str) -> bool:
    with contextlib.suppress(ModelNotFound):
        return bool(_resolve(daemon, name))
    return False


async def models_load(daemon: Daemon, call: Call, params: t.LoadParams) -> t.Loaded:
    began = time.monotonic()
    async with _lease(daemon, call, params) as lease:
        resident = lease.resident
        took = (time.monotonic() - began) * 1e3
        return t.Loaded(resident.model.name, resident.model.path, resident.facts.context, round(took, 1))


async def models_unload(daemon: Daemon, call: Call, params: t.ModelParams) -> t.Unloaded:
    chosen = daemon.fleet.loaded
    if params.model is not None:
        named = [resident for resident in chosen if resident.model.name == params.model]
        # Not by its own name: perhaps by another one of the same file.
        chosen = named or _of_file(chosen, _resolve(daemon, params.model).path)
    if params.backend is not None:
        chosen = [resident for resident in chosen if resident.backend == params.backend]
    await daemon.fleet.unload(chosen)
    return t.Unloaded([resident.model.name for resident in chosen])


def _of_file(residents: list[Resident], path: str) -> list[Resident]:
    return [resident for resident in residents if resident.model.path == path]


async def models_pull(daemon: Daemon, call: Call, params: t.PullParams) -> t.Pulled:
    def report(done: int, total: int) -> None:
        call.progress("download", done, total)

    if os.path.isabs(params.model):
        path = ""
        for file in await asyncio.to_thread(inventory.models_at, params.model):
            path = await daemon.pulls.copy(file, daemon.models_dir, report)
    else:
        path = (await daemon.pulls.ensure(_resolve(daemon, params.model), report)).path
    return t.Pulled(params.model, path, sum(map(os.path.getsize, catalog.Model("", path).files)))


async def status(daemon: Daemon, call: Call, params: t.NoParams) -> t.Status:
    return t.Status(
        version=__version__,
        pid=os.getpid(),
        uptime_s=round(time.monotonic() - daemon.started, 1),
        rss_bytes=memory.rss(os.getpid()),
        backend=daemon.config.backend,
        model=default_model(daemon).name,
        models=daemon.fleet.status(),
        clients=daemon.clients,
        socket=daemon.socket,
        log=daemon.log_file(),
        work=daemon.tally.work(),
        errors=dict(daemon.tally.errors),
    )


async def subscribe(daemon: Daemon, call: Call, params: t.SubscribeParams) -> t.Subscribed:
    call.peer.events = set(params.events)
    return t.Subscribed(sorted(call.peer.events))


async def shutdown(daemon: Daemon, call: Call, params: t.NoParams) -> t.Stopping:
    daemon.stop()
    return t.Stopping(os.getpid())


def default_model(daemon: Daemon) -> catalog.Model:
    """What a request that names no model gets. Raises ModelNotFound."""
    config = daemon.config
    return _resolve(daemon, os.path.abspath(config.model_path) if config.model_path else config.model)


def check_generate(params: t.GenerateParams) -> None:
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
    params: t.GenerateParams | t.InfillParams,
    sink: Sink | None = None,
    fit: sessions_turn.Fit | None = None,
) -> t.Generated:
    """A worker's answer, its times counted from the request's arrival. `sink` takes the call's place; `fit` gives the
    params once the model and with it its context is there."""
    arrived = time.monotonic()
    call.stream = params.stream
    sink = sink or call
    async with _deadline(params.timeout), _lease(daemon, call, params) as lease:
        waited = (time.monotonic() - arrived) * 1e3
        asked = fit(lease.resident.facts.context) if fit else params
        answer = await lease.request(method, params.priority, asked, sink)
    result = msgspec.json.decode(answer, type=t.Generated)
    result.model = lease.resident.model.name
    result.timings.load_ms = round(waited, 3)
    result.timings.ttft_ms = round(result.timings.ttft_ms + waited, 3)
    daemon.tally.answered(result)
    return result


async def _passed_on(
    daemon: Daemon, call: Call, method: str, params: t.EmbedParams | t.TokenizeParams | t.DetokenizeParams
) -> msgspec.Raw:
    async with _deadline(params.timeout), _lease(daemon, call, params) as lease:
        return msgspec.Raw(await lease.request(method, params.priority, params, call))


@contextlib.asynccontextmanager
async def _lease(daemon: Daemon, call: Call, wanted: t.Target | t.LoadParams) -> AsyncIterator[Lease]:
    """The wanted model, or the default one, to use; fetched and loaded first if need be."""
    backend = wanted.backend or daemon.config.backend
    model = await _model(daemon, call, wanted.model, backend, wanted.offline)
    if model.present:
        daemon.usage.now(model.path)
    async with daemon.fleet.lease(model, backend, wanted.keep_alive, call) as lease:
        yield lease


async def _model(daemon: Daemon, call: Call, name: str | None, backend: str, offline: bool) -> catalog.Model:
    if backend != "llama":  # others need no GGUF file; one that wants it gets it by its path
        return _loose_model(daemon, name or backend)
    model = _resolve(daemon, name) if name else default_model(daemon)
    if not model.present:
        if offline or daemon.config.offline:
            raise ModelNotFound(
                f"{model.name} is not on this machine, and fetching was forbidden. Run `threadrunner models pull "
                f"{model.name}` with a network, or use a GGUF file of yours: -m /path/to/model.gguf",
                model=model.name,
            )
        model = await daemon.pulls.ensure(model, lambda done, total: call.progress("download", done, total))
    return model


def _loose_model(daemon: Daemon, name: str) -> catalog.Model:
    try:
        return _resolve(daemon, name)
    except ModelNotFound:
        if "/" in name:
            raise
        return catalog.Model(name, "")


@contextlib.asynccontextmanager
async def _deadline(seconds: float | None) -> AsyncIterator[None]:
    """asyncio.timeout whose end is our Timeout error."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Timeout(f"no answer within {seconds:g} s; give more with --timeout (`timeout`)") from None


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
    "models.list": models_list,
    "models.show": models_show,
    "models.remove": models_remove,
    "models.load": models_load,
    "models.unload": models_unload,
    "models.pull": models_pull,
    "sessions.list": sessions_methods.listing,
    "sessions.show": sessions_methods.show,
    "sessions.delete": sessions_methods.delete,
    "sessions.rename": sessions_methods.rename,
    "sessions.fork": sessions_methods.fork,
    "sessions.undo": sessions_methods.undo,
    "sessions.import": sessions_methods.take_in,
    "sessions.search": sessions_methods.search,
    "memory.add": memories_methods.add,
    "memory.list": memories_methods.listing,
    "memory.search": memory_search,
    "memory.delete": memories_methods.delete,
    "modes.list": modes_list,
    "status": status,
    "subscribe": subscribe,
    "shutdown": shutdown,
}
_METHODS = {name: _method(name, _HANDLERS[name]) for name in METHODS}
