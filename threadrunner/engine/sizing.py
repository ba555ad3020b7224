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


def choose(  # noqa: PLR0913 - by name
    *,
    asked: int,
    trained: int,
    cell_bytes: int,
    state_bytes: int = 0,
    model_bytes: int,
    free: int | None,
    limit: int,
    ram: int = -1,
    grows: bool = True,
) -> Size:
    """`free` is the bytes that the machine has left with the model loaded (None: unknown), `limit` those that the
    process may take in all (0: no limit); `asked` (0: not) and `trained` are tokens of context; `state_bytes` is what
    each sequence takes beside its cells; `ram` is the maximum for finished requests (-1: not asked); `grows`: whether
    the context can be made larger later. Raises LoadError.

    A request that asks for a context gets that context or an error. Otherwise: the trained context up to 32,768, in no
    more than three quarters of what may be taken: half of the free memory, and no more than the limit leaves. Where
    there is room for it, several requests of that size may run at once, and 2 GiB keep what they evaluated.
    """
    if not 0 <= asked <= MAX_CONTEXT:
        raise LoadError(f"a context of {asked} tokens: ask for 1 to {MAX_CONTEXT}, or for 0 to leave it to the model")
    budget, why = _budget(model_bytes, free, limit)
    states = _states(budget, why, state_bytes) if state_bytes else 0
    budget -= states * state_bytes
    fits = budget // cell_bytes // 256 * 256
    if asked > fits:
        needs = f"a context of {asked} tokens needs {_mib(asked * cell_bytes)}"
        raise LoadError(f"{needs}, {why} leaves {_mib(max(0, budget))}; ask for a smaller context")
    wanted = asked or min(trained or UNKNOWN_CONTEXT, DEFAULT_CONTEXT if grows else UNKNOWN_CONTEXT)
    context = asked or min(wanted, max(min(wanted, MIN_CONTEXT), budget * 3 // 4 // cell_bytes // 256 * 256), fits)
    if context < min(MIN_CONTEXT, wanted):
        raise LoadError(f"{why} leaves no room for a cache: {_mib(max(0, budget))} at {cell_bytes} bytes a token")
    left = budget - context * cell_bytes
    usual = MAX_RAM_BYTES if free is None else min(MAX_RAM_BYTES, free // 4)
    ram_bytes = min(usual if ram < 0 else ram, left)
    cells = context + min(context, (left - ram_bytes) // cell_bytes // 256 * 256)
    bound = why if context < wanted else ("the context" if asked or cells == 2 * context else why)
    reason = f"up to {cells} cells of {cell_bytes} bytes, {_mib(cells * cell_bytes)}; bounded by {bound}"
    if states:
        reason = f"{states} states of {state_bytes} bytes and {reason}"
    return Size(
        sequences=states - 1 if states else MAX_SEQUENCES,
        context=context,
        cells=cells,
        first_cells=min(cells, FIRST_CELLS) if grows else cells,
        ram_bytes=ram_bytes,
        block_tokens=max(32, min(256, BLOCK_BYTES // cell_bytes // 32 * 32)),
        reason=f"{reason}; up to {_mib(ram_bytes)} for finished requests",
    )


def _states(budget: int, why: str, state_bytes: int) -> int:
    states = max(2, min(MAX_STATES, budget // 3 // state_bytes))
    if states * state_bytes > budget:
        raise LoadError(f"{why} leaves no room for two states of {_mib(state_bytes)}: {_mib(max(0, budget))}")
    return states


def _budget(model_bytes: int, free: int | None, limit: int) -> tuple[int, str]:
    """Bytes for all KV state, and what bounds them."""
    budgets = [(2 * MAX_RAM_BYTES, "a usual cache")]
    if limit:
        budgets.append((limit - model_bytes - COMPUTE_BYTES, f"the memory limit of {_mib(limit)}"))
    if free is not None:
        budgets.append((free // 2, f"half of {_mib(free)} free memory"))
        if not limit:
            del budgets[0]
    return min(budgets)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
