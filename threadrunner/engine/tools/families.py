"""How the families of models write calls and thoughts: one row each, found by the vocabulary's markers and the words of
the chat template."""

# ruff: noqa: RUF001 - DeepSeek's markers have wide bars

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from threadrunner.engine.tools.channels import ChannelSplitter
from threadrunner.engine.tools.harmony import HarmonyCalls
from threadrunner.engine.tools.json_calls import JsonCalls, NamedCalls
from threadrunner.engine.tools.layout import CallListener, Layout, ThoughtTags
from threadrunner.engine.tools.literal_calls import GemmaCalls, PythonCalls
from threadrunner.engine.tools.splitter import Splitter
from threadrunner.engine.tools.tagged_calls import TaggedCalls

Syntax = JsonCalls | NamedCalls | TaggedCalls | PythonCalls | GemmaCalls | HarmonyCalls


@dataclass(frozen=True, slots=True)
class CallFamily:
    """One row. `words`: all of them stand in the template (or one of `tokens` in the vocabulary); the first row that
    fits is taken, so a row stands before those whose words it has too."""

    name: str
    syntax: Syntax
    words: tuple[str, ...]
    token: str = ""
    """One that only this family's vocabularies have, for templates that do not show how a call looks."""
    short_ids: bool = False
    """Ids of calls are nine letters and digits, as Mistral's templates demand."""
    ends: tuple[str, ...] = ()
    """Tokens that end a turn in which a tool is called."""


_FUNCTION = ("<function=", ">")
_PARAMETER = ("<parameter=", ">")

FAMILIES = (
    CallFamily("gpt-oss", HarmonyCalls(), ("<|channel|>", "<|message|>"), ends=("<|call|>", "<|return|>")),
    CallFamily("gemma-4", GemmaCalls(), ("<|tool_call>", "<tool_call|>")),
    CallFamily(
        "seed", TaggedCalls("<seed:tool_call>", "</seed:tool_call>", _FUNCTION, _PARAMETER, ("", "</parameter>"),
                            "</function>"),
        ("seed:tool_call", "<function="),
    ),
    CallFamily(
        "minimax", TaggedCalls("<minimax:tool_call>", "</minimax:tool_call>", ('<invoke name="', '">'),
                               ('<parameter name="', '">'), ("", "</parameter>"), "</invoke>"),
        ("minimax:tool_call", "<invoke name="),
    ),
    CallFamily(
        "qwen-coder", TaggedCalls("<tool_call>", "</tool_call>", _FUNCTION, _PARAMETER, ("", "</parameter>"),
                                  "</function>", lined=True, also_open=("<function=",)),
        ("<tool_call>", "<function=", "<parameter="),
    ),
    CallFamily(
        "glm", TaggedCalls("<tool_call>", "</tool_call>", ("", ""), ("<arg_key>", "</arg_key>"),
                           ("<arg_value>", "</arg_value>")),
        ("<tool_call>", "<arg_key>"),
    ),
    CallFamily(
        "kimi", NamedCalls("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>",
                           ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"), "functions.", number=True),
        ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"),
    ),
    CallFamily(
        "deepseek-r1", NamedCalls("<｜tool▁call▁begin｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>",
                                  ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"), "function<｜tool▁sep｜>",
                                  between="\n"),
        ("<｜tool▁call▁begin｜>", "```json"),
    ),
    CallFamily(
        "deepseek", NamedCalls("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>",
                               ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")),
        ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"),
    ),
    CallFamily("mistral", NamedCalls("[TOOL_CALLS]", "[ARGS]", skipped="[CALL_ID]"), ("[TOOL_CALLS]", "[ARGS]"),
               short_ids=True),
    CallFamily("mistral-list", JsonCalls("[TOOL_CALLS]", "", listed=True), ("[TOOL_CALLS]",), short_ids=True),
    CallFamily("lfm2", PythonCalls("<|tool_call_start|>", "<|tool_call_end|>"), ("<|tool_call_start|>",),
               token="<|tool_call_start|>"),
    CallFamily("nemotron", JsonCalls("<TOOLCALL>", "</TOOLCALL>", listed=True), ("<TOOLCALL>",)),
    CallFamily(
        "command-r", JsonCalls("<|START_ACTION|>", "<|END_ACTION|>", listed=True, numbered="tool_call_id",
                               name_key="tool_name", arguments_key="parameters"),
        ("<|START_ACTION|>",),
    ),
    CallFamily("apertus", JsonCalls("<|tools_prefix|>", "<|tools_suffix|>", listed=True, keyed=True),
               ("<|tools_prefix|>",)),
    CallFamily("apriel", JsonCalls("<tool_calls>", "</tool_calls>", listed=True), ("<tool_calls>[",)),
    CallFamily("gigachat", JsonCalls("<|function_call|>", ""), ("<|function_call|>",)),
    CallFamily("phi-4", JsonCalls("<|tool_call|>", "<|/tool_call|>", listed=True), ("<|tool_call|>", "<|/tool_call|>")),
    CallFamily("granite", JsonCalls("<|tool_call|>", "", listed=True), ("<|tool_call|>",)),
    CallFamily("functionary", NamedCalls("<function=", ">", "</function>"), ("<function=", "<|python_tag|>")),
    CallFamily("functionary-2", NamedCalls(">>>", "\n"), (">>>all",)),
    CallFamily("hermes", JsonCalls("<tool_call>", "</tool_call>", around="\n", also_bare=True), ("<tool_call>",)),
    CallFamily(
        "llama", JsonCalls("", "", arguments_key="parameters", also_open=("<|python_tag|>",), between="; "),
        ("parameters", "ipython"), ends=("<|eom_id|>",),
    ),
)  # fmt: skip
GENERIC = CallFamily("generic", JsonCalls("", "", also_open=("<tool_call>",)), ())

THOUGHTS = (
    ThoughtTags("<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant<|channel|>final<|message|>"),
    ThoughtTags("<think>", "</think>"),
    ThoughtTags("[THINK]", "[/THINK]"),
    ThoughtTags("<seed:think>", "</seed:think>"),
    ThoughtTags("<|START_THINKING|>", "<|END_THINKING|>", ""),
    ThoughtTags("<|inner_prefix|>", "<|inner_suffix|>", ""),
    ThoughtTags("<|channel>thought\n", "<channel|>", ""),
)


def call_family(template: str | None, is_token: Callable[[str], bool]) -> CallFamily | None:
    """The row for a model with this chat template and vocabulary; None where they know of no calls."""
    text = _unescaped(template or "")
    for family in FAMILIES:
        if all(word in text for word in family.words) or (family.token and is_token(family.token)):
            return family
    return None


def thought_tags(template: str | None, is_token: Callable[[str], bool]) -> ThoughtTags | None:
    """The tags that a model's thoughts stand in; None where neither its template nor its vocabulary has some."""
    text = _unescaped(template or "")
    for tags in THOUGHTS:
        # a template may cut a thought off from earlier answers by its end alone, as DeepSeek's do
        in_template = tags.begin in text if tags.channels else tags.end in text
        if in_template or (is_token(tags.begin) and is_token(tags.end)):
            return tags
    return None


def splitter(layout: Layout, listener: CallListener, new_id: Callable[[], str]) -> Splitter:
    """The one for such a layout."""
    kind = ChannelSplitter if layout.thought is not None and layout.thought.channels else Splitter
    return kind(layout, listener, new_id)


def _unescaped(template: str) -> str:
    return template.replace("\\n", "\n").replace("\\'", "'").replace('\\"', '"')
