"""Handlers of generate, infill, embed, tokenize, detokenize and modes.list: what a worker answers."""

from __future__ import annotations

import logging
from functools import partial

import msgspec

from threadrunner.api.chat import ImagePart, Message, TextPart, message_conflicts, said_by_user, tool_conflicts
from threadrunner.api.conflicts import conflicts
from threadrunner.api.conversations import ModeList
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import (
    ApplyTemplateParams,
    DetokenizeParams,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    RerankParams,
    TokenizeParams,
)
from threadrunner.api.sampling import SamplingParams
from threadrunner.api.status import NoParams
from threadrunner.api.votes import ChoiceTaken, ChooseParams
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall
from threadrunner.daemon.conversations.turns import with_recalled
from threadrunner.daemon.live_config import LiveConfig
from threadrunner.daemon.methods import turn
from threadrunner.daemon.methods.ballot import Ballot
from threadrunner.daemon.methods.choice import ModelChoice
from threadrunner.daemon.methods.context import Call, Handler, Unstreamed, plain
from threadrunner.daemon.methods.generation import Generation, ModelEmbedder, deadline
from threadrunner.daemon.methods.modes import Applied, Modes
from threadrunner.daemon.methods.turn import SessionTurn, recalled_text
from threadrunner.daemon.workers.sink import SilentSink, Sink

log = logging.getLogger("threadrunner.daemon.methods")


class GenerateMethods:
    """`generate` alone, with memory, or as a turn of a conversation; the other requests go straight to a worker."""

    def __init__(
        self, config: LiveConfig, modes: Modes, generation: Generation, conversations: Conversations, recall: Recall
    ) -> None:
        self._config = config
        self._modes = modes
        self._generation = generation
        self._conversations = conversations
        self._recall = recall

    def handlers(self) -> dict[str, Handler]:
        return {
            "generate": self.generate,
            "choose": self.choose,
            "infill": self.infill,
            "embed": self.embed,
            "rerank": self.rerank,
            "tokenize": self.tokenize,
            "detokenize": self.detokenize,
            "apply_template": self.apply_template,
            "modes.list": plain(self.list_modes),
        }

    async def generate(self, call: Call, params: GenerateParams) -> Generated:
        request = self._modes.applied(params, call.given)
        params = request.params
        _check(params)
        if self._config.current.log_prompts:
            log.debug("prompt: %s", params.prompt if params.prompt is not None else params.messages)
        sink = _sink(call, params)
        ballot = await self._ballot(call, params)
        if params.session is not None:
            turn.check(params)
            made = SessionTurn(self._conversations, self._generation, self._recall, request, sink, ballot)
            result, embedder = await made.run(), made.embedder
        elif params.memory:
            embedder = self._embedder(request, sink)
            result = await self._remembering(request, embedder, sink, ballot)
        else:
            return await self._answered(request, sink, ballot)
        if params.memory and params.keep_alive != 0:  # a model that must go at once is not loaded again for this
            self._recall.fill(embedder._replace(sink=SilentSink()))
        return result

    async def choose(self, call: Call, params: ChooseParams) -> ChoiceTaken:
        call.outlet.choose(params.request, params.candidate)
        return ChoiceTaken(params.request)

    async def _ballot(self, call: Call, params: GenerateParams) -> Ballot | None:
        if params.vote is None:
            return None
        ballot = Ballot(self._generation, params, params.vote, call.outlet)
        await ballot.check(offline=params.offline or self._config.current.offline)
        return ballot

    async def _answered(self, request: Applied[GenerateParams], sink: Sink, ballot: Ballot | None) -> Generated:
        if ballot is None:
            return await self._generation.answer("generate", request, sink)
        params, given, preference, _ = request
        async with deadline(params.timeout):
            choice, ask = self._generation.choose(params, preference), partial(self._asked, given)
            return await ballot.result(choice, params, sink, ask)

    async def _asked(self, given: frozenset[str], choice: ModelChoice, params: GenerateParams, sink: Sink) -> Generated:
        async with self._generation.use(choice, params, sink) as model:
            return await model.answer("generate", model.with_defaults(params, given), sink)

    async def _remembering(
        self, request: Applied[GenerateParams], embedder: ModelEmbedder, sink: Sink, ballot: Ballot | None
    ) -> Generated:
        """`generate` with `memory` and no session: passages go before the prompt, or before what the user said last. A
        result of a call, and an answer that is to be continued, are no question."""
        params = request.params
        self._generation.permit(self._generation.choose(params, request.preference), "memory")
        if ballot is not None and ballot.otherwise is not None:
            self._generation.permit(ballot.otherwise, "memory")
        messages = list(params.messages or [said_by_user(params.prompt or "", params.images)])
        asks = messages[-1].role == "user"
        sources = await self._recall.search(messages[-1].text, embedder) if asks else []
        if sources:
            messages[-1] = _recalling(messages[-1], recalled_text(sources))
            params = msgspec.structs.replace(params, prompt=None, images=[], messages=messages)
        result = await self._answered(request._replace(params=params), sink, ballot)
        result.sources = sources
        return result

    def _embedder(self, request: Applied[GenerateParams], sink: Sink) -> ModelEmbedder:
        choice = self._generation.choose(request.params, request.preference)
        params = msgspec.structs.replace(request.params, model=choice.name, backend=choice.backend)
        return ModelEmbedder(self._generation, params, sink)

    async def infill(self, call: Call, params: InfillParams) -> Generated:
        request = self._modes.applied(params, call.given)
        _check(request.params)
        return await self._generation.answer("infill", request, _sink(call, params))

    async def embed(self, call: Call, params: EmbedParams) -> msgspec.Raw:
        return await self._generation.pass_on("embed", params, call.outlet)

    async def rerank(self, call: Call, params: RerankParams) -> msgspec.Raw:
        return await self._generation.pass_on("rerank", params, call.outlet)

    async def tokenize(self, call: Call, params: TokenizeParams) -> msgspec.Raw:
        return await self._generation.pass_on("tokenize", params, call.outlet)

    async def detokenize(self, call: Call, params: DetokenizeParams) -> msgspec.Raw:
        return await self._generation.pass_on("detokenize", params, call.outlet)

    async def apply_template(self, call: Call, params: ApplyTemplateParams) -> msgspec.Raw:
        if conflict := message_conflicts(params.messages) or tool_conflicts(params.tools, "auto"):
            raise InvalidParams(conflict)
        return await self._generation.pass_on("apply_template", params, call.outlet)

    async def list_modes(self, _params: NoParams) -> ModeList:
        return ModeList(self._modes.listing())


def _recalling(message: Message, recalled: str) -> Message:
    """The message behind what is recalled, with its pictures."""
    if not message.images:
        return Message(message.role, with_recalled(recalled, message.text))
    parts: list[TextPart | ImagePart] = [TextPart(with_recalled(recalled, "")), *(message.content or ())]
    return Message(message.role, parts)


def _sink(call: Call, params: SamplingParams) -> Sink:
    """Where the client chooses, it must be told of the answers, streamed or not."""
    chooses = isinstance(params, GenerateParams) and params.vote is not None and params.vote.by == "client"
    return call.outlet if params.stream or chooses else Unstreamed(call.outlet)


def _check(params: SamplingParams) -> None:
    """Raises InvalidParams for params that contradict each other."""
    if (conflict := conflicts(params)) is not None:
        raise InvalidParams(conflict)
