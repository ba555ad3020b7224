"""Conversations as they go over the wire: messages, tools, tool calls. The shapes are those of OpenAI's chat API, which
models' templates and clients' libraries have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from threadrunner.api import pictures
from threadrunner.api.fields import described

MAX_TOOLS = 128
MAX_IMAGES = 16
"""In a request, those of earlier turns among them."""
MAX_IMAGES_BYTES = 40 << 20
"""Likewise: what a worker is sent is limited."""
PICTURE = "[picture]"
"""In a text, where there is one."""
MAX_SCHEMA_BYTES = 256 << 10
"""Of JSON, for a tool's parameters and for `json_schema`."""

CallId = Annotated[str, described("links a call and its result", min_length=1, max_length=128)]
ToolName = Annotated[
    str, described("letters, digits and _ . : / -", pattern=r"^[A-Za-z0-9_.:/-]{1,128}$", max_length=128)
]
Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A part of a message's content."""

    text: str


class ImagePart(Struct, forbid_unknown_fields=True, tag_field="type", tag="image"):
    """A picture, as a part of a message's content: always the file itself, never where it could be fetched."""

    data: Annotated[
        bytes, described("a PNG, JPEG, GIF or BMP file in base64", min_length=1, max_length=pictures.MAX_BYTES)
    ]
    media_type: Annotated[str | None, described("say image/png; what the file itself says counts")] = None


class FunctionCall(Struct, forbid_unknown_fields=True):
    """In a result `arguments` is JSON as the model wrote it, cut short where finish_reason is "length"."""

    name: ToolName
    arguments: Annotated[str | dict[str, Any], described("JSON text; an object is taken too")] = "{}"


class ToolCall(Struct, forbid_unknown_fields=True):
    """A call that the model asks for. Nothing is ever executed here: the client may do so, and answer with a message of
    role "tool"."""

    id: CallId
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One turn of a conversation. "developer" means "system"."""

    role: Role
    content: Annotated[
        str | list[TextPart | ImagePart] | None,
        described("may be absent beside `tool_calls`; pictures: a user's, a tool's"),
    ] = None
    tool_calls: Annotated[list[ToolCall], described("of an assistant")] = []
    tool_call_id: Annotated[CallId | None, described("of a tool: the call that this is the result of")] = None
    reasoning: Annotated[str | None, described("of an assistant: what it thought before it answered")] = None

    @property
    def text(self) -> str:
        """The content as one text, a picture as a word."""
        content = self.content
        return "".join(part_text(part) for part in content) if isinstance(content, list) else content or ""

    @property
    def images(self) -> list[ImagePart]:
        """The pictures in the content."""
        return [part for part in self.content if isinstance(part, ImagePart)] if isinstance(self.content, list) else []


def part_text(part: TextPart | ImagePart) -> str:
    """A part as text: a picture as a word for it."""
    return part.text if isinstance(part, TextPart) else PICTURE


def said_by_user(text: str, pictures: Sequence[TextPart | ImagePart] = ()) -> Message:
    """The pictures, then the text."""
    return Message("user", [*pictures, *([TextPart(text)] if text else [])] if pictures else text)


class FunctionDefinition(Struct, forbid_unknown_fields=True):
    """A function that the model may call; `parameters` is a JSON Schema of an object."""

    name: ToolName
    description: Annotated[str, Meta(max_length=65536)] = ""
    parameters: dict[str, Any] | bool | None = None
    strict: Annotated[bool | None, described("accepted and not needed: arguments always fit `parameters`")] = None


class Tool(Struct, forbid_unknown_fields=True):
    function: FunctionDefinition
    type: Literal["function"] = "function"


class FunctionName(Struct, forbid_unknown_fields=True):
    name: ToolName


class NamedTool(Struct, forbid_unknown_fields=True):
    """The tool that must be called."""

    function: FunctionName
    type: Literal["function"] = "function"


Tools = Annotated[list[Tool], described("functions that the model may ask to call", max_length=MAX_TOOLS)]
ToolChoice = Annotated[
    Literal["auto", "none", "required"] | NamedTool,
    described("whether the model may, must not or must call a tool, or which one it must"),
]
ReasoningMode = Annotated[
    Literal["split", "raw", "off"],
    described("what a model thinks aloud: apart from the text, as a part of it, or not at all where it can be told"),
]
TemplateVars = Annotated[
    dict[Annotated[str, Meta(max_length=64)], bool | int | float | str],
    described("for the chat template, e.g. enable_thinking, reasoning_effort", max_length=32),
]


PieceKind = Literal["text", "reasoning", "call", "confidence"]


class CallPart(Struct, omit_defaults=True, frozen=True):
    """Which call a piece of a streamed answer belongs to; the first piece has `id` and `name`, and each one's text is
    the next part of the arguments."""

    index: int
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


def message_conflicts(messages: Sequence[Message]) -> str | None:
    """What is wrong with a conversation that the types cannot say, None where nothing is."""
    open_calls: set[str] = set()
    if problem := image_conflict([image for message in messages for image in message.images]):
        return problem
    for i, message in enumerate(messages):
        if problem := _misplaced(message) or _call_conflict(message, open_calls):
            return f"messages[{i}]: {problem}"
    return None


def _misplaced(message: Message) -> str | None:
    if (message.tool_calls or message.reasoning is not None) and message.role != "assistant":
        return "only an assistant has `tool_calls` and `reasoning`"
    if message.tool_call_id is not None and message.role != "tool":
        return "only a message of role `tool` has a `tool_call_id`"
    if message.images and message.role not in ("user", "tool"):
        return "only what a user or a tool says may have pictures"
    if message.content is None and not message.tool_calls and message.reasoning is None:
        return "it has no `content`"
    return None


def _call_conflict(message: Message, open_calls: set[str]) -> str | None:
    """Whether a result answers a call; `open_calls`, the ids of those without a result, is brought up to date."""
    if message.role == "tool":
        if message.tool_call_id is None:
            return "a tool's result needs `tool_call_id`, the `id` of the call that it answers"
        if message.tool_call_id not in open_calls:
            return f"no call before it has the id {message.tool_call_id!r}, or that call has its result already"
        open_calls.discard(message.tool_call_id)
    for call in message.tool_calls:
        if call.id in open_calls:
            return f"two calls have the id {call.id!r}"
        open_calls.add(call.id)
    return None


def image_conflict(images: Sequence[ImagePart]) -> str | None:
    """What is wrong with the pictures of a request: all that can be told without decoding them."""
    if len(images) > MAX_IMAGES:
        return f"{len(images)} pictures; a request may have {MAX_IMAGES}"
    if (size := sum(len(image.data) for image in images)) > MAX_IMAGES_BYTES:
        return f"pictures of {size:,} bytes together; a request may have {MAX_IMAGES_BYTES:,}: save them smaller"
    for number, image in enumerate(images, 1):
        try:
            pictures.look(image.data)
        except pictures.BadPicture as error:
            return f"picture {number} of {len(images)} cannot be used: {error}"
    return None


def tool_conflicts(tools: Sequence[Tool], choice: str | NamedTool) -> str | None:
    """Likewise for tools and the choice among them."""
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return f"`tools`: two are named {twice!r}"
    for tool in tools:
        size = len(msgspec.json.encode(tool.function.parameters))
        if size > MAX_SCHEMA_BYTES:
            return f"`tools`: the schema of {tool.function.name!r} has {size} bytes; the maximum is {MAX_SCHEMA_BYTES}"
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        return f"`tool_choice` names {choice.function.name!r}, which is not among `tools`"
    if choice == "required" and not tools:
        return "`tool_choice` is `required` and there are no `tools`"
    return None
