"""The answer to a generate or infill, from what the engine tells of its candidates."""

from __future__ import annotations

import json
import time

import msgspec
from msgspec import UNSET, UnsetType

from threadrunner.api.chat import CallPart, FunctionCall, ToolCall
from threadrunner.api.fields import FinishReason
from threadrunner.api.generation import Choice, Generated, GenerateParams, InfillParams, Timings, TokenLogprob, Usage
from threadrunner.api.sampling import SamplingParams
from threadrunner.backends.base import CandidateDone, Piece
from threadrunner.backends.checked import checked
from threadrunner.engine.events import Ended, Text
from threadrunner.engine.llama.logprobs import Logprob
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.sequence import Request, Sequence
from threadrunner.engine.tools.layout import AnswerPart


class AnswerBuilder:
    """A generate or infill under way: what its result is made of."""

    def __init__(
        self,
        model: str,
        vocab: Vocab,
        params: SamplingParams,
        request: Request,
        arrived: float,
        truncated: int | None,
    ) -> None:
        self.model = model
        self.vocab = vocab
        self.stream = params.stream
        self.candidates = params.n
        self.votes = isinstance(params, GenerateParams) and params.vote is not None
        self.wants_logprobs = request.sampling.logprobs is not None
        self._confides = self.stream and isinstance(params, InfillParams) and params.confidence and params.n == 1
        """Until it has told how likely the first line was."""
        self.request = request
        self.prompt_tokens = len(request.prompt)
        self.checked = checked(params, request)
        self._echo = self._prompt_text(params)
        self._begun: set[int] = set()
        """Candidates of which a piece was shown."""
        self.arrived = arrived
        self.truncated = truncated
        self.ended: dict[int, Ended] = {}

    def _prompt_text(self, params: SamplingParams) -> str:
        if not isinstance(params, GenerateParams) or not params.echo:
            return ""
        return self.vocab.detokenize(self.request.prompt) if params.prompt is None else params.prompt

    def said(self, event: Text) -> list[Piece]:
        """What may be shown of a candidate as it grows: nothing that a check could still take back."""
        if not self.stream or self.checked is not None:
            return []
        shown = self._shown(event.index, event.part)
        return [*self._confidence(event.sequence), *shown] if self._confides and "\n" in event.part.text else shown

    def _confidence(self, sequence: Sequence) -> list[Piece]:
        """Once, before a first line's end is told: the tokens so far, for a client that ends the request there."""
        if "\n" not in sequence.utterance.text.lstrip():
            return []
        self._confides = False
        shares = sequence.utterance.shares(sequence.logprobs)
        told = json.dumps([[text, round(entry.logprob, 4)] for entry, text in shares])
        return [Piece(self.request.id, sequence.index, told, "confidence")]

    def end(self, event: Ended) -> list[Piece]:
        """A candidate is complete; what of it was not shown yet."""
        self.ended[event.index] = event
        if not self.stream:
            return []
        late = event.told.parts(event.text) if self.checked is not None else []
        return [piece for part in [*late, AnswerPart("text", "")] for piece in self._shown(event.index, part)]

    def _shown(self, index: int, part: AnswerPart) -> list[Piece]:
        id = self.request.id
        if part.call is not None:
            first = part.text == ""
            call = CallPart(part.call.index, *((part.call.id, part.call.name) if first else ()))
            return [Piece(id, index, part.text, "call", call)]
        if part.kind == "reasoning":
            return [Piece(id, index, part.text, "reasoning")]
        before = "" if index in self._begun else self._echo
        self._begun.add(index)
        return [Piece(id, index, before + part.text)] if before or part.text else []

    def result(self) -> Generated:
        choices = [self._choice(self.ended[i]) for i in range(self.candidates)]
        result = self._result(choices[0], self.ended[0].sequence, [])
        return msgspec.structs.replace(result, choices=choices) if self.candidates > 1 else result

    def alone(self, index: int, running: list[Sequence]) -> CandidateDone:
        """A complete candidate of a vote; `running` are those that are not."""
        ended = self.ended[index]
        return CandidateDone(self.request.id, index, self._result(self._choice(ended), ended.sequence, running))

    def _result(self, choice: Choice, first: Sequence, running: list[Sequence]) -> Generated:
        """With one answer; usage and times are those of all candidates."""
        sequences = [*(ended.sequence for ended in self.ended.values()), *running]
        generated = sum(sequence.generated for sequence in sequences)
        thought = sum(sequence.utterance.thought_tokens for sequence in sequences)
        generated += self.checked.tokens if self.checked is not None else 0
        return Generated(
            text=choice.text,
            finish_reason=choice.finish_reason,
            model=self.model,
            usage=Usage(self.prompt_tokens, first.cached, generated, thought or UNSET),
            timings=self._timings(generated - len(sequences), first),
            logprobs=choice.logprobs,
            tool_calls=choice.tool_calls,
            reasoning=choice.reasoning,
            stop=choice.stop,
            truncated_turns=UNSET if self.truncated is None else self.truncated,
            prompt_logprobs=self._prompt_logprobs(),
        )

    def _timings(self, after_first: int, first: Sequence) -> Timings:
        now = time.monotonic()
        first_token = first.first_token_at or now
        decode = now - first_token
        return Timings(
            queue_ms=(first.started_at - self.arrived) * 1e3,
            prefill_ms=(first_token - first.started_at) * 1e3,
            ttft_ms=(first_token - self.arrived) * 1e3,
            decode_ms=decode * 1e3,
            tokens_per_second=after_first / decode if decode > 0 and after_first > 0 else 0.0,
        )

    def _choice(self, ended: Ended) -> Choice:
        told = ended.told
        calls = [ToolCall(head.id, FunctionCall(head.name, arguments)) for head, arguments in told.calls]
        reason: FinishReason = "length" if ended.reason == "length" else "tool_calls" if calls else "stop"
        logprobs = [self._logprob(*pair) for pair in ended.logprobs] if self.wants_logprobs else UNSET
        stop = told.stop if reason == "stop" and told.stop is not None else UNSET
        return Choice(self._echo + ended.text, reason, logprobs, calls or UNSET, told.reasoning or UNSET, stop)

    def _prompt_logprobs(self) -> list[TokenLogprob | None] | UnsetType:
        if self.request.scored is None or 0 not in self.ended:
            return UNSET
        entries = self.ended[0].sequence.prompt_logprobs
        return [None, *(self._logprob(entry, self._text(entry.token)) for entry in entries)]

    def _logprob(self, entry: Logprob, text: str) -> TokenLogprob:
        return TokenLogprob(text, entry.logprob, [(self._text(i), p) for i, p in entry.top])

    def _text(self, token: int) -> str:
        return self.vocab.piece(token).decode("utf-8", "replace")
