"""`python -m threadrunner.daemon.downloads.hub_process REPO WANTED FOLDER PARTS`: fetch a model from the Hugging Face
hub; PARTS is one of staging.Parts.

Writes one JSON object a line: {"done", "total"} as it goes, and at its end {"path", "missing"} or {"error"}, which is
an error as on the wire (code, message, data). If it is ended or the connection is cut, what has arrived stays in a
`.pull-*` folder, and the next run continues from there. huggingface_hub knows the endpoint (HF_ENDPOINT), the user's
token (HF_TOKEN, or the one `hf auth login` has stored) and the proxy; the transfer is ours, because huggingface_hub
keeps nothing of a transfer that was cut.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from threadrunner.api.errors import ApiError, FetchFailed, ModelLoadFailed, ModelNotFound
from threadrunner.daemon.downloads import staging
from threadrunner.daemon.downloads.staging import Fetched, Parts, arrived
from threadrunner.daemon.gguf.check import check_gguf
from threadrunner.daemon.gguf.mmproj import check_mmproj
from threadrunner.daemon.models import encoder_names, mmproj, selection
from threadrunner.system import files

TRIES = 5
"""Cuts in a row, without a byte between them, until we give up."""
REPORT_EVERY = 0.1
"""Seconds."""
SPARE = 64 << 20
"""Bytes that stay free on the disk."""
TIMEOUT = 30.0
"""Seconds without a byte until a connection counts as cut."""


class File(NamedTuple):
    """A file of the repository."""

    name: str
    size: int
    sha256: str
    """Empty if the hub has none: small files outside of its large-file storage."""

    @property
    def local_name(self) -> str:
        """Its name here: a folder in the repository is left out, a path never comes in."""
        return PurePosixPath(self.name).name


class Wanted(NamedTuple):
    """What a name means in a repository."""

    repo: str
    commit: str
    files: list[File]
    """The model's, the first part first."""
    encoder: File | None = None
    """Of pictures, for this model."""

    def workspace(self, file: str) -> str:
        """Where that waits until it is whole. The commit is what the server says, and becomes a part of a path."""
        return f"{re.sub('[^0-9a-z]', '', self.commit)[:12]}-{file}"


def main(repo: str, wanted: str, folder: str, parts: Parts = "both") -> int:
    """Fetch, and write lines. Returns the exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        fetched = fetch(repo, wanted, Path(folder), parts)
        _write(path=fetched.path, missing=fetched.missing)
    except OSError as error:
        return _failed(staging.disk_failure(error, Path(folder)))
    except ApiError as error:
        return _failed(error)
    return 0


def _failed(error: ApiError) -> int:
    _write(error={"code": error.code, "message": error.message, "data": error.data})
    return 1


def _write(**line: object) -> None:
    print(json.dumps(line), flush=True)


def fetch(repo: str, wanted: str, folder: Path, parts: Parts = "both") -> Fetched:
    """The (first) file's path, and why the encoder of pictures that the repository has beside it could not be had: a
    model without one is of use too.

    Raises FetchFailed, ModelNotFound, ModelLoadFailed for a file that is not a usable model, OSError of the disk.
    """
    asked = ask(repo, wanted)
    names = [file.local_name for file in asked.files]
    first = folder / names[0]
    with staging.resumable(folder, asked.workspace(names[0])) as work:
        # else another request has just brought the same files
        new = parts != "encoder" and not all(arrived(folder / file.local_name) == file.size for file in asked.files)
        files = asked.files if new else []
        encoder = asked.encoder if parts != "model" and not mmproj.beside(str(first)) else None
        sizes = [file.size for file in (*files, *filter(None, [encoder]))]
        staging.check_space(work, sum(sizes) - sum(arrived(work / file.local_name) for file in files) + SPARE)
        for number, file in enumerate(files):
            progress = TransferProgress(sum(sizes[:number]), sum(sizes))
            Transfer(asked, file, work / file.local_name, progress).run()
        if files:
            check_gguf(str(work / names[0]))
        missing = ""
        if encoder is not None:  # before the model has its name: it would be loaded blind
            progress = TransferProgress(sum(sizes[: len(files)]), sum(sizes))
            missing = _bring_encoder(asked, encoder, first, progress)
        if files:
            staging.publish(work, names, folder)
    return Fetched(str(first), missing)


def _bring_encoder(asked: Wanted, encoder: File, model: Path, progress: TransferProgress) -> str:
    """Put it beside the model. Returns why that could not be done; what has come of it is kept for the next time."""
    name = encoder_names.local_name(encoder.name, model.name)
    try:
        # A workspace of its own: two sizes of a model share one encoder.
        with staging.resumable(model.parent, asked.workspace(name)) as work:
            if not mmproj.beside(str(model)):
                Transfer(asked, encoder, work / name, progress).run()
                _check_encoder(work / name)
                staging.publish(work, [name], model.parent)
    except (ApiError, OSError) as error:
        failure = error if isinstance(error, ApiError) else staging.disk_failure(error, model.parent)
        return f"the encoder of pictures {encoder.name}: {failure.message}"
    return ""


def _check_encoder(path: Path) -> None:
    """Raises ModelLoadFailed, and removes it, for one that is of no use here."""
    try:
        if not check_mmproj(str(path)).vision:
            raise ModelLoadFailed("it is for sound alone, which is not supported")
    except ModelLoadFailed:
        path.unlink()
        raise


def ask(repo: str, wanted: str) -> Wanted:
    """What to fetch. Raises FetchFailed, ModelNotFound."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=TIMEOUT)
    except GatedRepoError:
        raise _gated(repo) from None
    except RepositoryNotFoundError:
        raise ModelNotFound(
            f"there is no such repository, or it is private: check the name {repo}; for a private one set HF_TOKEN (or "
            "run `hf auth login`) and restart the daemon"
        ) from None
    except HFValidationError as error:
        raise ModelNotFound(str(error)) from None
    except HfHubHTTPError as error:
        forbidden = error.response.status_code in (401, 403)
        advice = "check HF_TOKEN" if forbidden else "run the command again later"
        text = f"{' '.join(str(error).split())}; {advice}"
        raise FetchFailed(text, reason="forbidden" if forbidden else "network") from None
    except Exception as error:  # an HTTP client's own, whose module has another name with each version
        text = f"the hub cannot be reached: {error or type(error).__name__}; is there a network?"
        raise FetchFailed(text, reason="network") from None
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    try:
        chosen = selection.choose(siblings, wanted)
    except selection.NoMatch as error:
        raise ModelNotFound(str(error)) from None
    if absent := [name for name in chosen if name not in siblings]:
        raise ModelNotFound(f"the repository lacks {absent[0]}, a part of {chosen[0]}")
    encoder = encoder_names.along(chosen[0], siblings)
    files = [
        File(name, siblings[name].size or 0, siblings[name].lfs.sha256 if siblings[name].lfs else "")  # type: ignore[union-attr]
        for name in [*chosen, *filter(None, [encoder])]
    ]
    return Wanted(repo, info.sha or "main", files[: len(chosen)], files[-1] if encoder else None)


