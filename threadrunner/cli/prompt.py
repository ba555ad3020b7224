"""One prompt: the command line and standard input to params of `generate`; its events to the screen."""

from __future__ import annotations

import os

from threadrunner import exits
from threadrunner.api.errors import ApiError
from threadrunner.cli import render, request, signals, stdin
from threadrunner.cli.flags import UsageError
from threadrunner.client import autostart, blocking
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from threadrunner.cli.choosing import Candidates
    from threadrunner.cli.flags import Options
    from threadrunner.cli.thinking import Thought

_GRACE_SECONDS = 1  # beyond --timeout, for a daemon that does not keep to it
_LEAST_SECONDS = 0.001  # what may be left of --timeout; a request must have some
_SMALLEST = "smollm2:135m"  # as in hint.py, which few prompts need
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
    return _as_json(params, events, options) if events is not None else _as_text(params, options)


def gather(options: Options) -> dict[str, Any]:
    """The params of `generate`. Raises UsageError."""
    priority = "interactive" if os.isatty(1) else "normal"
    params: dict[str, Any] = {**_said(options), "stream": not options.no_stream, "priority": priority}
    params |= {name: value for name in _SAME_NAME if (value := getattr(options, name)) is not None}
    if options.system is not None:
        params["system"] = request.words_text([options.system])
    if options.raw:
        params["raw"] = True
    if options.schema is not None:
        params["json_schema"] = _schema(options.schema)
    if options.grammar is not None:
        params["grammar"] = stdin.file(options.grammar)
    if options.thinking is not None:
        params["reasoning"] = "off" if options.thinking == "off" else "split"
    else:
        request.thinking()  # what means nothing is refused now, not when the model begins to think
    return {**params, **_model_and_conversation(options), **request.keep_alive(), **_rare(options), **_several(options)}


def _several(options: Options) -> dict[str, Any]:
    if not _chooses(options) and options.n is None:
        return {}
    from threadrunner.cli import choosing

    return choosing.params(options)


def _chooses(options: Options) -> bool:
    """One answer of several is chosen, or a flag says how."""
    return options.vote or options.verbose or any(
        value is not None
        for value in (options.check, options.key_field, options.key_pattern, options.least, options.otherwise,
                      options.check_timeout)
    )  # fmt: skip


def _said(options: Options) -> dict[str, Any]:
    """The prompt, or results and what the words say beside them: then nothing but a result is read from a pipe."""
    if options.result is None:
        if options.image is None and not any(word.startswith("@") for word in options.words):
            return {"prompt": _text(options, options.words)}
        from threadrunner.cli import pictures

        words, files = pictures.taken(options.words)
        files += options.image or []
        return {"prompt": _text(options, words, alone=bool(files)), "images": pictures.images(files)}
    if options.session is None:
        raise UsageError("--result belongs to a conversation: give -c, or -S NAME, too")
    from threadrunner.cli import tools

    return {"messages": tools.results(options.result, request.words_text(options.words))}


def _rare(options: Options) -> dict[str, Any]:
    """Params that few prompts have, whose code the others need not wait for."""
    if not (options.tools or options.tool_choice or options.set or options.lora):
        return {}
    from threadrunner.cli import tools

    params: dict[str, Any] = tools.settings(options.set or [])
    if options.tools is not None:
        params["tools"] = tools.read(stdin.file(options.tools), options.tools)
    if options.tool_choice is not None:
        params["tool_choice"] = tools.choice(options.tool_choice)
    if options.lora is not None:
        params["lora"] = tools.adapters(options.lora)
    return params


def _text(options: Options, words: list[str], *, alone: bool = False) -> str:
    """The argument, a blank line, the piped text; or the one that there is. Raises UsageError where both are empty,
    and no picture stands `alone`."""
    words = words if words != ["-"] else []  # a lone - is the usual sign for standard input
    argument = request.words_text(words)
    piped = stdin.read(expected=not (argument or alone))
    if not options.raw:
        piped = piped.rstrip("\r\n")
    prompt = f"{argument}\n\n{piped}" if argument and piped else argument or piped
    if not prompt.strip() and not alone and not (options.raw and prompt):
        raise UsageError("the prompt is empty; give it as an argument or pipe text in")
    return prompt


def _model_and_conversation(options: Options) -> dict[str, Any]:
    params = request.target(options.model, options.backend, options.offline)
    if options.session is not None or options.mode is not None:
        params = request.as_defaults(params, options.model, options.backend)
    if options.session is not None:
        if not options.session:
            raise UsageError("the conversation's name is empty; `threadrunner sessions list` shows the names")
        params["session"] = request.words_text([options.session])
    if options.mode is not None:
        params["mode"] = request.words_text([options.mode])
    if options.memory:
        params["memory"] = True
    return params


