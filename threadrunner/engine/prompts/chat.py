"""A conversation to tokens. The template's own markup becomes control tokens; the same text from a user stays text.

What was said must be in what is rendered: `renderer` finds the form in which the template shows all of it, by
conversations of made-up words. What comes from outside, tools and results too, is kept apart from markup by `markup`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.errors import BadTemplate, Refused
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.pictures import Span
from threadrunner.engine.prompts import markup
from threadrunner.engine.prompts.canaries import Tool
from threadrunner.engine.prompts.conversation import Message, normal
from threadrunner.engine.prompts.markup import Marks
from threadrunner.engine.prompts.picture_marks import tokenized
from threadrunner.engine.prompts.renderer import Renderer
from threadrunner.engine.prompts.rendering import Rendering
from threadrunner.engine.prompts.sandbox import words
from threadrunner.engine.prompts.template import ChatTemplate

log = logging.getLogger("threadrunner.engine")

_USUAL_ROLES = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",))
KNOWN_VARIABLES = frozenset(
    ("clear_thinking", "enable_thinking", "preserve_thinking", "reasoning_effort", "reasoning_strength", "thinking")
)
"""What clients send to every model; a template that does not read one goes without."""
_OURS = words(
    "add_generation_prompt bos_token custom_tools dict cycler eos_token functions joiner messages namespace "
    "raise_exception range strftime_now tools xml_tools"
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt."""

    tokens: list[int]
    text: str
    opening: str
    """What stands open at the prompt's end: what the template put behind the last message to begin the answer, say
    `<|im_start|>assistant\\n<think>\\n`, and the text of an answer that is continued."""
    spans: tuple[Span, ...] = ()
    """Where pictures are. Before they are put there, each has a `picture_marks.place` among the tokens."""


