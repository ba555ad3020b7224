"""The protocol between two threads: one hears of messages, the other may be seconds deep in a batch that must make way.

Rule: the listening thread announces a message before the computing thread can take it, and the computing thread shows
its batch before it looks whether something was announced since the plan was made. Whichever is first, one of the two
sees the other: a message stops the batch, or the batch is not begun. Nothing is locked: each field has one writer.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Protocol

from threadrunner.engine.scheduler import Chunk
from threadrunner.engine.sequence import Priority, Sequence


class AbortFlag(Protocol):
    """What makes a running batch return early (llama.Context is one). `set_abort` may be called on any thread."""

    def set_abort(self) -> None: ...

    def clear_abort(self) -> None: ...


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """What the batch under way is, for the thread that may have to stop it."""

    prefill: int
    """Its tokens of prompts."""
    priority: Priority
    """The most urgent one of these prompts."""
    prefilling: frozenset[int]
    """Ids of the requests whose prompts they are."""

    @classmethod
    def of(cls, chunks: Seq[Chunk[Sequence]]) -> RunningBatch:
        prefill = [(sequence, size) for sequence, size, *_ in chunks if not sequence.decoding]
        if not prefill:
            return DECODING
        return cls(
            sum(size for _, size in prefill),
            min(sequence.priority for sequence, _ in prefill),
            frozenset(sequence.request.id for sequence, _ in prefill),
        )


DECODING = RunningBatch(0, Priority.INTERACTIVE, frozenset())
"""A token for each sequence: too short to be worth stopping."""


class Interruption:
    """Stops the batch under way for what is announced, and tells the next step that something is about to arrive."""

    def __init__(self, flag: AbortFlag, *, min_prefill: int, recurrent: bool) -> None:
        """A batch with up to `min_prefill` prompt tokens ends soon enough by itself."""
        self._flag = flag
        self._min_prefill = min_prefill
        self._recurrent = recurrent
        self._announced = 0  # messages, since the start; written by the listening thread
        self._arrived = 0  # those of them that the computing thread has taken, or no longer expects
        self._planned_at = 0  # `_announced` when the present step was planned
        self._batch: RunningBatch | None = None

    # on the listening thread

    def announce_request(self, priority: Priority) -> None:
        """A request is coming: stop the batch if it is a prefill that this priority should not wait for."""
        self._announced += 1
        batch = self._batch
        if self._recurrent or batch is None:
            return  # an aborted prefill of a recurrent model would begin again; its batches are short therefore
        if batch.prefill > self._min_prefill and priority <= batch.priority:
            self._flag.set_abort()

    def announce_cancel(self, id: int | None) -> None:
        """A cancel is coming: stop the batch if it is this request's prefill; with None, whatever it is."""
        self._announced += 1
        batch = self._batch
        if batch is None or (id is not None and self._recurrent):
            return  # the batch is short, and stopped it would cost all others in it what they have evaluated
        if id is None or id in batch.prefilling:
            self._flag.set_abort()

    # on the computing thread

    def arrived(self) -> None:
        """An announced message is here."""
        self._arrived = min(self._arrived + 1, self._announced)

    def begin_step(self) -> bool:
        """Before a batch is planned. Whether a message is announced that is not here yet: then the batch should be
        small. It is expected for this one step only, since what was announced may never come."""
        self._flag.clear_abort()
        announced = self._announced
        expected = announced != self._arrived
        self._arrived = self._planned_at = announced
        return expected

    def begin_batch(self, chunks: Seq[Chunk[Sequence]]) -> bool:
        """The batch can be seen, and stopped, from now on. False when it must not be evaluated: a message was announced
        since the step began, whose thread may have looked before there was a batch to see. Without prompts in it, the
        chunks may be left out."""
        # before the look, or an announcement between the two would be lost
        self._batch = RunningBatch.of(chunks) if chunks else DECODING
        if self._announced == self._planned_at:
            return True
        self._batch = None
        return False

    def end_batch(self) -> None:
        """The batch was evaluated. An abort that comes too late for it is cleared by `begin_step`, or stops the next
        batch, which costs that step and nothing else."""
        self._batch = None
