"""One GGUF file, made into all that answers requests: model, context, engine, embedder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from threadrunner import machine
from threadrunner.backends import adapting, drafting, hardware, seeing
from threadrunner.backends.base import ModelSpec
from threadrunner.backends.drafting import DraftWeights
from threadrunner.backends.requests import RequestBuilder
from threadrunner.engine import sizing
from threadrunner.engine.draft_model import DraftModel
from threadrunner.engine.embedder import Embedder
from threadrunner.engine.engine import Engine
from threadrunner.engine.errors import BadTemplate
from threadrunner.engine.kv.kv_store import KvStore
from threadrunner.engine.kv.parking import Parking
from threadrunner.engine.limits import MAX_RUNNING, Limits
from threadrunner.engine.llama.attention import Attention
from threadrunner.engine.llama.context import OK, Context
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import build
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.recommended import recommended
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.pairs import Pairs
from threadrunner.engine.pictures import Positions
from threadrunner.engine.prompts.template import ChatTemplate
from threadrunner.engine.threads import Threads
from threadrunner.paths import state_dir

log = logging.getLogger("threadrunner.backends.llama")

N_BATCH = 2048
N_UBATCH = 256
MAX_THREADS = 512
"""ggml's own limit."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """All that is made of one GGUF file."""

    name: str
    model: Model
    vocab: Vocab
    requests: RequestBuilder
    engine: Engine
    embedder: Embedder
    pairs: Pairs
    threads: Threads
    draft: DraftWeights | None = None
    proposer: DraftModel | None = None
    """What is made of it."""

    def set_threads(self) -> None:
        """As many as `threads` has counted, one of which works for constraints while that goes on."""
        others = int(self.engine.guide.making)
        decode, prefill = max(1, self.threads.decode - others), max(1, self.threads.prefill - others)
        self.engine.context.set_threads(decode, prefill)
        self.embedder.set_threads(prefill)
        if self.proposer is not None:
            self.proposer.set_threads(decode, prefill)

    def close(self) -> None:
        self.embedder.close()
        if self.proposer is not None:
            self.proposer.close()
        self.engine.close()
        if self.draft is not None:
            self.draft.model.close()
        self.model.close()


def load(spec: ModelSpec, report: Callable[[int, int], None]) -> tuple[LoadedModel, sizing.Size, hardware.Attempt]:
    """The model, where there is room for it. Raises LoadError; nothing stays open then."""
    _check_template(spec)
    for attempt in hardware.attempts(spec, N_UBATCH):
        try:
            return *_load(spec, report, attempt), attempt
        except LoadError as error:
            if attempt.last:
                raise
            log.warning("%s: %s. Trying with less on the GPU than %s", spec.name, error, attempt.placement.reason)
    raise AssertionError("one attempt is the last")


def _check_template(spec: ModelSpec) -> None:
    """Before all else: one of the user's own is to be mended, where one of the file's is an error of chats only."""
    if spec.template:
        try:
            ChatTemplate(spec.template)
        except BadTemplate as error:
            reason = str(error).removeprefix("the model's chat template ")
            raise LoadError(f"the template that config.toml gives {spec.name} {reason}") from None


def _load(
    spec: ModelSpec, report: Callable[[int, int], None], attempt: hardware.Attempt
) -> tuple[LoadedModel, sizing.Size]:
    with contextlib.ExitStack() as made:
        model = made.enter_context(contextlib.closing(Model(spec.path, report, attempt.where)))
        threads = max(1, min(spec.threads or machine.physical_cores(), MAX_THREADS))
        cell_bytes, state_bytes = model.cell_bytes(*attempt.attention.types), 0
        if model.recurrent:
            cell_bytes, state_bytes = _measured(model, threads, attempt.attention)
        projector, blind_because = seeing.load_projector(spec, model, threads)
        if projector is not None:
            made.enter_context(contextlib.closing(projector))
        adapters = adapting.load_adapters(spec, model)
        draft = drafting.load_weights(spec, model, attempt)
        if draft is not None:
            made.enter_context(contextlib.closing(draft.model))
        wishes = sizing.Wishes(
            asked=spec.context,
            trained=model.n_ctx_train,
            cell_bytes=cell_bytes,
            draft_cell_bytes=draft.cell_bytes if draft else 0,
            state_bytes=state_bytes,
            model_bytes=attempt.in_memory(model) + _beside(spec, draft),
            free=attempt.free_for_cache(),
            limit=spec.memory_limit,
            ram=spec.cache_ram,
            grows=spec.cache_ram != 0 and not model.scales_context,
        )
        size = sizing.choose(wishes)
        context = Context(
            model,
            n_cells=size.first_cells,
            n_seq=size.sequences,
            n_batch=N_BATCH,
            n_ubatch=N_UBATCH if projector is None else seeing.batch_for(projector, N_UBATCH, N_BATCH),
            threads=threads,
            attention=attempt.attention,
        )
        made.enter_context(contextlib.closing(context))
        positions = Positions(turning=projector is not None and projector.turns)
        loaded = _whole(spec, model, context, size, threads, positions)
        loaded.requests.adapters = adapters
        if projector is not None:
            loaded.requests.sight = loaded.engine.sight = seeing.sight(spec, projector, context)
        loaded.requests.blind_because = blind_because
        if draft is not None:
            loaded = _with_draft(loaded, draft, size)
        made.pop_all()
    return loaded, size


