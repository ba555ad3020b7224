"""TLS by certificate files: a renewed certificate is taken without a new start."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl

from threadrunner.http.sockets import CannotListen

log = logging.getLogger("threadrunner.http")

LOOK_EVERY = 60.0
"""Seconds: those who renew certificates write files, and not all can send a signal."""


class Certificate:
    """`context` is what connections are made with; those that are there keep what they began with."""

    def __init__(self, file: str, key: str) -> None:
        """The chain and its key as PEM; `key` may be the same file. Raises CannotListen."""
        self._file, self._key = file, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and later
        self.context.set_alpn_protocols(["http/1.1"])
        self._seen = self._mark()
        try:
            self._load(self.context)
        except OSError as error:  # ssl.SSLError too
            raise CannotListen(self._said(error)) from None

    def look(self) -> None:
        """Read the files again where they have changed. A pair that is not whole yet is tried at the next look."""
        if (mark := self._mark()) == self._seen:
            return
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a half would spoil the one in use
            self._load(self.context)
        except OSError as error:
            log.error("the certificate is as it was: %s", self._said(error))
            return
        self._seen = mark

    async def watched(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.look()

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._file, self._key, password=_no_password)

    def _said(self, error: OSError) -> str:
        if isinstance(error, _Encrypted):
            return f"{self._key} is encrypted, and nobody is there to type its password; give a key without one"
        if not isinstance(error, ssl.SSLError):
            return f"{_unreadable(self._file, self._key)}: {error.strerror}"
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{self._key} is not the key of the certificate in {self._file}"
        return f"{self._file} and {self._key} must be PEM files, a certificate and its key ({error.reason or error})"

    def _mark(self) -> list[tuple[int, int] | None]:
        return [_mark(self._file), _mark(self._key)]


class _Encrypted(OSError):
    """OpenSSL asks for a password, on the terminal where it is let."""


def _no_password() -> str:
    raise _Encrypted


def _mark(path: str) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def _unreadable(*paths: str) -> str:
    return next((path for path in paths if not os.access(path, os.R_OK)), paths[0])