def _schema(path: str) -> dict[str, Any] | bool:
    try:
        schema = messages.decode(stdin.file(path).encode())
    except messages.DecodeError as error:
        raise UsageError(f'{path}: {error}; expected a JSON Schema, e.g. {{"type": "object"}}') from None
    if not isinstance(schema, (dict, bool)):
        raise UsageError(f'{path}: a JSON Schema is an object, e.g. {{"type": "object"}}, or true')
    return schema


def _as_text(params: dict[str, Any], options: Options) -> int:
    answer, reply = render.AnswerWriter(), request.Reply("generate", params, watch=1)
    other = _Other(options, reply, answer)
    streamed = 0  # characters
    candidates = _candidates(params, options, reply)
    signals.before_end(*([candidates.stop] if candidates else []), reply.progress.clear, other.break_off,
                       answer.break_off)  # fmt: skip
    try:
        for token in reply:
            if token["index"]:
                continue
            if "kind" in token:
                other.piece(token)
            else:
                other.end()
                answer.write(token["text"])
                streamed += len(token["text"])
    except ApiError as error:
        other.break_off()
        answer.break_off()
        raise (candidates.explained(error) if candidates else error) from None
    other.rest(reply.result)
    answer.write(reply.result["text"][streamed:])  # all of it, where nothing was streamed
    answer.finish()
    if reply.result.get("host"):
        render.asked(reply.result["host"])
    render.notices(reply.result)
    if reply.result.get("tool_calls"):
        from threadrunner.cli import tools

        tools.show(reply.result)
    if options.stats:
        render.say(render.stats_line(reply.result))
    if options.model is None and reply.result.get("model") == _SMALLEST and os.isatty(2):
        from threadrunner.cli import hint

        hint.better_model()
    return exits.OK


class _Other:
    """What an answer has beside its text; most have nothing, and need not wait for the code."""

    def __init__(self, options: Options, reply: request.Reply, answer: render.AnswerWriter) -> None:
        self._how = options.thinking
        self._reply = reply
        self._answer = answer
        self._thought: Thought | None = None

    def piece(self, token: dict[str, Any]) -> None:
        self._made().piece(token)

    def rest(self, result: dict[str, Any]) -> None:
        """What was not streamed."""
        if self._thought is None and result.get("reasoning"):
            self._made().piece({"kind": "reasoning", "text": result["reasoning"]})
        self.end()

    def end(self) -> None:
        if self._thought is not None:
            self._thought.end()

    def break_off(self) -> None:
        if self._thought is not None:
            self._thought.break_off()

    def _made(self) -> Thought:
        if self._thought is None:
            from threadrunner.cli import thinking

            self._thought = thinking.Thought(thinking.shown(self._how), self._reply.progress)
        self._answer.break_off()  # it may think again in the midst of an answer
        return self._thought


def _candidates(params: dict[str, Any], options: Options, reply: request.Reply) -> Candidates | None:
    if "vote" not in params:
        return None
    from threadrunner.cli import choosing

    made = choosing.Candidates(options, reply.asked, params["n"])

    def heard(payload: dict[str, Any]) -> None:
        if options.verbose:
            reply.progress.clear()
        made.heard(payload)
        reply.progress.show("answers", made.count, params["n"])

    reply.on_candidate = heard
    return made


def _as_json(params: dict[str, Any], events: render.Events, options: Options) -> int:
    asked = blocking.EncodedRequest("generate", params)
    candidates = None
    if "vote" in params:
        from threadrunner.cli import choosing

        candidates = choosing.Candidates(options, asked, params["n"], events)
        signals.before_end(candidates.stop)
    try:
        _emit_all(asked, events, candidates)
    except ApiError as error:
        raise (candidates.explained(error) if candidates else error) from None
    return exits.OK


def _emit_all(asked: blocking.EncodedRequest, events: render.Events, candidates: Candidates | None) -> None:
    for event, payload in autostart.events(asked, watch=1):
        if event == "candidate" and candidates is not None:
            candidates.heard(payload)
            continue
        if event == "result" and payload.get("tool_calls"):
            from threadrunner.cli import tools

            for call in tools.events(payload):
                events.emit("call", call)
        events.emit(event, {name: value for name, value in payload.items() if name != "request"})
