"""From a request to an answer: its model chosen, its file fetched, its worker used."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from threadrunner import model_defaults, model_settings
from threadrunner.api.errors import ApiError, InvalidParams, ModelNotFound, Timeout
from threadrunner.api.fields import Priority
from threadrunner.api.generation import (
    ApplyTemplateParams,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    RerankParams,
    TokenizeParams,
)
from threadrunner.api.models import LoadParams
from threadrunner.api.sampling import SamplingParams, Target
from threadrunner.config import ConfigError
from threadrunner.daemon.downloads.downloads import Downloads
from threadrunner.daemon.downloads.staging import Parts
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.methods import consent
from threadrunner.daemon.methods.choice import NOTHING, ModelChoice, Preference, Reason, choose_model
from threadrunner.daemon.methods.modes import Applied
from threadrunner.daemon.methods.task import task_of
from threadrunner.daemon.models import adapters, mmproj, remotes, templates
from threadrunner.daemon.models.catalog import Catalog
from threadrunner.daemon.models.last_used import LastUsed
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.workers.fleet import Fleet
from threadrunner.daemon.workers.resident import Lease
from threadrunner.daemon.workers.sink import Completing, Sink
from threadrunner.model_defaults import ModelDefaults, P
from threadrunner.remote_settings import BACKEND as REMOTE
from threadrunner.remote_settings import RemoteSettings
from threadrunner.routes import routes

Answerable = GenerateParams | InfillParams
PassedOn = EmbedParams | RerankParams | TokenizeParams | DetokenizeParams | ApplyTemplateParams


class Generation:
    """Every request that needs a model goes through here; conversations are a layer above."""

    def __init__(
        self,
        config: LiveConfig,
        catalog: Catalog,
        fleet: Fleet,
        downloads: Downloads,
        last_used: LastUsed,
        tally: Tally,
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._fleet = fleet
        self._downloads = downloads
        self._last_used = last_used
        self._tally = tally

    def choose(
        self, params: Target | LoadParams, mode: Preference = NOTHING, session: Preference = NOTHING
    ) -> ModelChoice:
        """Which model answers these params, under this mode and in this session. Raises InvalidParams where only
        config.toml says so, and cannot be read."""
        if not self._fleet.loaded:  # then config.toml is not watched, and what it says now counts
            self._config.look()
        client = NOTHING
        if isinstance(params, SamplingParams):
            client = Preference(params.default_model, params.default_backend)
        config = Preference(self._config.default_model, self._config.current.backend)
        request = Preference(params.model, params.backend)
        choose = partial(choose_model, request, mode=mode, session=session, client=client, config=config)
        choice = choose()
        if choice.because == "config":
            choice = choose(route=self._routed(params))
        if choice.because in ("route", "config") and self._config.fault:
            self._config.check()
            return self.choose(params, mode, session)
        if self._catalog.elsewhere(choice.name):
            return choice._replace(backend=REMOTE)
        if params.backend == REMOTE:
            raise InvalidParams("`remote` is no backend to choose: name a model on another machine, remote:NAME/MODEL")
        return choice

    def permit(
        self, choice: ModelChoice, what: str, *, models: Iterable[str | None] = (), remembered: str | None = None
    ) -> None:
        """Raises InvalidParams where this may not be sent to the chosen model; see consent.py. `models` and
        `remembered` are for a conversation's history."""
        model = self._catalog.elsewhere(choice.name)
        if model is None or (
            what == "history" and not consent.is_history(model.remote, models, self._full(remembered))
        ):
            return
        consent.check(remotes.settings(self._config.current, model.remote), what)

    def _full(self, name: str | None) -> str | None:
        """A model's name without an alias, where it is on another machine."""
        return str(self._catalog.elsewhere(name) or name) if name else None

    def _routed(self, params: Target | LoadParams) -> str | None:
        """The model for what is asked, by config.toml. Raises InvalidParams."""
        try:
            table = routes(self._config.current)
        except ConfigError as error:
            raise InvalidParams(f"{error}. Mend it, or name a model: -m NAME") from None
        task = task_of(params, table.long_from)
        return table.model(task) if task else None

    async def answer(self, method: str, request: Applied[P], sink: Sink) -> Generated:
        """The result of `generate` or `infill`; its pieces go to the sink. Raises ApiError."""
        params, given, mode, _ = request
        async with deadline(params.timeout), self.use(self.choose(params, mode), params, sink) as model:
            return await model.answer(method, model.with_defaults(params, given), sink)

    async def pass_on(self, method: str, params: PassedOn, sink: Sink, what: str = "") -> msgspec.Raw:
        """The result of embed, tokenize or detokenize, as the JSON that the worker wrote. `what` is said where it is
        not the request's own text. Raises ApiError."""
        async with deadline(params.timeout), self.use(self.choose(params), params, sink) as model:
            return await model.pass_on(method, params, sink, what)

    @contextlib.asynccontextmanager
    async def use(self, choice: ModelChoice, params: Target | LoadParams, sink: Sink) -> AsyncIterator[ModelInUse]:
        """The chosen model, fetched and loaded first if needed; it stays loaded inside the `async with`. The sink hears
        of the download and of the load. Raises ApiError."""
        began = time.monotonic()
        model = await self._present(choice, params.offline, sink)
        if (model.remote is not None) != (choice.backend == REMOTE):
            # An alias leads elsewhere since the choice was made: what may leave was judged by another machine's table.
            raise InvalidParams(f"config.toml has changed while {choice.name} was looked up; ask again")
        model = await self._with_companions(model, choice.backend, params.offline, sink)
        if model.present:
            self._last_used.now(model.path)
        server = remotes.settings(self._config.current, model.remote.remote) if model.remote else None
        with _to_be_mended():
            chosen = Chosen(model, server, choice.because, self._fleet.defaults(model))
        async with self._fleet.use(model, choice.backend, params.keep_alive, sink) as lease:
            yield ModelInUse(lease, (time.monotonic() - began) * 1e3, self._tally, chosen)

    async def resolve(self, choice: ModelChoice) -> ModelRef:
        """The chosen model's file, whether it is on this machine or not. Raises ModelNotFound."""
        if choice.backend != "llama" and choice.name == choice.backend:
            return ModelRef(choice.name, "")
        try:
            return await self._catalog.resolve(choice.name)
        except ModelNotFound:
            # Other backends need no file; a path, though, means one.
            if choice.backend in ("llama", REMOTE) or "/" in choice.name:
                raise
            return ModelRef(choice.name, "")

    async def _present(self, choice: ModelChoice, offline: bool, sink: Sink) -> ModelRef:
        model = await self.resolve(choice)
        if model.remote is not None:
            self._config.check()  # it may forbid to ask
            consent.check_online(model.name, offline=offline or self._config.current.offline)
        if choice.backend != "llama":
            return model
        return await self._fetched(model, offline, sink, "model" if self._fleet.encoder_named(model) else "both")

    async def _with_companions(self, model: ModelRef, backend: str, offline: bool, sink: Sink) -> ModelRef:
        """With the small model and the adapters that config.toml has for it, and with its encoder of pictures, where it
        must be loaded for this request."""
        small, encoder, listed, template = self._fleet.companions(model, backend)
        if small:
            try:
                draft = await self._fetched(await self._catalog.resolve(small), offline, sink, "model")
            except ApiError as error:
                raise type(error)(f"the draft_model of {model.name}: {error.message}", **error.facts) from None
            model = model._replace(draft=draft.path)
        if template:
            _, where = model_settings.table(self._config.current, self._fleet.table_names(model))
            with _to_be_mended():
                model = model._replace(template=await asyncio.to_thread(templates.find, template, where))
        if listed and model.present:
            found = await asyncio.to_thread(adapters.find, listed, model.path, self._catalog.folder)
            model = model._replace(adapters=found)
        if encoder == mmproj.OFF or not model.present:
            return model
        return model._replace(mmproj=await asyncio.to_thread(mmproj.find, model.path, encoder, self._catalog.folder))

    async def _fetched(self, model: ModelRef, offline: bool, sink: Sink, parts: Parts) -> ModelRef:
        if model.present:
            return model
        self._config.check()  # it may forbid to fetch
        if offline or self._config.current.offline:
            raise ModelNotFound(
                f"{model.name} is not on this machine, and fetching was forbidden. Run `threadrunner models pull "
                f"{model.name}` with a network, or use a GGUF file of yours: -m /path/to/model.gguf",
                model=model.name,
            )
        fetched = await self._downloads.ensure(model, partial(sink.progress, "download"), parts=parts)
        return model._replace(path=fetched.path)