class ChatPrompt:
    """Turns conversations into prompts for one model."""

    def __init__(self, vocab: Vocab, source: str | None, tools_source: str | None = None) -> None:
        """`source` is the chat template; None: the model has none. `tools_source` is another for conversations with
        tools. One that is not valid is an error of `chat` only."""
        self._vocab = vocab
        self._bos = vocab.marker(vocab.bos) if vocab.bos >= 0 else ""
        self._eos = vocab.marker(vocab.eos) if vocab.eos >= 0 else ""
        self._broken: str | None = None
        self._plain = self._renderer(source)
        self._with_tools = self._plain
        if tools_source and self._broken is None:
            self._with_tools = self._renderer(tools_source) or self._plain
            self._broken = None

    @property
    def _thinks(self) -> bool:
        """Whether the template itself would look for thoughts in an answer's text: there it would find marks."""
        return self._plain is not None and any("</think>" in text for text in self._plain.template.literals)

    def _renderer(self, source: str | None) -> Renderer | None:
        try:
            template = ChatTemplate(source) if source else None
        except BadTemplate as error:
            log.warning("%s", error)
            self._broken = str(error)
            return None
        if template is None:
            return None
        renderer = Renderer(template, self._bos, self._eos)
        self._find_markup(renderer)
        return renderer

    def _find_markup(self, renderer: Renderer) -> None:
        """In the template's texts, and in what it puts together of them, e.g. '<|' + role + '|>'."""
        texts = [*renderer.template.literals]
        for roles in _USUAL_ROLES:
            try:
                texts.append(renderer.render([{"role": role, "content": "a"} for role in roles]))
                break
            except BadTemplate:
                continue
        self._vocab.make_inert(token for text in texts for token in self._vocab.tokenize(text, special=True))

    # what the template can do, for those who must do without

    @property
    def takes_tools(self) -> bool:
        """Whether the template shows the model which tools there are. Raises nothing: a model without a template, or
        with one that is not valid, takes none; so do the next two."""
        return self._with_tools is not None and self._with_tools.takes_tools

    @property
    def takes_calls(self) -> bool:
        """Whether it shows the calls of earlier answers."""
        return self._with_tools is not None and self._with_tools.takes_calls

    @property
    def takes_results(self) -> bool:
        """Whether it shows messages of role `tool`."""
        return self._with_tools is not None and self._with_tools.takes_results

    @property
    def variables(self) -> frozenset[str]:
        """Names that `variables` of `chat` may have, as far as they make a difference."""
        renderers = [r for r in (self._plain, self._with_tools) if r is not None]
        return frozenset().union(*(r.template.reads for r in renderers)) - _OURS

    # prompts

    def plain(self, text: str, *, special: bool = False) -> list[int]:
        """A prompt without a template: the text as it is, after BOS where the model needs one; `special`: what is the
        text of a control token becomes that token, for a client that has rendered a template itself."""
        tokens = tokenized(self._vocab, text, special=special)
        if self._vocab.add_bos and (not special or tokens[:1] != [self._vocab.bos]):
            tokens.insert(0, self._vocab.bos)
        # something must be evaluated before the first token can be sampled, even for an empty prompt
        return tokens or [max(self._vocab.bos, self._vocab.eos, 0)]

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), variables: Mapping[str, Any] | None = None
    ) -> Rendered:
        """A conversation, up to where the answer begins; an answer at its end is continued, where the template allows.

        `messages` as `conversation.Message` says, `tools` in OpenAI's nested shape, `variables` scalars that the
        template reads, say `enable_thinking`. Raises BadTemplate, and Refused where the template takes no such
        conversation or reads no such variable."""
        if self._broken is not None:
            raise BadTemplate(f"{self._broken}; without a chat, by `raw`, infill and embed, the model can be used")
        said = normal(messages, tagged=self._thinks)
        if [m["role"] for m in said[-2:]] == ["assistant"] * 2:
            raise Refused("two answers at the conversation's end: only one can be continued; join them")
        has_tools = bool(tools) or any(m["role"] == "tool" or m.get("tool_calls") for m in said)
        renderer = self._with_tools if has_tools else self._plain
        if renderer is None:
            return self._without_template(said, has_tools)
        return self._render(renderer, said, tools, self._checked(renderer, variables or {}))

    def _checked(self, renderer: Renderer, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in variables:
            if name in _OURS or not (name in renderer.template.reads or name in KNOWN_VARIABLES):
                known = ", ".join(sorted(KNOWN_VARIABLES & renderer.template.reads)) or "none of the usual ones"
                raise Refused(f"the model's chat template has no variable {name!r} to be set; it reads {known}")
        return {name: value for name, value in variables.items() if name in renderer.template.reads}

    def _without_template(self, said: Sequence[Message], has_tools: bool) -> Rendered:
        if has_tools:
            raise BadTemplate("the model has no chat template, so it takes no tools; use another model")
        text = _transcript(said)
        return Rendered(self.plain(text), text, "")

    def _render(
        self, renderer: Renderer, said: list[Message], tools: Sequence[Tool], variables: Mapping[str, Any]
    ) -> Rendered:
        if _is_blank_answer(said[-1]) and len(said) > 1 and not said[-1].get("reasoning"):
            said = said[:-1]  # an answer of which nothing is there yet
        plan = renderer.plan(said, tools, variables)
        if _is_blank_answer(said[-1]) and len(said) > 1 and not plan.continues:
            said = said[:-1]  # a thought that the template does not show: it begins anew
            plan = renderer.plan(said, tools, variables)
        marks = Marks(self._vocab, [*markup.texts(said), *markup.texts(tools), *markup.texts(variables)])
        rendering = Rendering(self._vocab, renderer, plan, marks, said, tools, variables)
        text, tokens = rendering.tokens()
        text = marks.clean(text)
        opening = rendering.opening(text)
        if self._vocab.add_bos and tokens[:1] != [self._vocab.bos]:
            tokens.insert(0, self._vocab.bos)
            text = self._bos + text
        return Rendered(tokens, text, opening)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as text. As `chat` raises."""
        return self.chat(messages).text


def _is_blank_answer(message: Message) -> bool:
    return message["role"] == "assistant" and not message["content"].strip() and not message.get("tool_calls")


def _transcript(messages: Sequence[Message]) -> str:
    """For a base model, which has no template: a single prompt as it is, a conversation by roles, an answer at its end
    left open."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    *earlier, last = messages if messages[-1]["role"] == "assistant" else [*messages, {"role": "a", "content": ""}]
    told = "".join(f"{m['role'].capitalize()}: {m['content']}\n\n" for m in earlier)
    return f"{told}Assistant:{' ' if last['content'] else ''}{last['content']}"
