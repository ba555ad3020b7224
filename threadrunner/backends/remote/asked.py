"""One request to a server, from its params to its result: which path, which body, which way its answer is read."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

import msgspec

from threadrunner.api.conflicts import conflicts
from threadrunner.api.errors import InvalidParams, ModelNotFound, NotSupported, RemoteFailed
from threadrunner.api.generation import Embedded, EmbedParams, Generated, GenerateParams, InfillParams, Usage
from threadrunner.api.remotes import RemoteModelInfo, RemoteModels, RemoteModelsParams
from threadrunner.backends.base import Event, Finished, Params, Progress, RemoteServer
from threadrunner.backends.remote import anthropic, bodies, chunks, dialects, middles
from threadrunner.backends.remote.answers import RemoteAnswer, broken_off
from threadrunner.backends.remote.anthropic import MessageEvents
from threadrunner.backends.remote.bodies import Body
from threadrunner.backends.remote.chunks import Translate, count, table
from threadrunner.backends.remote.connection import ServerConnection
from threadrunner.backends.remote.dialects import RemoteDialect
from threadrunner.remote_settings import RemoteModel

Emit = Callable[[Event], None]


class _Order(NamedTuple):
    """What is sent, and how what comes back is read."""

    path: str
    body: Body
    headers: Mapping[str, str]
    translate: Callable[[], Translate]


class _Facts(NamedTuple):
    """What a server is, and has."""

    dialect: RemoteDialect
    models: list[RemoteModelInfo]


class Asker:
    """All requests to one server, on one event loop."""

    def __init__(self, server: RemoteServer, emit: Emit) -> None:
        self._server = server
        self._emit = emit
        self._connection = ServerConnection(server)
        self._facts: _Facts | None = None
        self._looking = asyncio.Lock()
        self.sent_tokens = 0
        self.received_tokens = 0

    async def close(self) -> None:
        await self._connection.close()

    async def answer(self, id: int, params: Params) -> None:
        """Emits what comes of the request, a Finished last. Raises ApiError."""
        match params:
            case GenerateParams() | InfillParams():
                if problem := conflicts(params):
                    raise InvalidParams(problem)
                self._emit(Finished(id, await self._generated(id, params)))
            case EmbedParams():
                self._emit(Finished(id, await self._embedded(params)))
            case RemoteModelsParams():
                self._emit(Finished(id, await self._models(params)))
            case _:
                raise NotSupported("a model on another machine generates and embeds; its tokens are not known here")

    # generate and infill

    async def _generated(self, id: int, params: GenerateParams | InfillParams) -> Generated:
        facts = await self._known(params.model or "", _left(params))
        model = self._model(params.model or "", facts)
        ending = partial(middles.ending, params) if isinstance(params, InfillParams) else None
        answer = RemoteAnswer(id, params, ending, self._connection.host)
        order = self._order(facts.dialect, model, params)
        host = ""
        if params.n > 1 and "n" not in order.body:
            orders = [_varied(order, i, params.seed) for i in range(params.n)]
            hosts = await _all(self._one(id, varied, answer, i, params) for i, varied in enumerate(orders))
            host = next(filter(None, hosts), "")
        else:
            host = await self._one(id, order, answer, 0, params)
        for piece in answer.late():
            self._emit(piece)
        result = answer.result(self._named(model), host)
        self.sent_tokens += result.usage.prompt_tokens
        self.received_tokens += result.usage.completion_tokens
        return result

    def _order(self, dialect: RemoteDialect, model: str, params: GenerateParams | InfillParams) -> _Order:
        is_anthropic = dialect.name == "anthropic"
        headers = self._connection.headers(anthropic=is_anthropic)
        if isinstance(params, InfillParams):
            path, body = middles.request(dialect, model, params, self._server.fim)
            return _Order(path, body, headers, lambda: chunks.of_infill)
        if is_anthropic:
            if params.raw or params.prompt_tokens is not None:
                raise bodies.refused(dialect, "raw prompts")
            schema = params.json_schema not in (None, False)
            body = anthropic.request(dialect, model, params)
            return _Order(anthropic.PATH, body, headers, lambda: MessageEvents(has_schema=schema).chunk)
        if params.raw or params.prompt_tokens is not None:
            return _Order("/completions", bodies.completion(dialect, model, params), headers, lambda: chunks.as_it_is)
        body = bodies.chat(dialect, model, params)
        if dialect.affinity:
            headers |= {"x-session-id": self._talk(body["messages"])}
        return _Order("/chat/completions", body, headers, lambda: chunks.as_it_is)

    def _talk(self, messages: list[Body]) -> str:
        """The same for all turns of a talk, so that a balancer sends them where its state is; without the key of this
        remote it tells nothing."""
        secret = hashlib.blake2b(f"{self._server.url} {self._server.key}".encode()).digest()
        return hashlib.blake2b(msgspec.json.encode(messages[:2]), key=secret, digest_size=16).hexdigest()

    async def _one(
        self, id: int, order: _Order, answer: RemoteAnswer, offset: int, params: GenerateParams | InfillParams
    ) -> str:
        """One request's answer, fed into `answer`; where it came from."""
        translate, host = order.translate(), ""
        replies = self._connection.stream(order.path, order.body, order.headers, _left(params))
        async with aclosing(replies):
            async for reply in replies:
                host = reply.host
                chunk = translate(reply.event)
                if chunk is None:
                    continue
                if chunk.get("error"):
                    raise self._connection.errors.in_band(chunk["error"])
                if told := chunks.progress(chunk):
                    self._emit(Progress(id, *told))
                for piece in answer.feed(chunk, offset):
                    self._emit(piece)
                if answer.ended(offset):
                    return host  # and so hangs up
        if not answer.finished(offset):
            raise broken_off(self._connection.host)
        return host

    # embeddings

    async def _embedded(self, params: EmbedParams) -> Embedded:
        facts = await self._known(params.model or "", _left(params))
        model = self._model(params.model or "", facts)
        if not facts.dialect.embeds:
            raise bodies.refused(facts.dialect, "texts to embed")
        texts = [params.input] if isinstance(params.input, str) else params.input
        headers = self._connection.headers(anthropic=False)
        reply = await self._connection.ask(
            "POST", "/embeddings", bodies.embedding(model, texts), headers, _left(params)
        )
        found = vectors(reply.event, len(texts), self._connection.host, params.dimensions)
        tokens = count(table(reply.event.get("usage")).get("prompt_tokens"))
        self.sent_tokens += tokens
        return Embedded(self._named(model), found, Usage(prompt_tokens=tokens))

    # the server

    async def _models(self, params: RemoteModelsParams) -> RemoteModels:
        began = time.monotonic()
        self._facts = facts = await self._look(_left(params))
        took = (time.monotonic() - began) * 1e3
        return RemoteModels(
            host=self._connection.host, dialect=facts.dialect.name, models=facts.models, took_ms=round(took, 1)
        )

    async def _known(self, model: str, left: float) -> _Facts:
        """What is needed of a server before it is asked: what the table says, else what it says of itself, once."""
        chosen = dialects.BY_NAME.get(self._server.dialect) or dialects.of_host(self._connection.host)
        if chosen is not None and (model or self._server.models):
            return _Facts(chosen, [])
        async with self._looking:
            if self._facts is None:
                self._facts = await self._look(left)
            return self._facts

    async def _look(self, left: float) -> _Facts:
        chosen = dialects.BY_NAME.get(self._server.dialect) or dialects.of_host(self._connection.host)
        headers = self._connection.headers(anthropic=chosen is not None and chosen.name == "anthropic")
        try:
            reply = await self._connection.ask("GET", "/models", None, headers, left)
        except (ModelNotFound, NotSupported):  # it has no such list, and may answer all the same
            return _Facts(chosen or dialects.COMPATIBLE, [])
        found = listed(reply.event)
        return _Facts(chosen or dialects.of_models(found), [_info(one) for one in found])

    def _named(self, model: str) -> str:
        """As users name it."""
        return str(RemoteModel(self._server.name, model))

    def _model(self, wanted: str, facts: _Facts) -> str:
        """The model's name for the server. Raises ModelNotFound where none is named and there is more than one."""
        if wanted:
            return wanted
        if self._server.models:
            return self._server.models[0]
        if len(facts.models) == 1:
            return facts.models[0].name
        name, known = self._server.name, ", ".join(model.name for model in facts.models[:10])
        raise ModelNotFound(
            f"{self._connection.host} has {'several models' if known else 'no list of models'}: name one, as "
            f"remote:{name}/{facts.models[0].name if known else 'MODEL'}{f' (it has {known})' if known else ''}",
            model=f"remote:{name}",
        )


