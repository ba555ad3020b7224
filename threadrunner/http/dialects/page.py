"""The page at `/`, and its files under `/page/`.

The files' names have a hash of all of them in their path, so that a browser may keep them for ever and no tab mixes
two versions; only the page itself is asked for each time.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from threadrunner.http.failures import HttpFailure
from threadrunner.http.gateway import Gateway

FOLDER = Path(__file__).parent.parent / "page"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Whatever assigns text as HTML throws: a model's words can become elements in no way but our own renderer's.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

GUARD = {
    "content-security-policy": CSP,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-frame-options": "DENY",
}
"""Beside what the gate adds to every answer."""

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
PLAIN = "Ollama is running"
"""What `GET /` says to whatever is no browser: by this text Ollama's clients see whether a server is there."""


class PageFile(NamedTuple):
    body: bytes
    packed: bytes
    """The same by gzip."""
    type: str
    tag: str


class PageFiles:
    """All of them, read once; `version` is in the paths under `/page/`, and all paths begin with `base`."""

    def __init__(self, folder: Path = FOLDER, base: str = "") -> None:
        self._base = base.encode()
        bodies = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix in TYPES}
        together = b"\0".join(name.encode() + b"\0" + body for name, body in bodies.items())
        self.version = hashlib.sha256(together).hexdigest()[:12]
        self._files = {name: self._file(name, body) for name, body in bodies.items()}

    def __getitem__(self, name: str) -> PageFile:
        """Raises KeyError."""
        return self._files[name]

    def _file(self, name: str, body: bytes) -> PageFile:
        suffix = Path(name).suffix
        if suffix in (".html", ".webmanifest"):
            body = body.replace(b'"/', b'"' + self._base + b"/").replace(b"/page/@/", f"/page/{self.version}/".encode())
        packed = gzip.compress(body, mtime=0)
        return PageFile(body, packed, TYPES[suffix], hashlib.sha256(body).hexdigest()[:16])


def routes(gateway: Gateway) -> list[Route]:
    files = PageFiles(base=gateway.base)

    async def page(request: Request) -> Response:
        if not wants_html(request.headers.get("accept", "")):
            return Response(PLAIN, media_type="text/plain", headers={"vary": "Accept"})
        return _answer(request, files["index.html"], ASK_AGAIN)

    async def part(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            if request.path_params["version"] != files.version or name == "index.html":
                raise KeyError(name)
            return _answer(request, files[name], FOR_EVER)
        except KeyError:
            text = "the page has no such file, or is of another version by now; load it again"
            raise HttpFailure(404, "not_found_error", text, "not_found") from None

    async def manifest(request: Request) -> Response:
        return _answer(request, files["app.webmanifest"], ASK_AGAIN)

    async def icon(request: Request) -> Response:
        return _answer(request, files["icon.svg"], ASK_AGAIN)

    return [
        Route("/", page),
        Route("/page/{version}/{name}", part),
        Route("/manifest.webmanifest", manifest),
        Route("/favicon.ico", icon),
    ]


def wants_html(accept: str) -> bool:
    """Browsers name it; SDKs and curl take anything, and mean no page."""
    return any(kind.partition(";")[0].strip().lower() == "text/html" for kind in accept.split(","))


def _answer(request: Request, file: PageFile, caching: str) -> Response:
    packs = "gzip" in request.headers.get("accept-encoding", "")
    tag = f'"{file.tag}{"-gzip" if packs else ""}"'
    headers = {**GUARD, "cache-control": caching, "etag": tag, "vary": "Accept, Accept-Encoding"}
    if tag in [known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    if packs:
        headers["content-encoding"] = "gzip"
    return Response(file.packed if packs else file.body, headers={**headers, "content-type": file.type})
