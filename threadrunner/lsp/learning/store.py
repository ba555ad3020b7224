"""Where what is learned is kept: `learned/` under THREADRUNNER_HOME, habits.json and a file of snippets a workspace.

Each write adds what was learned since the last one to what the file has by then; so several editors share it, and a
deleted file stays deleted, but for what comes afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from threadrunner import config, paths
from threadrunner.learning import files, kept
from threadrunner.learning.habits import Habits
from threadrunner.lsp.learning.learner import Learner
from threadrunner.lsp.learning.memory import Memento, Memory
from threadrunner.lsp.learning.prior import habits

log = logging.getLogger("threadrunner.lsp")


def snippets_file(root: str) -> str:
    """Of a workspace folder, below `learned/`."""
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return os.path.join(kept.SNIPPETS, f"{digest}.json")


class LearnedStore:
    """The files of one learner. `allowed` is read anew with each write: `threadrunner learn off` holds from then on."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder or paths.learned_dir()
        self._base = habits()
        self._lock = asyncio.Lock()

    async def sync(self, learner: Learner) -> None:
        """Write what was learned since the last time, and take over what others have. A failure is logged.

        Once begun it is carried through, also when the caller is cancelled: written, and not known to be, it would be
        written again.
        """
        await asyncio.shield(self._carried_through(learner))

    def finish(self, learner: Learner) -> None:
        """Write what was learned since the last time, at once: the process ends, and the editor waits. A failure is
        logged. Where a `sync` is under way, its thread writes all but what came since it began."""
        if self._lock.locked() or not learner.enabled:
            return
        learned, fresh = self._taken(learner, learner.habits)
        try:
            if learned is not None or any(fresh.values()):
                self._sync(learned, fresh)
        except OSError as error:
            log.warning("what was learned cannot be written: %s", error)

    def _taken(self, learner: Learner, now: Habits) -> tuple[Habits | None, dict[str, list[Memento]]]:
        """What no file has yet, of habits and of snippets; it counts as written."""
        fresh = {root: memory.fresh for root, memory in learner.keeping.memories.items()}
        for memory in learner.keeping.memories.values():
            memory.fresh = []
        learned = now.since(self._base) if learner.outcomes else None
        learner.outcomes = 0
        return learned, fresh

    async def _carried_through(self, learner: Learner) -> None:
        async with self._lock:
            now = learner.habits.copy()
            learned, fresh = self._taken(learner, now)
            try:
                learner.allowed = await asyncio.to_thread(_allowed)
                if not learner.enabled:
                    learner.take(self._base.copy())
                else:
                    known, memories = await asyncio.to_thread(self._sync, learned, fresh)
                    self._base = known.copy()
                    learner.take(known.plus(learner.habits.since(now)))
                    learner.keeping.replace(memories)
            except OSError as error:
                log.warning("what was learned cannot be written: %s", error)
                for root, memory in learner.keeping.memories.items():
                    memory.fresh = [*fresh.get(root, ()), *memory.fresh]

    def _sync(self, learned: Habits | None, fresh: Mapping[str, Sequence[Memento]]) -> tuple[Habits, dict[str, Memory]]:
        path = os.path.join(self._folder, kept.HABITS)
        if learned is None:
            known = _habits(path, files.read(path))
        else:
            known = habits().read(files.change(path, lambda told: _habits(path, told).plus(learned).told()))
        return known, {root: self._snippets(root, new) for root, new in fresh.items()}

    def _snippets(self, root: str, fresh: Sequence[Memento]) -> Memory:
        path = os.path.join(self._folder, snippets_file(root))
        if not fresh:
            return _memory(path, files.read(path))

        def changed(told: dict[str, Any] | None) -> dict[str, Any]:
            memory = _memory(path, told)
            for memento in fresh:
                memory.add(memento)
            return memory.told(root)

        found = Memory.read(files.change(path, changed))
        kept.prune(self._folder)
        return found


def _allowed() -> bool:
    """Whether the user lets it be learned. Not where the environment cannot be read: it may say no."""
    try:
        return config.readable()[0].learn
    except config.ConfigError:
        return False


def _habits(path: str, told: dict[str, Any] | None) -> Habits:
    try:
        return habits() if told is None else habits().read(told)
    except ValueError as error:
        files.set_aside(path, str(error))
        return habits()


def _memory(path: str, told: dict[str, Any] | None) -> Memory:
    try:
        return Memory() if told is None else Memory.read(told)
    except ValueError as error:
        files.set_aside(path, str(error))
        return Memory()
