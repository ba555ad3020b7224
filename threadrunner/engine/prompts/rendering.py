"""One conversation on its way through a template, with marks in its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts import markup
from threadrunner.engine.prompts.canaries import Tool
from threadrunner.engine.prompts.conversation import Message, put, put_tools
from threadrunner.engine.prompts.markup import Change, Marks
from threadrunner.engine.prompts.picture_marks import parts, place, tokenized
from threadrunner.engine.prompts.renderer import Plan, Renderer, open_ended


@dataclass(frozen=True, slots=True)
class Rendering:
    """One conversation that is being rendered."""

    vocab: Vocab
    renderer: Renderer
    plan: Plan
    marks: Marks
    said: Sequence[Message]
    tools: Sequence[Tool]
    variables: Mapping[str, Any]

    def tokens(self) -> tuple[str, list[int]]:
        """The rendered text, with marks, and its tokens."""
        vocab = self.vocab
        text = self._text(self.marks.escape)
        tokens = tokenized(vocab, text, special=True)
        if self._needs_proof():
            # a text's last characters and the template's next ones could make a control token together: with marks
            # wherever one could begin or end they cannot, so both must give the same tokens
            sure = self._text(lambda text: self.marks.fence(self.marks.escape(text)))
            sure_tokens = tokenized(vocab, sure, special=True)
            if list(filter(vocab.is_markup, sure_tokens)) != list(filter(vocab.is_markup, tokens)):
                return sure, self._without_marks(sure)
        return text, tokens if self.marks.inert else self._without_marks(text)

    def _without_marks(self, text: str) -> list[int]:
        kept: list[int] = []
        for part in parts(text):
            kept += [place(part)] if isinstance(part, int) else self._cleaned(part)
        return kept

    def _cleaned(self, text: str) -> list[int]:
        kept: list[int] = []
        for piece in markup.pieces(self.vocab, text, self.vocab.tokenize(text, special=True)):
            if isinstance(piece, int):
                kept.append(piece)
            elif clean := self.marks.clean(piece):
                kept += self.vocab.tokenize(clean)
        return kept

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