def listed(event: dict[str, Any]) -> list[dict[str, Any]]:
    """A server's list of models, those of its entries that can be read."""
    data = event.get("data")
    return [one for one in data if isinstance(one, dict) and _info(one).name] if isinstance(data, list) else []


def _info(model: dict[str, Any]) -> RemoteModelInfo:
    context = model.get("max_model_len") or table(model.get("meta")).get("n_ctx")
    name = model.get("id")
    return RemoteModelInfo(name=name if isinstance(name, str) else "", context=count(context))


async def _all(asked: Iterable[Coroutine[Any, Any, str]]) -> list[str]:
    """All results. Where one fails, or we are cancelled, the others are hung up on."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _varied(order: _Order, number: int, seed: int | None) -> _Order:
    """The same request for another candidate: under its own seed, where one was given."""
    if seed is None or not number:
        return order
    return order._replace(body=order.body | {"seed": (seed + number) % 2**32})


def _left(params: Params) -> float:
    timeout = getattr(params, "timeout", None)
    return math.inf if timeout is None else timeout


def vectors(event: dict[str, Any], count: int, host: str, dimensions: int | None = None) -> list[list[float]]:
    """One for each text, of length 1, in their order; cut to so many dimensions here, since few servers do it. Raises
    RemoteFailed where the server gives others, InvalidParams where its vectors have fewer numbers."""
    try:
        entries = sorted(event["data"], key=lambda one: one.get("index", 0))
        found = [[float(number) for number in one["embedding"]] for one in entries]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        found = []
    if len(found) != count:
        raise RemoteFailed(f"{host} answered without a vector for each text; can this model embed?", host=host)
    if (dimensions or 0) > (width := min(map(len, found), default=0)):
        raise InvalidParams(f"`dimensions` is {dimensions}; this model's vectors have {width} numbers")
    return [_of_length_1(vector[:dimensions]) for vector in found]


def _of_length_1(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else vector
