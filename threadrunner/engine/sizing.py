"""How much memory for KV state: decided before any is allocated, and with the reason kept for `status`.

llama.cpp clears all cells when it makes a context, which costs 14 us each (SmolLM2) and makes their memory resident. So
a context begins with few and grows with need, and what it may grow to is no cost until then.
"""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.engine.llama.errors import LoadError

DEFAULT_CONTEXT = 32768
"""Enough for an agent with the files it reads; a CPU that evaluates 400 tokens a second takes over a minute for it."""
UNKNOWN_CONTEXT = 8192
MIN_CONTEXT = 256
MAX_CONTEXT = 2**31 - 512
"""Positions are 32-bit numbers, and llama.cpp rounds up by 256."""
FIRST_CELLS = 2048
MAX_SEQUENCES = 64
MAX_STATES = 17
"""Where each sequence has a state of its own from the start, as recurrent layers do: 16 that run and a spare one."""
COMPUTE_BYTES = 192 << 20
"""Kept for compute buffers, logits and the interpreter."""
MAX_RAM_BYTES = 2 << 30
"""For the state of finished requests, where none is asked: 90,000 tokens of SmolLM2, 170,000 of Qwen 0.5B."""
BLOCK_BYTES = 8 << 20
"""To move so much takes a millisecond, or 6 in new memory: an arriving request may wait for it."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much to take; `reason` says what bounds the cells."""

    context: int
    """Maximum tokens of one request."""
    cells: int
    """Maximum cells for all that runs at once."""
    first_cells: int
    """Of these, how many to begin with."""
    sequences: int
    """Maximum that run or are kept in cells, at once."""
    ram_bytes: int
    """Maximum for the state of finished requests, beside the cells."""
    block_tokens: int
    """Whose state is moved at a time."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the model needs, what is asked, and what there is. Sizes are bytes."""

    asked: int
    """Tokens of context; 0: not asked."""
    trained: int
    """Tokens of context; 0: unknown."""
    cell_bytes: int
    draft_cell_bytes: int = 0
    """What a cell takes in a model that drafts beside this one: each token may be in both."""
    state_bytes: int = 0
    """What each sequence takes beside its cells."""
    model_bytes: int
    free: int | None
    """What the machine has left with the model loaded; None: unknown."""
    limit: int
    """What the process may take in all; 0: no limit."""
    ram: int = -1
    """Maximum for finished requests; -1: not asked."""
    grows: bool = True
    """Whether the context can be made larger later."""

    @property
    def both_bytes(self) -> int:
        """Of a token's cells."""
        return self.cell_bytes + self.draft_cell_bytes


def choose(wishes: Wishes) -> Size:
    """A request that asks for a context gets that context or an error. Otherwise: the trained context up to 32,768, in
    no more than three quarters of what may be taken: half of the free memory, and no more than the limit leaves. Where
    there is room for it, several requests of that size may run at once, and 2 GiB keep what they evaluated. Raises
    LoadError.
    """
    asked, cell_bytes = wishes.asked, wishes.both_bytes
    if not 0 <= asked <= MAX_CONTEXT:
        raise LoadError(f"a context of {asked} tokens: ask for 1 to {MAX_CONTEXT}, or for 0 to leave it to the model")
    budget, why = _budget(wishes)
    states = _states(wishes.state_bytes, budget, why)
    budget -= states * wishes.state_bytes
    wanted = asked or min(wishes.trained or UNKNOWN_CONTEXT, DEFAULT_CONTEXT if wishes.grows else UNKNOWN_CONTEXT)
    context = _context(wishes, wanted, budget, why)
    left = budget - context * cell_bytes
    usual = MAX_RAM_BYTES if wishes.free is None else min(MAX_RAM_BYTES, wishes.free // 4)
    ram_bytes = min(usual if wishes.ram < 0 else wishes.ram, left)
    cells = context + min(context, (left - ram_bytes) // cell_bytes // 256 * 256)
    bound = "the context" if context == wanted and (asked or cells == 2 * context) else why
    reason = f"up to {cells} cells of {cell_bytes} bytes, {_mib(cells * cell_bytes)}; bounded by {bound}"
    if states:
        reason = f"{states} states of {wishes.state_bytes} bytes and {reason}"
    return Size(
        sequences=states - 1 if states else MAX_SEQUENCES,
        context=context,
        cells=cells,
        first_cells=min(cells, FIRST_CELLS) if wishes.grows and ram_bytes else cells,  # what runs moves by way of it
        ram_bytes=ram_bytes,
        block_tokens=max(32, min(256, BLOCK_BYTES // wishes.cell_bytes // 32 * 32)),
        reason=f"{reason}; up to {_mib(ram_bytes)} for finished requests",
    )


def _states(state_bytes: int, budget: int, why: str) -> int:
    """How many of them to take. Raises LoadError where there is no room for two, one of which copies need."""
    states = max(2, min(MAX_STATES, budget // 3 // state_bytes)) if state_bytes else 0
    if states * state_bytes > budget:
        raise LoadError(f"{why} leaves no room for two states of {_mib(state_bytes)}: {_mib(max(0, budget))}")
    return states


def _context(wishes: Wishes, wanted: int, budget: int, why: str) -> int:
    """Tokens. Raises LoadError."""
    asked, cell_bytes = wishes.asked, wishes.both_bytes
    fits = budget // cell_bytes // 256 * 256
    if asked > fits:
        raise LoadError(
            f"a context of {asked} tokens needs {_mib(asked * cell_bytes)}, {why} leaves {_mib(max(0, budget))};"
            " ask for a smaller context"
        )
    roomy = max(min(wanted, MIN_CONTEXT), budget * 3 // 4 // cell_bytes // 256 * 256)
    context = asked or min(wanted, roomy, fits)
    if context < min(MIN_CONTEXT, wanted):
        raise LoadError(f"{why} leaves no room for a cache: {_mib(max(0, budget))} at {cell_bytes} bytes a token")
    return context


def _budget(wishes: Wishes) -> tuple[int, str]:
    """Bytes for all KV state, and what bounds them."""
    budgets = [(2 * MAX_RAM_BYTES, "a usual cache")] if wishes.free is None else []
    if wishes.free is not None:
        budgets.append((wishes.free // 2, f"half of {_mib(wishes.free)} free memory"))
    if wishes.limit:
        left = wishes.limit - wishes.model_bytes - COMPUTE_BYTES
        budgets.append((left, f"the memory limit of {_mib(wishes.limit)}"))
    return min(budgets)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