def _gated(repo: str) -> FetchFailed:
    page = f"{os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'}/{repo}"
    return FetchFailed(
        f"this repository is gated: accept its terms on {page}, set HF_TOKEN (or run `hf auth login`), and restart the "
        "daemon",
        reason="gated",
    )


class TransferProgress:
    """Writes how much of all files has arrived, while one of them is transferred."""

    def __init__(self, before: int, total: int) -> None:
        self._before = before
        """Bytes of the files before this one."""
        self._total = total
        self._written = 0.0

    def tell(self, have: int, size: int) -> None:
        """`have` of the file's `size` bytes are here."""
        now = time.monotonic()
        if now - self._written > REPORT_EVERY or have == size:
            self._written = now
            _write(done=self._before + have, total=self._total)


class Transfer:
    """One file: from what is here already to its end, over as many connections as it takes."""

    def __init__(self, asked: Wanted, file: File, path: Path, progress: TransferProgress) -> None:
        self._asked = asked
        self._file = file
        self._path = path
        self._progress = progress

    def run(self) -> None:
        """Returns once the file is on the disk and its sum is right.

        Raises FetchFailed, ModelNotFound if it has gone from the hub, OSError if the disk fails.
        """
        failures = 0
        while (have := arrived(self._path)) < self._file.size:
            try:
                self._receive(have)
                cause = "the connection was cut"
            except ApiError:
                raise
            except Exception as error:  # see ask
                if staging.is_disk_error(error):
                    raise
                cause = str(error) or type(error).__name__
            failures = 0 if arrived(self._path) > have else failures + 1
            if failures == TRIES:
                text = f"{cause}; run the command again, it goes on from byte {arrived(self._path)}"
                raise FetchFailed(text, reason="network")
            if failures:
                time.sleep(0.1 * 2**failures)
        staging.settle(self._path, self._file.sha256)

    def _receive(self, have: int) -> None:
        """Add what one connection brings, from byte `have` on."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public by its documentation

        url = hf_hub_url(self._asked.repo, self._file.name, revision=self._asked.commit)
        # Compressed on the way, an offset would mean something else on both ends.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={have}-"}
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the file there is shorter than what we have: not the same one
                self._path.unlink()
                return
            self._check_status(answer.status_code, answer.headers.get("X-Error-Code", ""))
            with open(self._path, "ab" if answer.status_code == 206 else "wb", opener=_no_link) as out:
                for block in answer.iter_raw():  # as it comes: what is collected into larger blocks is lost with a cut
                    if out.tell() + len(block) > self._file.size:
                        text = f"{self._file.name} is longer than the {self._file.size} bytes that were promised"
                        raise FetchFailed(text, reason="checksum")
                    out.write(block)
                    self._progress.tell(out.tell(), self._file.size)

    def _check_status(self, status: int, code: str) -> None:
        """Raises what an answer without the file means: OSError for one that may be better next time."""
        if code == "GatedRepo":  # the list of its files is open to everybody, the files are not
            raise _gated(self._asked.repo)
        if status in (401, 403):
            text = f"the hub refuses {self._file.name} (status {status}); set HF_TOKEN and restart the daemon"
            raise FetchFailed(text, reason="forbidden")
        if status == 404:
            raise ModelNotFound(f"the repository has no {self._file.name} any more")
        if status not in (200, 206):
            raise OSError(f"the hub answers with status {status}")


def _no_link(path: str, flags: int) -> int:
    """Open a file of ours: what a link points to is not."""
    return os.open(path, flags | files.NOFOLLOW | files.OWN, 0o666)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]  # as hub.py writes them
