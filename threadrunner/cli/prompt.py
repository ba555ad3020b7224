"""One prompt: what the shell was given, to params of `generate`; its events, to the screen."""

from __future__ import annotations

import os

from threadrunner import exits
from threadrunner.api.errors import ApiError
from threadrunner.cli import render, signals, stdin
from threadrunner.cli.flags import UsageError, number
from threadrunner.client import autostart
from threadrunner.wire import messages
from threadrunner.wire.framing import FRAME_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from threadrunner.cli.flags import Options

_GRACE_SECONDS = 5  # beyond --timeout, for a daemon that does not keep to it


def run(options: Options) -> int:
    params = gather(options)
    check_size(params)
    if options.timeout is not None:
        signals.after(options.timeout + _GRACE_SECONDS, f"no answer within {options.timeout:g} s: the daemon hangs")
    return _as_json(params) if options.json else _as_text(params, options)


def gather(options: Options) -> dict[str, Any]:
    """The params of `generate`. Raises UsageError."""
    words = options.words if options.words != ["-"] else []  # a lone - is the usual way to say standard input
    said = words_text(words)
    piped = stdin.read(expected=not said)
    if not options.raw:
        piped = piped.rstrip("\r\n")
    prompt = f"{said}\n\n{piped}" if said and piped else said or piped
    if not prompt.strip() and not (options.raw and prompt):
        raise UsageError("the prompt is empty; give it as an argument or pipe text in")
    params: dict[str, Any] = {"prompt": prompt, "stream": not options.no_stream, "priority": _priority()}
    for name in ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "timeout"):
        value = getattr(options, name)
        if value is not None:
            params[name] = value
    if options.system is not None:
        params["system"] = words_text([options.system])
    if options.raw:
        params["raw"] = True
    if options.schema is not None:
        params["json_schema"] = _schema(options.schema)
    if options.grammar is not None:
        params["grammar"] = stdin.decode(_file(options.grammar), options.grammar)
    chosen = target(options.model, options.backend, options.offline)
    if options.session is not None or options.mode is not None:
        chosen = weaker(chosen, options.model, options.backend)
    if options.session is not None:
        params["session"] = words_text([options.session])
    if options.mode is not None:
        params["mode"] = words_text([options.mode])
    if options.memory:
        params["memory"] = True
    return {**params, **chosen, **keep_alive()}


def weaker(chosen: dict[str, Any], model: str | None, backend: str | None) -> dict[str, Any]:
    """What the flags do not say, but the environment, gives way to what a conversation remembers or a mode names."""
    if model is None and "model" in chosen:
        chosen["default_model"] = chosen.pop("model")
    if backend is None and "backend" in chosen:
        chosen["default_backend"] = chosen.pop("backend")
    return chosen


def target(model: str | None, backend: str | None = None, offline: bool = False) -> dict[str, Any]:
    """Which model answers: by the flags, else by this shell's environment, which the daemon's may not be."""
    env = os.environ.get
    params: dict[str, Any] = {}
    if model is not None:
        params["model"] = model_name(model)
    elif env("THREADRUNNER_MODEL_PATH"):
        params["model"] = os.path.abspath(os.path.expanduser(env("THREADRUNNER_MODEL_PATH", "")))
    elif env("THREADRUNNER_MODEL"):
        params["model"] = model_name(env("THREADRUNNER_MODEL", ""))
    backend = backend or env("THREADRUNNER_BACKEND")
    if backend:
        params["backend"] = backend
    if offline or env("THREADRUNNER_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        params["offline"] = True
    return params


def keep_alive() -> dict[str, float]:
    text = os.environ.get("THREADRUNNER_KEEP_ALIVE")
    if not text:
        return {}
    try:
        return {"keep_alive": number(text)}
    except ValueError as error:
        raise UsageError(f"THREADRUNNER_KEEP_ALIVE: {error}; it means seconds, -1 for good") from None


def model_name(text: str) -> str:
    """A path as an absolute one, since the daemon works in another folder; any other name as it is."""
    if not text:
        raise UsageError("the model's name is empty; `threadrunner models list` shows the names")
    if text.startswith(("hf:", "ollama:", "lmstudio:")):
        return text
    looks = text.startswith(("/", "./", "../", "~")) or (os.sep in text and text.endswith(".gguf"))
    path = os.path.abspath(os.path.expanduser(text))
    return path if looks or os.path.isfile(path) else text


def words_text(words: list[str]) -> str:
    """Arguments as one text. Raises UsageError where their bytes are no UTF-8."""
    text = " ".join(words)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        stdin.decode(os.fsencode(text), "the argument")
    return text


def check_size(params: dict[str, Any]) -> None:
    size = len(messages.encode(messages.request(1, "generate", params)))
    if size > FRAME_LIMIT:
        raise UsageError(
            f"the request has {size} bytes, the most is {FRAME_LIMIT} ({FRAME_LIMIT >> 20} MiB); send less text"
        )


def _priority() -> str:
    return "interactive" if os.isatty(1) else "normal"


def _schema(path: str) -> Any:
    try:
        schema = messages.decode(_file(path))
    except messages.DecodeError as error:
        raise UsageError(f'{path}: {error}; a JSON Schema is wanted, say {{"type": "object"}}') from None
    if not isinstance(schema, (dict, bool)):
        raise UsageError(f'{path}: a JSON Schema is an object, say {{"type": "object"}}, or true')
    return schema


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(FRAME_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _as_text(params: dict[str, Any], options: Options) -> int:
    answer, progress = render.AnswerWriter(), render.ProgressLine()
    shown = 0
    signals.before_end(progress.clear, answer.break_off)
    try:
        for event, about in autostart.request("generate", params, watch=1):
            if event == "token":
                if about["index"] == 0:
                    progress.finish()
                    answer.write(about["text"])
                    shown += len(about["text"])
            elif event == "progress":
                progress.show(about["stage"], about["done"], about["total"])
            elif event == "result":
                progress.finish()
                answer.write(about["text"][shown:])  # all of it, where nothing was streamed
                answer.finish()
                render.notices(about)
                if options.stats:
                    render.say(render.stats_line(about))
    except ApiError:
        progress.clear()
        answer.break_off()
        raise
    return exits.OK


def _as_json(params: dict[str, Any]) -> int:
    events = render.Events()
    try:
        for event, about in autostart.request("generate", params, watch=1):
            events.emit(event, {name: value for name, value in about.items() if name != "request"})
    except ApiError as error:
        events.error(error)
        raise
    return exits.OK
