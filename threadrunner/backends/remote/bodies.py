"""Params to what a server is sent. Only what the request gives goes out: a default of ours would overrule the server's,
and some refuse what they do not know. Pure."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from threadrunner.api.chat import ImagePart, Message, NamedTool, TextPart, Tool, said_by_user
from threadrunner.api.errors import NotSupported
from threadrunner.api.generation import GenerateParams, InfillParams
from threadrunner.api.pictures import look
from threadrunner.api.sampling import SamplingParams
from threadrunner.backends.remote.dialects import RemoteDialect

Body = dict[str, Any]

_OURS = {
    "model", "backend", "keep_alive", "timeout", "priority", "offline", "stream", "session", "replace", "memory",
    "mode", "default_model", "default_backend", "vote", "confidence",
}  # fmt: skip
"""What is between client and daemon, and goes no further; `confidence` is a wish that need not be met."""

_ELSEWHERE = {
    "prompt", "messages", "images", "system", "raw", "prompt_tokens", "tools", "tool_choice", "parallel_tool_calls",
    "reasoning", "reasoning_budget", "template_vars", "json_schema", "json_schema_check", "grammar", "logprobs",
    "max_tokens", "n", "prefix", "suffix", "path", "language", "context", "max_time_ms",
}  # fmt: skip
"""Written by the functions below."""


def refused(dialect: RemoteDialect, what: str) -> NotSupported:
    """The error for what this dialect has no word for."""
    return NotSupported(
        f"a server that speaks {dialect.name} takes no {what}; leave it out, or ask a model that is here"
    )


def chat(dialect: RemoteDialect, model: str, params: GenerateParams) -> Body:
    """Of `/chat/completions`. Raises NotSupported."""
    body: Body = {"model": model, "messages": messages(params), "stream": True, **dialect.constants}
    body |= _limit(dialect, params) | sampling(dialect, params) | _thinking(dialect, params)
    if params.n > 1 and dialect.many:
        body["n"] = params.n
    if params.tools:
        body["tools"] = [tool(one) for one in params.tools]
        body |= {} if params.tool_choice == "auto" else {"tool_choice": _choice(params)}
        body |= {} if params.parallel_tool_calls else {"parallel_tool_calls": False}
    if params.logprobs is not None:
        if not dialect.logprobs:
            raise refused(dialect, "logprobs")
        body |= {"logprobs": True, "top_logprobs": params.logprobs}
    if params.json_schema not in (None, False):
        body["response_format"] = _format(dialect, params.json_schema)
    return body | grammar(dialect, params)


def completion(dialect: RemoteDialect, model: str, params: GenerateParams) -> Body:
    """Of `/completions`: a text, or tokens, continued as they are. Raises NotSupported."""
    if params.prompt_tokens is not None and dialect.completions != "tokens":
        raise refused(dialect, "prompt_tokens")
    if not dialect.completions:
        raise refused(dialect, "raw prompts")
    if params.images:
        raise refused(dialect, "pictures beside a raw prompt")
    for name in ("json_schema", "reasoning_budget"):
        if getattr(params, name) not in (None, False):
            raise refused(dialect, f"{name} beside a raw prompt")
    prompt = params.prompt or "" if params.prompt_tokens is None else params.prompt_tokens
    return continuation(dialect, model, params, prompt) | grammar(dialect, params)


def continuation(dialect: RemoteDialect, model: str, params: SamplingParams, prompt: str | list[int]) -> Body:
    """What `/completions` has in common for a raw prompt and for a middle."""
    body: Body = {"model": model, "prompt": prompt, "stream": True}
    body |= {name: value for name, value in dialect.constants.items() if name == "stream_options"}
    if params.n > 1 and dialect.many:
        body["n"] = params.n
    if params.logprobs is not None:
        body["logprobs"] = params.logprobs
    return body | _limit(dialect, params, "max_tokens") | sampling(dialect, params)


def embedding(model: str, texts: list[str]) -> Body:
    return {"model": model, "input": texts, "encoding_format": "float"}


def sampling(dialect: RemoteDialect, params: SamplingParams) -> Body:
    """How tokens are chosen. Raises NotSupported for what was given and has no word."""
    body: Body = {}
    for field in msgspec.structs.fields(params):
        value = getattr(params, field.name)
        if field.name in _OURS | _ELSEWHERE or not _is_given(field, value, params):
            continue
        parts = {field.name: value}
        if isinstance(value, msgspec.Struct):
            parts = {f"{field.name}.{name}": part for name, part in msgspec.structs.asdict(value).items()}
        for name, part in parts.items():
            if name not in dialect.fields:
                raise refused(dialect, name)
            body[dialect.fields[name]] = part
    return body


def _is_given(field: msgspec.structs.FieldInfo, value: Any, params: SamplingParams) -> bool:
    """Whether it is not what a request that says nothing of it has; a middle is greedy by our own word."""
    if field.name == "temperature" and isinstance(params, InfillParams):
        return value is not None
    if field.name == "context_overflow":
        return bool(value != "error")
    empty = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    return bool(value != empty)


def _limit(dialect: RemoteDialect, params: SamplingParams, name: str = "") -> Body:
    limit = params.max_tokens if params.max_tokens is not None else dialect.default_limit or None
    return {} if limit is None else {name or dialect.limit: limit}


def _thinking(dialect: RemoteDialect, params: GenerateParams) -> Body:
    body: Body = {}
    variables = dict(params.template_vars)
    if dialect.effort and "reasoning_effort" in variables:
        body["reasoning_effort"] = variables.pop("reasoning_effort")
    if params.reasoning == "off" and dialect.template_vars:
        variables.setdefault("enable_thinking", False)
    if params.reasoning == "raw":
        if not dialect.raw_reasoning:
            raise refused(dialect, "`reasoning` raw")
        body["reasoning_format"] = "none"
    if variables:
        if not dialect.template_vars:
            raise refused(dialect, "template_vars")
        body["chat_template_kwargs"] = variables
    if params.reasoning_budget is not None:
        if not dialect.budget:
            raise refused(dialect, "reasoning_budget")
        body[dialect.budget] = params.reasoning_budget
    return body


def _format(dialect: RemoteDialect, schema: dict[str, Any] | bool | None) -> Body:
    if schema is True:
        return {"type": "json_object"}
    strict = {"strict": True} if dialect.strict else {}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **strict}}


def grammar(dialect: RemoteDialect, params: SamplingParams) -> Body:
    if params.grammar is None:
        return {}
    match dialect.grammar:
        case "":
            raise refused(dialect, "grammar")
        case "structured_outputs":
            return {"structured_outputs": {"grammar": params.grammar}}
    return {dialect.grammar: params.grammar}


def messages(params: GenerateParams) -> list[Body]:
    """The conversation in OpenAI's shape, as it was given."""
    said = [] if params.system is None else [Message("system", params.system)]
    said += params.messages if params.messages is not None else [said_by_user(params.prompt or "", params.images)]
    return [_message(one) for one in said]


def _message(message: Message) -> Body:
    shown: Body = {"role": message.role, "content": _parts(message) if message.images else message.text}
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        shown["content"] = message.text or None
        shown["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": _json(call)}}
            for call in message.tool_calls
        ]
    return shown


def _parts(message: Message) -> list[Body]:
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": f"data:{media_type(part)};base64,{in_base64(part)}"}}
        for part in message.content or ()
        if not isinstance(part, str)
    ]


def in_base64(image: ImagePart) -> str:
    return base64.b64encode(image.data).decode()


def media_type(image: ImagePart) -> str:
    """By what the file says. Raises BadPicture."""
    return f"image/{look(image.data).kind}"


def _json(call: Any) -> str:
    arguments = call.function.arguments
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def tool(one: Tool) -> Body:
    function: Body = {"name": one.function.name}
    if one.function.description:
        function["description"] = one.function.description
    if isinstance(one.function.parameters, dict):
        function["parameters"] = one.function.parameters
    if one.function.strict is not None:
        function["strict"] = one.function.strict
    return {"type": "function", "function": function}


def _choice(params: GenerateParams) -> Any:
    choice = params.tool_choice
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.function.name}}
    return choice