class Chosen(NamedTuple):
    """Which model was chosen, where it is if that is another machine, and what named it."""

    model: ModelRef
    server: RemoteSettings | None
    because: Reason
    defaults: ModelDefaults
    """What config.toml says of its answers."""


class ModelInUse:
    """A loaded model that cannot be unloaded until the `async with` that gave it ends."""

    def __init__(self, lease: Lease, waited_ms: float, tally: Tally, chosen: Chosen) -> None:
        self.waited_ms = waited_ms
        """Milliseconds that the download and the load took."""
        self._lease = lease
        self._tally = tally
        self._model, self._server, self._because, self._defaults = chosen

    @property
    def model(self) -> ModelRef:
        """One worker asks all models of a remote; else a worker has its own name for its file."""
        return self._lease.resident.model if self._server is None else self._model

    @property
    def context(self) -> int:
        """Tokens that one request may have, prompt and answer together; 0 where the backend sets no limit."""
        return self._lease.resident.facts.context

    def with_defaults(self, params: P, given: frozenset[str]) -> P:
        """The params with what config.toml says of this model where request, mode and conversation have given none."""
        return model_defaults.applied(self._defaults, params, given)

    async def answer(self, method: str, params: Answerable, sink: Sink) -> Generated:
        """The worker's answer, with times counted from the beginning of the wait for the model; so are those that the
        sink is told of. Raises ApiError."""
        through = Completing(sink, self._completed)
        try:
            answer = await self._lease.request(method, params.priority, self._permitted(method, params, ""), through)
        except asyncio.CancelledError:
            if through.last is not None:  # the client has chosen among answers: that work is done
                self._tally.answered(through.last)
            raise
        result = self._completed(msgspec.json.decode(answer, type=Generated))
        self._tally.answered(result)
        return result

    def _completed(self, result: Generated) -> Generated:
        """With what the worker does not know."""
        if self._server is None:
            result.model = self.model.name
        if self._because == "route":
            result.because = "route"
        result.timings.load_ms = round(self.waited_ms, 3)
        result.timings.ttft_ms = round(result.timings.ttft_ms + self.waited_ms, 3)
        return result

    async def pass_on(self, method: str, params: PassedOn, sink: Sink, what: str = "") -> msgspec.Raw:
        """The worker's result as it wrote it. Raises ApiError."""
        if isinstance(params, ApplyTemplateParams):
            params = model_defaults.shown(self._defaults, params)
        return msgspec.Raw(
            await self._lease.request(method, params.priority, self._permitted(method, params, what), sink)
        )

    async def ask_server(self, method: str, params: msgspec.Struct, sink: Sink) -> bytes:
        """What a server says of itself: nothing of the user's is sent. Raises ApiError."""
        return await self._lease.request(method, "interactive", params, sink)

    def _permitted(self, method: str, params: Target, what: str) -> msgspec.Struct:
        """The params as they may be sent. Raises InvalidParams where they may not."""
        if self._server is None or self._model.remote is None:
            return params
        consent.check(self._server, what or consent.of_method(method))
        named = msgspec.structs.replace(params, model=self._model.remote.model or None)
        return consent.without_forbidden(self._server, named)


