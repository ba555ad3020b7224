"""What commands have in common when they ask the daemon: how flags and environment choose the model, and how the
events of one request are read."""

from __future__ import annotations

import os

from threadrunner import paths
from threadrunner.cli import render, signals, stdin
from threadrunner.cli.flags import UsageError, number
from threadrunner.client import autostart, blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def target(model: str | None, backend: str | None = None, offline: bool = False) -> dict[str, Any]:
    """The params that choose the model: by the flags, else by this shell's environment, which the daemon's may not be.

    Raises UsageError for an empty name.
    """
    env = os.environ.get
    params: dict[str, Any] = {}
    if model is not None:
        params["model"] = model_name(model)
    elif env("THREADRUNNER_MODEL_PATH"):
        params["model"] = paths.absolute(env("THREADRUNNER_MODEL_PATH", ""))
    elif env("THREADRUNNER_MODEL"):
        params["model"] = model_name(env("THREADRUNNER_MODEL", ""))
    backend = backend or env("THREADRUNNER_BACKEND")
    if backend:
        params["backend"] = backend
    if offline or _offline(env("THREADRUNNER_OFFLINE", "")):
        params["offline"] = True
    return params


def _offline(text: str) -> bool:
    try:
        return paths.is_true(text)
    except ValueError as error:
        raise UsageError(f"THREADRUNNER_OFFLINE: {error}") from None


def as_defaults(chosen: dict[str, Any], model: str | None, backend: str | None) -> dict[str, Any]:
    """`chosen` for a request with a conversation or a mode: where the flags (`model`, `backend`) do not decide, the
    model that those name comes before the environment's, which is sent as `default_model`, `default_backend`."""
    weak = {name for name, flag in (("model", model), ("backend", backend)) if flag is None}
    return {f"default_{name}" if name in weak else name: value for name, value in chosen.items()}


def keep_alive() -> dict[str, float]:
    """The param of that name where the environment sets it. Raises UsageError where its value is not a number."""
    text = os.environ.get("THREADRUNNER_KEEP_ALIVE")
    if not text:
        return {}
    try:
        seconds = number(text)
        if seconds < -1:
            raise ValueError(f"expected -1 or more, got {text!r}")
        return {"keep_alive": seconds}
    except ValueError as error:
        raise UsageError(f"THREADRUNNER_KEEP_ALIVE: {error}; it means seconds, -1 for good") from None


def thinking() -> str | None:
    """What the environment says of what the model thinks: show or hide. Raises UsageError."""
    how = os.environ.get("THREADRUNNER_THINKING")
    if how and how not in ("show", "hide"):
        raise UsageError(f"THREADRUNNER_THINKING: expected show or hide, got {how[:40]!r}")
    return how or None


def model_name(text: str, folders: bool = False) -> str:
    """A path as an absolute one, since the daemon runs in another folder; any other name as it is. `folders`: where a
    folder will do too.

    Raises UsageError for an empty one.
    """
    if not text:
        raise UsageError("the model's name is empty; `threadrunner models list` shows the names")
    if text.startswith(("hf:", "ollama:", "lmstudio:", "remote:")):
        return text
    there = os.path.isfile(text) or (folders and os.path.isdir(text))
    if os.sep in text or text.endswith(".gguf"):
        looks = text.startswith(("/", "./", "../", "~")) or (os.sep in text and text.endswith(".gguf"))
        return paths.absolute(text) if looks or there else text
    if text.startswith("~") or text in (".", ".."):
        return paths.absolute(text)
    return paths.absolute(text) if there and ":" not in text and _holds_a_model(text) and not _is_named(text) else text


def _holds_a_model(path: str) -> bool:
    """Whether what is here under a model's name can be what was meant: projects have files and folders `coder`."""
    try:
        if os.path.isdir(path):
            return any(name.endswith(".gguf") for name in os.listdir(path))
        with open(path, "rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _is_named(text: str) -> bool:
    """Whether it is a name that we know: of a file in the models folder, or an alias."""
    from threadrunner import config

    if os.path.isfile(os.path.join(paths.models_dir(), f"{text}.gguf")):
        return True
    try:
        return text in config.load().aliases
    except config.ConfigError:  # the daemon says so
        return False


def words_text(words: list[str]) -> str:
    """Arguments as one text. Raises UsageError where their bytes are not UTF-8."""
    text = " ".join(words)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # in a locale without UTF-8 it may be UTF-8 all the same
        return stdin.decode(os.fsencode(text), "the argument")
    return text


class Reply:
    """One request's answer as it arrives. Iterating gives the payloads of its tokens, while progress is drawn on the
    terminal; at the end `result` is there. Iterating raises ApiError."""

    def __init__(self, method: str, params: dict[str, Any], watch: int | None = None) -> None:
        """See `autostart.request`. Raises InvalidParams for a request that is too large to be sent."""
        self.result: dict[str, Any] = {}
        self.begun = False
        """Whether the daemon has sent anything about the request."""
        self.progress = render.ProgressLine()
        self.asked = blocking.EncodedRequest(method, params)
        self.on_candidate: Callable[[dict[str, Any]], None] | None = None
        """Told of each of several answers."""
        self._events = autostart.events(self.asked, watch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for event, payload in self._events:
                self.begun = True
                if event == "progress":
                    self.progress.show(payload["stage"], payload["done"], payload["total"])
                    continue
                if (
                    "kind" not in payload and event != "candidate"
                ):  # a thought or a call may stay behind that line: see cli/thinking.py
                    self.progress.finish()
                if event == "token":
                    yield payload
                elif event == "result":
                    self.result = payload
                elif event == "candidate" and self.on_candidate is not None:
                    self.on_candidate(payload)
        finally:
            self.progress.clear()


def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of a request to a daemon that is started if there is none; its progress is shown. Raises ApiError."""
    reply = Reply(method, params)
    signals.before_end(reply.progress.clear)
    for _ in reply:
        pass
    return reply.result


def conversation(name: str, last: int | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A conversation and its turns: all, or the `last` ones, in as many requests as that takes.

    Raises UsageError for a `last` below 1, SessionNotFound.
    """
    params: dict[str, Any] = {"session": name}
    if last is not None:
        if last < 1:
            raise UsageError("-n: expected 1 or more turns")
        params["last"] = last
    page = ask("sessions.show", params)
    turns = page["turns"]
    while page["more"]:
        page = ask("sessions.show", {"session": page["session"]["name"], "after": turns[-1]["number"]})
        turns += page["turns"]
    return page["session"], turns
