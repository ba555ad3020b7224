"""A conversation to tokens. The template's own markup becomes control tokens; the same text from a user stays text.

Rendering puts both into one string, so a user's `<|im_end|>` would look like the template's. Before rendering, each
token's text that is markup gets a mark after its first character inside a message: nothing then matches it, the
template still sees the message nearly as it is (it may trim or test it), and the mark is taken out before tokenizing.
A mark is one character, drawn from thousands: half of one cannot be left over where a template cuts a message.

What was said must be in what is rendered: for each order of roles, a conversation of made-up words shows which messages
the template passes over. A system prompt goes into the next user's message then; anything else is an error.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence

from threadrunner.engine.errors import BadTemplate, PromptTooLong, Refused
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.template import ChatTemplate

log = logging.getLogger("threadrunner.engine")

Message = Mapping[str, str]
_PLAIN_ENDS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n\t.,!?;:'\"()")
_USUAL_ROLES = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",))
_MAX_KNOWN = 256
"""Orders of roles of which it is remembered what the template leaves out."""


class ChatPrompt:
    """Turns conversations into prompts for one model."""

    def __init__(self, vocab: Vocab, source: str | None) -> None:
        """`source` is the chat template; None: the model has none. One that is not valid is an error of `chat` only."""
        self._vocab = vocab
        self._bos = vocab.marker(vocab.bos) if vocab.bos >= 0 else ""
        self._eos = vocab.marker(vocab.eos) if vocab.eos >= 0 else ""
        self._template: ChatTemplate | None = None
        self._broken: str | None = None
        self._moves: dict[tuple[str, ...], frozenset[int]] = {}
        try:
            self._template = ChatTemplate(source) if source else None
        except BadTemplate as error:
            log.warning("%s", error)
            self._broken = str(error)
        if self._template is not None:
            self._find_markup(self._template)

    def _find_markup(self, template: ChatTemplate) -> None:
        """In the template's texts, and in what it puts together of them, e.g. '<|' + role + '|>'."""
        texts = [*template.literals]
        for roles in _USUAL_ROLES:
            try:
                texts.append(self._render(_canaries(roles)))
                break
            except BadTemplate:
                continue
        self._vocab.make_inert(token for text in texts for token in self._vocab.tokenize(text, special=True))

    def plain(self, text: str) -> list[int]:
        """A prompt without a template: the text as it is, after BOS where the model needs one."""
        tokens = [*([self._vocab.bos] if self._vocab.add_bos else []), *self._vocab.tokenize(text)]
        # something must be evaluated before the first token can be sampled, even for an empty prompt
        return tokens or [max(self._vocab.bos, self._vocab.eos, 0)]

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation, up to where the answer begins. Raises BadTemplate, and Refused where the
        template takes no such conversation."""
        if self._broken is not None:
            raise BadTemplate(f"{self._broken}; without a chat, by `raw`, infill and embed, the model can be used")
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
            elif text := piece.replace(mark, "").replace(_in_json(mark), ""):
                tokens += self._vocab.tokenize(text)
        if self._vocab.add_bos and tokens[:1] != [self._vocab.bos]:
            tokens.insert(0, self._vocab.bos)
        return tokens

    def render(self, messages: Sequence[Message]) -> str:
        """The template's text; a system message that it refuses or leaves out goes before the next user's. As `chat`
        raises."""
        roles = tuple(m["role"] for m in messages)
        moves = self._moves.get(roles)
        if moves is None:
            if len(self._moves) >= _MAX_KNOWN:
                self._moves.clear()
            moves = self._moves[roles] = self._what_to_move(roles)
        return self._render(_moved(messages, moves) or messages)

    def _render(self, messages: Sequence[Message]) -> str:
        assert self._template is not None
        return self._template.render(messages, bos=self._bos, eos=self._eos)

    def _what_to_move(self, roles: tuple[str, ...]) -> frozenset[int]:
        """The system messages of such a conversation that must go into users', so that nothing is lost."""
        words = _canaries(roles)
        refused = BadTemplate("")
        try:
            lost = _missing(words, self._render(words))
        except Refused as error:
            refused = error
            lost = [i for i, role in enumerate(roles) if role == "system"]
            if not lost:
                raise
        moved = _moved(words, lost) if all(roles[i] == "system" for i in lost) else None
        if lost and (moved is None or _missing(words, self._render(moved))):
            if isinstance(refused, Refused):
                raise refused
            who = " and ".join(sorted({roles[i] for i in lost}))
            raise BadTemplate(
                f"the model's chat template leaves out what `{who}` says here; use another model, or `raw`"
            )
        return frozenset(lost)

    def _escape(self, text: str, mark: str) -> str:
        for _ in range(64):
            found = self._control_tokens(text)
            if not found:
                return text
            for name in found:
                text = text.replace(name, name[0] + mark + name[1:])
        return mark.join(text)

    def _control_tokens(self, text: str) -> list[str]:
        names = [self._vocab.marker(t) for t in self._vocab.tokenize(text, special=True) if self._vocab.is_markup(t)]
        return [name for name in dict.fromkeys(names) if name and name in text]

    def _split(self, text: str) -> list[int | str]:
        """Control tokens as ids, what is between them as text: the same cuts that llama.cpp's tokenizer makes."""
        pieces: list[int | str] = []
        at = 0
        strip_next = False
        for token in self._vocab.tokenize(text, special=True):
            if not self._vocab.is_markup(token):
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
        # private use, first the short plane: a message may have all of its characters
        mark = (
            chr(0xE000 + secrets.randbelow(0x1900))
            if secrets.randbelow(8)
            else chr(0xF0000 + secrets.randbelow(1 << 16))
        )
        if not any(mark in m["content"] or _in_json(mark) in m["content"] for m in messages):
            return mark


def _in_json(mark: str) -> str:
    """How it looks where a template asks `tojson` for ASCII."""
    return json.dumps(mark)[1:-1]


def _canaries(roles: Sequence[str]) -> list[Message]:
    """A conversation in which each message is a word of its own."""
    return [{"role": role, "content": f"q{secrets.token_hex(8)}"} for role in roles]


def _missing(words: Sequence[Message], text: str) -> list[int]:
    text = text.casefold()
    return [i for i, message in enumerate(words) if message["content"] not in text]


def _moved(messages: Sequence[Message], moves: Collection[int]) -> list[Message] | None:
    """These messages' texts before that of the next user; None where none follows. For templates that know no system
    role (Gemma's refuses it, others pass over it)."""
    kept: list[Message] = []
    waiting: list[str] = []
    for i, message in enumerate(messages):
        if i in moves:
            waiting += [message["content"]] if message["content"].strip() else []
        elif waiting and message["role"] == "user":
            kept.append({**message, "content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            kept.append(message)
    return None if waiting else kept


def _transcript(messages: Sequence[Message]) -> str:
    """For a base model, which has no template: a single prompt as it is, a conversation by roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "".join(f"{m['role'].capitalize()}: {m['content']}\n\n" for m in messages) + "Assistant:"
