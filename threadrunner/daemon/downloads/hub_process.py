"""`python -m threadrunner.daemon.downloads.hub_process REPO WANTED FOLDER`: fetch a model from the Hugging Face hub.

Says a JSON object a line: {"done", "total"} as it goes, and at its end {"path"} or {"error"}. What has arrived stays in
a `.pull-*` folder when it is ended or the connection is cut; the next run goes on from there. huggingface_hub knows the
endpoint (HF_ENDPOINT), the user's token (HF_TOKEN, or the one `hf auth login` has stored) and the proxy; the transfer
is ours, because it keeps nothing of a transfer that was cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf.check import check_gguf
from threadrunner.daemon.models import selection

TRIES = 5
"""Cuts in a row, without a byte between them, until we give up."""
SAY_EVERY = 0.1
SPARE = 64 << 20
TIMEOUT = 30.0
"""Seconds without a byte until a connection counts as cut."""


class Failed(Exception):
    """The text says why, and what to do."""


class File(NamedTuple):
    name: str
    size: int
    sha256: str
    """Empty where the hub has none: small files outside of its large-file storage."""

    @property
    def place(self) -> str:
        """Its name here: a folder in the repository is left out, a path never comes in."""
        return PurePosixPath(self.name).name


def main(repo: str, wanted: str, folder: str) -> int:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        say(path=fetch(repo, wanted, Path(folder)))
    except Failed as error:
        say(error=str(error))
        return 1
    return 0


def say(**about: Any) -> None:
    print(json.dumps(about), flush=True)


def fetch(repo: str, wanted: str, folder: Path) -> str:
    """Raises Failed."""
    commit, files = ask(repo, wanted)
    with working(folder, f"{commit[:12]}-{files[0].place}") as work:
        if all(arrived(folder / file.place) == file.size for file in files):
            return str(folder / files[0].place)  # another wish has just brought the same files
        missing = sum(file.size - arrived(work / file.place) for file in files)
        free = shutil.disk_usage(work).free
        if free < missing + SPARE:
            raise Failed(f"{missing + SPARE >> 20} MB more are needed in {folder}, {free >> 20} MB are free")
        before = 0
        for file in files:
            Transfer(repo, commit, file, work / file.place, before, sum(f.size for f in files)).run()
            before += file.size
        try:
            check_gguf(str(work / files[0].place))
        except ModelLoadFailed as error:
            raise Failed(error.message) from None
        for file in reversed(files):  # the first part last: only with it does the model exist
            os.replace(work / file.place, folder / file.place)
    return str(folder / files[0].place)


def ask(repo: str, wanted: str) -> tuple[str, list[File]]:
    """The repository's commit, and the files to fetch. Raises Failed."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=TIMEOUT)
    except GatedRepoError:
        raise Failed(
            f"its owner asks for your consent first: agree on the page of {repo}, then set HF_TOKEN (or run "
            "`hf auth login`) and start the daemon anew"
        ) from None
    except RepositoryNotFoundError:
        raise Failed(
            f"there is no such repository, or it is private: check the name {repo}; for a private one set HF_TOKEN (or "
            "run `hf auth login`) and start the daemon anew"
        ) from None
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        raise Failed(f"{type(error).__name__}: {error}") from None
    except Exception as error:  # an HTTP client's own, whose module has another name with each version
        raise Failed(f"the hub cannot be reached: {error or type(error).__name__}; is there a network?") from None
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    try:
        chosen = selection.choose(siblings, wanted)
    except selection.NoMatch as error:
        raise Failed(str(error)) from None
    if absent := [name for name in chosen if name not in siblings]:
        raise Failed(f"the repository lacks {absent[0]}, a part of {chosen[0]}")
    return info.sha or "main", [
        File(name, siblings[name].size or 0, siblings[name].lfs.sha256 if siblings[name].lfs else "")  # type: ignore[union-attr]
        for name in chosen
    ]


@contextlib.contextmanager
def working(folder: Path, name: str) -> Iterator[Path]:
    """A folder for what is under way, ours alone; kept unless all went well. Waits for another who has it."""
    work = folder / f".pull-{name}"
    while (lock := _locked(work)) is None:
        pass  # who had it has finished, and removed what we waited for
    with os.fdopen(lock):
        yield work
        shutil.rmtree(work, ignore_errors=True)


def _locked(work: Path) -> int | None:
    """Its lock's descriptor; None when somebody else has removed it in the meantime."""
    work.mkdir(exist_ok=True)
    try:
        lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.fstat(lock).st_ino == (work / "lock").stat().st_ino:
            return lock
    os.close(lock)
    return None


def arrived(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class Transfer:
    """One file: from what is there to its end, over as many connections as it takes."""

    def __init__(self, repo: str, commit: str, file: File, path: Path, before: int, total: int) -> None:
        self._repo = repo
        self._commit = commit
        self._file = file
        self._path = path
        self._before = before
        self._total = total
        self._said = 0.0

    def run(self) -> None:
        """Raises Failed."""
        failures = 0
        while (have := arrived(self._path)) < self._file.size:
            try:
                self._receive(have)
                reason = "the connection was cut"
            except Failed:
                raise
            except Exception as error:  # see ask
                reason = str(error) or type(error).__name__
            failures = 0 if arrived(self._path) > have else failures + 1
            if failures == TRIES:
                raise Failed(f"{reason}; run the command again, it goes on from byte {arrived(self._path)}")
            if failures:
                time.sleep(0.1 * 2**failures)
        self._verify()

    def _receive(self, have: int) -> None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public by its documentation

        url = hf_hub_url(self._repo, self._file.name, revision=self._commit)
        # Compressed on the way, an offset would mean something else on both ends.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={have}-"}
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the file there is shorter than what we have: not the same one
                self._path.unlink()
                return
            if answer.status_code in (401, 403):
                raise Failed(f"the hub forbids {self._file.name} (status {answer.status_code}); set HF_TOKEN")
            if answer.status_code not in (200, 206):
                raise OSError(f"the hub answers with status {answer.status_code}")
            with self._path.open("ab" if answer.status_code == 206 else "wb") as out:
                for block in answer.iter_raw():  # as it comes: what is collected into larger blocks is lost with a cut
                    if out.tell() + len(block) > self._file.size:
                        raise Failed(f"{self._file.name} is longer than the {self._file.size} bytes that were promised")
                    out.write(block)
                    self._tell(out.tell())

    def _tell(self, have: int) -> None:
        now = time.monotonic()
        if now - self._said > SAY_EVERY or have == self._file.size:
            self._said = now
            say(done=self._before + have, total=self._total)

    def _verify(self) -> None:
        """Raises Failed for a wrong sum; the file is gone then."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if self._file.sha256 and got != self._file.sha256:
            self._path.unlink()
            raise Failed(
                f"{self._file.name} has the wrong sha256: {got}, not {self._file.sha256}. It was not kept; run the "
                "command again, and if it stays so, do not trust the endpoint you use"
            )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
