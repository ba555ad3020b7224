"""A conversation to tokens. The template's own markup becomes control tokens; the same text from a user stays text.

What was said must be in what is rendered: `renderer` finds the form in which the template shows all of it, by
conversations of made-up words. What comes from outside, tools and results too, is kept apart from markup by `markup`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.errors import BadTemplate, PromptTooLong, Refused
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts import markup
from threadrunner.engine.prompts.canaries import Tool
from threadrunner.engine.prompts.conversation import Message, normal, put, put_tools
from threadrunner.engine.prompts.markup import Change, Marks
from threadrunner.engine.prompts.renderer import Plan, Renderer, open_ended
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

    def plain(self, text: str) -> list[int]:
        """A prompt without a template: the text as it is, after BOS where the model needs one."""
        tokens = [*([self._vocab.bos] if self._vocab.add_bos else []), *self._vocab.tokenize(text)]
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
        said = normal(messages)
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
        if said[-1]["role"] == "assistant" and not any(said[-1].get(k) for k in ("content", "tool_calls", "reasoning")):
            said = said[:-1]  # an answer of which nothing is there yet
        plan = renderer.plan(said, tools, variables)
        seen = [*markup.texts(said), *markup.texts(tools), *markup.texts(variables)]
        work = _Work(self._vocab, renderer, plan, Marks(self._vocab, seen), said, tools, variables)
        text, found = work.split()
        tokens = []
        for piece in found:
            if isinstance(piece, int):
                tokens.append(piece)
            elif clean := work.marks.clean(piece):
                tokens += self._vocab.tokenize(clean)
        text = work.marks.clean(text)
        opening = work.opening(text)
        if self._vocab.add_bos and tokens[:1] != [self._vocab.bos]:
            tokens.insert(0, self._vocab.bos)
            text = self._bos + text
        return Rendered(tokens, text, opening)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt as text. As `chat` raises."""
        return self.chat(messages).text


@dataclass(frozen=True, slots=True)
class _Work:
    """One conversation that is being rendered."""

    vocab: Vocab
    renderer: Renderer
    plan: Plan
    marks: Marks
    said: Sequence[Message]
    tools: Sequence[Tool]
    variables: Mapping[str, Any]

    def split(self) -> tuple[str, list[int | str]]:
        """The rendered text, and its pieces."""
        text = self._text(self.marks.escape)
        found = markup.pieces(self.vocab, text)
        if self._needs_proof():
            # a text's last characters and the template's next ones could make a control token together: with marks
            # wherever one could begin or end they cannot, so both must give the same tokens
            sure = self._text(lambda text: self.marks.fence(self.marks.escape(text)))
            sure_found = markup.pieces(self.vocab, sure)
            if [p for p in sure_found if isinstance(p, int)] != [p for p in found if isinstance(p, int)]:
                return sure, sure_found
        return text, found

    def _needs_proof(self) -> bool:
        return bool(self.tools) or any(
            m.get("tool_calls") or markup.may_join(m["content"]) or markup.may_join(m.get("reasoning", ""))
            for m in self.said
        )

    def _text(self, change: Change) -> str:
        messages = self._put(change)
        if self.plan.continues:
            messages = [*messages[:-1], open_ended(messages[-1], self.marks.cut)]
        tools = markup.changed_value(put_tools(self.tools, self.plan.form), change)
        variables = {name: markup.changed_value(value, change) for name, value in self.variables.items()}
        text = self.renderer.render(messages, tools, variables, open_answer=not self.plan.continues)
        return text.rpartition(self.marks.cut)[0] if self.plan.continues else text

    def _put(self, change: Change) -> list[Message]:
        return [markup.changed(m, change) for m in put(self.said, self.plan.form) or self.said]

    def opening(self, text: str) -> str:
        """See Rendered.opening; `text` is the prompt without marks."""
        usual = self.plan.opening
        if usual and text.endswith(usual):
            return usual
        closed = self.said[:-1] if self.plan.continues else self.said
        messages = put(closed, self.plan.form) or closed
        return self.renderer.opening(messages, put_tools(self.tools, self.plan.form), self.variables, text)


def fit(
    messages: Sequence[Message], build: Callable[[Sequence[Message]], Rendered], limit: int
) -> tuple[Rendered, int]:
    """The prompt with as few of the oldest whole turns left out as make it shorter than `limit` tokens, and how many
    messages that were. The system prompt and the last turn always stay. Raises PromptTooLong when they alone do not
    fit."""
    system = [m for m in messages[:1] if m["role"] in ("system", "developer")]
    turns = list(messages[len(system) :])
    # cut only before a user's message: an answer without its question is not a turn
    cuts = [i for i, m in enumerate(turns) if i == 0 or (m["role"] == "user")]
    low, high = 0, len(cuts) - 1
    shortest = build([*system, *turns[cuts[high] :]])
    if len(shortest.tokens) >= limit:
        raise PromptTooLong(len(shortest.tokens), limit)
    best, dropped = shortest, cuts[high]
    while low < high:
        middle = (low + high) // 2
        rendered = build([*system, *turns[cuts[middle] :]])
        if len(rendered.tokens) < limit:
            best, dropped, high = rendered, cuts[middle], middle
        else:
            low = middle + 1
    return best, dropped


def _transcript(messages: Sequence[Message]) -> str:
    """For a base model, which has no template: a single prompt as it is, a conversation by roles, an answer at its end
    left open."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    *earlier, last = messages if messages[-1]["role"] == "assistant" else [*messages, {"role": "a", "content": ""}]
    told = "".join(f"{m['role'].capitalize()}: {m['content']}\n\n" for m in earlier)
    return f"{told}Assistant:{' ' if last['content'] else ''}{last['content']}"