class ModelEmbedder(NamedTuple):
    """Vectors from the model that some request uses; see conversations.recall.TextEmbedder."""

    generation: Generation
    params: SamplingParams
    """Those of the request: its model, backend and keep_alive hold here too."""
    sink: Sink

    async def embed(self, texts: list[str], priority: Priority) -> tuple[str, list[list[float]]]:
        """The model's name, and a vector of length 1 for each text. Raises ApiError where the backend makes none."""
        params = self.params
        asked = EmbedParams(input=texts, offline=params.offline, priority=priority)
        if self.generation.choose(asked).because != "route":  # of its own, whichever model it is that answers
            asked.model, asked.backend, asked.keep_alive = params.model, params.backend, params.keep_alive
        made = await self.generation.pass_on("embed", asked, self.sink, "memory")
        embedded = msgspec.json.decode(made, type=Embedded)
        return embedded.model, embedded.embeddings


@contextlib.contextmanager
def _to_be_mended() -> Iterator[None]:
    """A mistake in a model's table is an error of its requests."""
    try:
        yield
    except ConfigError as error:
        raise InvalidParams(f"{error}. Mend config.toml, and ask again") from None


@contextlib.asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """asyncio.timeout whose end is our Timeout error; a TimeoutError of another's, say a network disk's, stays that."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise Timeout(f"no answer within {seconds:g} s; raise --timeout") from None