def _beside(spec: ModelSpec, draft: DraftWeights | None) -> int:
    """Bytes of the machine's memory that what is loaded with the model takes."""
    return (draft.in_memory if draft else 0) + seeing.bytes_of(spec) + adapting.bytes_of(spec)


def _with_draft(loaded: LoadedModel, draft: DraftWeights, size: sizing.Size) -> LoadedModel:
    """Raises LoadError."""
    proposer = draft.proposer(size, loaded.threads.max_threads)
    loaded.engine.speculation.ask(proposer)
    loaded = replace(loaded, draft=draft, proposer=proposer)
    loaded.set_threads()
    proposer.measure()
    return loaded


def _measured(model: Model, threads: int, attention: Attention) -> tuple[int, int]:
    """Bytes of a cell and of a sequence's state, by what llama.cpp saves of a sequence with one token: which layers
    have which, and how large, differs with each architecture. Raises LoadError."""
    probe = Context(model, n_cells=256, n_seq=1, n_batch=8, n_ubatch=8, threads=threads, attention=attention)
    with contextlib.closing(probe):
        empty = probe.point_size(0)
        probe.add(0, 0, [0], True)
        if (status := probe.decode()) != OK:
            raise LoadError(f"llama_decode failed with {status} on its first token")
        cell = probe.state_size(0, 0, 1) - probe.state_size(0, 0, 0)
        return max(1, cell), max(1, probe.point_size(0) - empty)


def _whole(
    spec: ModelSpec, model: Model, context: Context, size: sizing.Size, threads: int, positions: Positions
) -> LoadedModel:
    vocab = Vocab(model)
    max_tokens = size.context
    limits = Limits(
        context=max_tokens,
        cells=size.cells,
        max_running=min(MAX_RUNNING, size.sequences),
        max_queued=spec.max_queued,
    )
    counter = Threads(threads, machine.clocks(), min(spec.hardware.threads_batch, MAX_THREADS))
    context.set_threads(counter.decode, counter.prefill)
    engine = Engine(model, vocab, context, limits, _parking(spec, model, context, size, positions))
    engine.speculation.choose(spec.hardware.drafts)
    return LoadedModel(
        name=spec.name,
        model=model,
        vocab=vocab,
        requests=RequestBuilder(
            vocab,
            spec.template or model.chat_template(),
            None if spec.template else model.chat_template("tool_use"),
            max_tokens,
            recommended(model.meta).sampling,
        ),
        engine=engine,
        embedder=Embedder(
            model, pooling=context.pooling, remembers=context.remembers, threads=counter.prefill, max_tokens=max_tokens
        ),
        pairs=Pairs(vocab, model.chat_template("rerank")),
        threads=counter,
    )


def _parking(spec: ModelSpec, model: Model, context: Context, size: sizing.Size, positions: Positions) -> Parking:
    cut = not model.recurrent and not model.n_swa
    # without memory for the points, a window is kept whole, and a recurrent state not at all
    whole = not cut and size.ram_bytes <= 0
    return Parking(
        context,
        None if whole and model.recurrent else _store(spec),
        max_bytes=size.ram_bytes,
        block_tokens=sizing.MAX_CONTEXT if whole else size.block_tokens,
        points=not cut and not whole,
        positions=positions,
    )


def _store(spec: ModelSpec) -> KvStore | None:
    if not spec.cache_dir or spec.cache_bytes <= 0:
        return None
    folder = state_dir(spec.cache_dir, spec.name or Path(spec.path).name)
    stat = Path(spec.path).stat()
    model_is = spec.fingerprint or f"{spec.path} {stat.st_size} {stat.st_mtime_ns}"
    types = f"{spec.hardware.cache_type_k} {spec.hardware.cache_type_v} {spec.hardware.flash_attention}"
    return KvStore(Path(folder), f"{model_is} {build()} {types}", spec.cache_bytes)
