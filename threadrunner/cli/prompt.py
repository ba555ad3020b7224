"""One prompt: the command line and standard input to params of `generate`; its events to the screen."""

from __future__ import annotations

import os

from threadrunner import exits
from threadrunner.api.errors import ApiError
from threadrunner.cli import render, request, signals, stdin
from threadrunner.cli.flags import UsageError
from threadrunner.client import autostart
from threadrunner.wire import messages
from threadrunner.wire.framing import FRAME_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from threadrunner.cli.flags import Options

_GRACE_SECONDS = 1  # beyond --timeout, for a daemon that does not keep to it
_LEAST_SECONDS = 0.001  # what may be left of --timeout; a request must have some
_SAME_NAME = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop")


def run(options: Options) -> int:
    events = render.Events() if options.json else None
    if events is not None:
        signals.report_to(events.error)
    if options.timeout is not None:
        signals.after(options.timeout, f"standard input has not ended within {options.timeout:g} s (--timeout)")
    params = gather(options)
    if options.timeout is not None:
        params["timeout"] = max(options.timeout - signals.age(), _LEAST_SECONDS)
        late = f"no answer within {options.timeout:g} s (--timeout); `threadrunner doctor` looks into it"
        signals.after(options.timeout + _GRACE_SECONDS, late)
    return _as_json(params, events) if events is not None else _as_text(params, options)


def gather(options: Options) -> dict[str, Any]:
    """The params of `generate`. Raises UsageError."""
    priority = "interactive" if os.isatty(1) else "normal"
    params: dict[str, Any] = {"prompt": _text(options), "stream": not options.no_stream, "priority": priority}
    params |= {name: value for name in _SAME_NAME if (value := getattr(options, name)) is not None}
    if options.system is not None:
        params["system"] = request.words_text([options.system])
    if options.raw:
        params["raw"] = True
    if options.schema is not None:
        params["json_schema"] = _schema(options.schema)
    if options.grammar is not None:
        params["grammar"] = stdin.decode(_file(options.grammar), options.grammar)
    return {**params, **_model_and_conversation(options), **request.keep_alive()}


def _text(options: Options) -> str:
    """The argument, a blank line, the piped text; or the one that there is. Raises UsageError where both are empty."""
    words = options.words if options.words != ["-"] else []  # a lone - is the usual sign for standard input
    argument = request.words_text(words)
    piped = stdin.read(expected=not argument)
    if not options.raw:
        piped = piped.rstrip("\r\n")
    prompt = f"{argument}\n\n{piped}" if argument and piped else argument or piped
    if not prompt.strip() and not (options.raw and prompt):
        raise UsageError("the prompt is empty; give it as an argument or pipe text in")
    return prompt


def _model_and_conversation(options: Options) -> dict[str, Any]:
    params = request.target(options.model, options.backend, options.offline)
    if options.session is not None or options.mode is not None:
        params = request.as_defaults(params, options.model, options.backend)
    if options.session is not None:
        params["session"] = request.words_text([options.session])
    if options.mode is not None:
        params["mode"] = request.words_text([options.mode])
    if options.memory:
        params["memory"] = True
    return params


def _schema(path: str) -> dict[str, Any] | bool:
    try:
        schema = messages.decode(stdin.decode(_file(path), path).encode())
    except messages.DecodeError as error:
        raise UsageError(f'{path}: {error}; expected a JSON Schema, e.g. {{"type": "object"}}') from None
    if not isinstance(schema, (dict, bool)):
        raise UsageError(f'{path}: a JSON Schema is an object, e.g. {{"type": "object"}}, or true')
    return schema


def _file(path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read(FRAME_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _as_text(params: dict[str, Any], options: Options) -> int:
    answer, reply = render.AnswerWriter(), request.Reply("generate", params, watch=1)
    streamed = 0  # characters
    signals.before_end(reply.progress.clear, answer.break_off)
    try:
        for token in reply:
            if token["index"] == 0:
                answer.write(token["text"])
                streamed += len(token["text"])
    except ApiError:
        answer.break_off()
        raise
    answer.write(reply.result["text"][streamed:])  # all of it, where nothing was streamed
    answer.finish()
    render.notices(reply.result)
    if options.stats:
        render.say(render.stats_line(reply.result))
    return exits.OK


def _as_json(params: dict[str, Any], events: render.Events) -> int:
    for event, payload in autostart.request("generate", params, watch=1):
        events.emit(event, {name: value for name, value in payload.items() if name != "request"})
    return exits.OK
