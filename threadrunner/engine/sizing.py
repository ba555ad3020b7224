"""How many KV cells to take: decided before anything is allocated, and with the reason kept for `status`."""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.engine.llama.errors import LoadError

DEFAULT_CONTEXT = 8192
MIN_CONTEXT = 256
MAX_CONTEXT = 2**31 - 512
"""Positions are 32-bit numbers, and llama.cpp rounds up by 256."""
# llama.cpp clears the whole cache when it makes it, so each cell costs memory and load time from the start
USUAL_CACHE_BYTES = 384 << 20
MAX_RAM_BYTES = 2 << 30
"""For the state of finished requests, where none is asked: 90,000 tokens of SmolLM2, 170,000 of Qwen 0.5B."""
BLOCK_BYTES = 8 << 20
"""To move so much takes a millisecond, or 6 in new memory: an arriving request may wait for it."""
COMPUTE_BYTES = 192 << 20
"""Kept for compute buffers, logits and the interpreter."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much to take; `reason` says what bounds the cells."""

    context: int
    """Maximum tokens of one request."""
    cells: int
    """Cells for all sequences and what is kept of finished ones."""
    ram_bytes: int
    """For the state of finished requests, beside the cells."""
    block_tokens: int
    """Whose state is moved at a time."""
    reason: str


def choose(
    *, asked: int, trained: int, cell_bytes: int, model_bytes: int, free: int | None, limit: int, ram: int = -1
) -> Size:
    """`free` is the bytes that the machine has left with the model loaded (None: unknown), `limit` those that the
    process may take in all (0: no limit); `asked` (0: not) and `trained` are tokens of context. Raises LoadError.

    A request that asks for a context gets that context or an error. Otherwise: the trained context up to 8,192, twice
    that in cells where a usual cache allows it, and never more than half of what is free.
    """
    if not 0 <= asked <= MAX_CONTEXT:
        raise LoadError(f"a context of {asked} tokens: ask for 1 to {MAX_CONTEXT}, or for 0 to leave it to the model")
    budgets = []
    if limit:
        budgets.append((limit - model_bytes - COMPUTE_BYTES, f"the memory limit of {_mib(limit)}"))
    if free is not None:
        budgets.append((free // 2, f"half of {_mib(free)} free memory"))
    budget, why = min(budgets, default=(USUAL_CACHE_BYTES, "a usual cache"))
    fits = budget // cell_bytes // 256 * 256
    if asked:
        if asked > fits:
            raise LoadError(
                f"a context of {asked} tokens needs {_mib(asked * cell_bytes)}, {why} leaves {_mib(max(0, budget))};"
                " ask for a smaller context"
            )
        wanted = asked
    else:
        wanted = min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    context = min(wanted, fits)
    if context < min(MIN_CONTEXT, wanted):
        raise LoadError(f"{why} leaves no room for a cache: {_mib(max(0, budget))} at {cell_bytes} bytes a token")
    roomy = min(2 * context, fits, max(context, USUAL_CACHE_BYTES // cell_bytes // 256 * 256))
    cells = max(context, roomy)
    bound = why if cells == fits else ("the context" if cells == context else "a usual cache")
    left = [size - cells * cell_bytes for size, _ in budgets]
    usual = MAX_RAM_BYTES if free is None else min(MAX_RAM_BYTES, free // 4)
    ram_bytes = min([usual if ram < 0 else ram, *left])
    reason = f"{cells} cells of {cell_bytes} bytes, {_mib(cells * cell_bytes)}; bounded by {bound}"
    return Size(
        context=context,
        cells=cells,
        ram_bytes=ram_bytes,
        block_tokens=max(32, min(256, BLOCK_BYTES // cell_bytes // 32 * 32)),
        reason=f"{reason}; up to {_mib(ram_bytes)} for finished requests",
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
