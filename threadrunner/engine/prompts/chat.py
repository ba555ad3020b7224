"""A conversation to tokens. The template's own markup becomes control tokens; the same text from a user stays text.

Rendering puts both into one string, so a user's `<|im_end|>` would look like the template's. Before rendering, each
control token's text inside a message gets a random mark after its first character: nothing then matches it, the
template still sees the message nearly as it is (it may trim or test it), and the mark is taken out before tokenizing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from threadrunner.engine.errors import PromptTooLong
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.template import ChatTemplate, Refused

Message = Mapping[str, str]
_PLAIN_ENDS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n\t.,!?;:'\"()")


class ChatPrompt:
    """Turns conversations into prompts for one model."""

    def __init__(self, vocab: Vocab, source: str | None) -> None:
        """`source` is the chat template; None: the model has none. Raises BadTemplate."""
        self._vocab = vocab
        self._template = ChatTemplate(source) if source else None
        self._bos = vocab.marker(vocab.bos) if vocab.bos >= 0 else ""
        self._eos = vocab.marker(vocab.eos) if vocab.eos >= 0 else ""

    def plain(self, text: str) -> list[int]:
        """A prompt without a template: the text as it is, after BOS where the model needs one."""
        tokens = [*([self._vocab.bos] if self._vocab.add_bos else []), *self._vocab.tokenize(text)]
        # something must be evaluated before the first token can be sampled, even for an empty prompt
        return tokens or [max(self._vocab.bos, self._vocab.eos, 0)]

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation, up to where the answer begins. Raises BadTemplate, and Refused where the
        template takes no such conversation."""
        if self._template is None:
            return self.plain(_transcript(messages))
        mark = _new_mark(messages)
        escaped = [{**m, "content": self._escape(m["content"], mark)} for m in messages]
        pieces = self._split(self.render(escaped))
        if any(not _PLAIN_ENDS.issuperset(m["content"][-48:]) for m in messages):
            # a message's last characters and the template's next ones could make a control token together:
            # with marks at the messages' ends they cannot, so both must give the same tokens
            fenced = [{**m, "content": f"{mark}{m['content']}{mark}"} for m in escaped]
            sure = self._split(self.render(fenced))
            if [p for p in sure if isinstance(p, int)] != [p for p in pieces if isinstance(p, int)]:
                pieces = sure
        tokens = []
        for piece in pieces:
            if isinstance(piece, int):
                tokens.append(piece)
            elif text := piece.replace(mark, ""):
                tokens += self._vocab.tokenize(text)
        if self._vocab.add_bos and tokens[:1] != [self._vocab.bos]:
            tokens.insert(0, self._vocab.bos)
        return tokens

    def render(self, messages: Sequence[Message]) -> str:
        """The template's text; a system message that it refuses goes before the first user's. As `chat` raises."""
        assert self._template is not None
        try:
            return self._template.render(messages, bos=self._bos, eos=self._eos)
        except Refused:
            merged = _system_into_first_turn(messages)
            if merged is None:
                raise
            return self._template.render(merged, bos=self._bos, eos=self._eos)

    def _escape(self, text: str, mark: str) -> str:
        for _ in range(64):
            found = self._control_tokens(text)
            if not found:
                return text
            for name in found:
                text = text.replace(name, name[0] + mark + name[1:])
        return mark.join(text)

    def _control_tokens(self, text: str) -> list[str]:
        names = [self._vocab.marker(t) for t in self._vocab.tokenize(text, special=True) if self._vocab.is_special(t)]
        return [name for name in dict.fromkeys(names) if name and name in text]

    def _split(self, text: str) -> list[int | str]:
        """Control tokens as ids, what is between them as text: the same cuts that llama.cpp's tokenizer makes."""
        pieces: list[int | str] = []
        at = 0
        strip_next = False
        for token in self._vocab.tokenize(text, special=True):
            if not self._vocab.is_special(token):
                continue
            name = self._vocab.marker(token)
            found = text.find(name, at) if name else -1
            if found < 0:
                continue
            before = text[at:found]
            strips_left, strips_right = self._vocab.strips(token)
            before = before.lstrip() if strip_next else before
            pieces += [before.rstrip() if strips_left else before, token]
            strip_next = strips_right
            at = found + len(name)
        rest = text[at:]
        pieces.append(rest.lstrip() if strip_next else rest)
        return pieces


def fit(
    messages: Sequence[Message], build: Callable[[Sequence[Message]], list[int]], limit: int
) -> tuple[list[int], int]:
    """The prompt with as few of the oldest whole turns left out as make it shorter than `limit` tokens, and how many
    messages that were. The system prompt and the last turn always stay. Raises PromptTooLong when they alone do not
    fit."""
    system = [m for m in messages[:1] if m["role"] == "system"]
    turns = list(messages[len(system) :])
    # cut only before a user's message: an answer without its question is not a turn
    cuts = [i for i, m in enumerate(turns) if i == 0 or (m["role"] == "user")]
    low, high = 0, len(cuts) - 1
    shortest = build([*system, *turns[cuts[high] :]])
    if len(shortest) >= limit:
        raise PromptTooLong(len(shortest), limit)
    best, dropped = shortest, cuts[high]
    while low < high:
        middle = (low + high) // 2
        tokens = build([*system, *turns[cuts[middle] :]])
        if len(tokens) < limit:
            best, dropped, high = tokens, cuts[middle], middle
        else:
            low = middle + 1
    return best, dropped


def _new_mark(messages: Sequence[Message]) -> str:
    while True:
        mark = "".join(chr(0xE000 + secrets.randbelow(0x1900)) for _ in range(6))
        if not any(mark in m["content"] for m in messages):
            return mark


def _system_into_first_turn(messages: Sequence[Message]) -> list[Message] | None:
    """For templates that know no system role (Gemma's): its text goes before the first user's."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return None
    first = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return [first, *messages[2:]]


def _transcript(messages: Sequence[Message]) -> str:
    """For a base model, which has no template: a single prompt as it is, a conversation by roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "".join(f"{m['role'].capitalize()}: {m['content']}\n\n" for m in messages) + "Assistant:"
