"""The scalars that several methods take: each one's description and range are written here and nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta


def described(text: str, **limits: Any) -> Meta:
    """A field's description, and its limits as msgspec has them (ge, le, min_length, max_length)."""
    return Meta(description=text, **limits)


INT64_MAX = 2**63 - 1
"""What SQLite and msgpack can hold: every number that a client may choose has an end, so that none is a defect."""
INT32_MAX = 2**31 - 1
"""What llama.cpp can."""

Priority = Literal["interactive", "normal", "background"]
FinishReason = Literal["stop", "length", "cancelled", "tool_calls"]
MaxTokens = Annotated[
    int,
    described(
        "maximum number of tokens to generate; absent: until the model stops or the context is full", ge=0, le=INT64_MAX
    ),
]
Temperature = Annotated[float, described("0 is greedy: always the likeliest token; usual: 0.8", ge=0.0, le=100.0)]
TopK = Annotated[int, described("sample among the k likeliest tokens; 0: all; usual: 40", ge=0, le=INT32_MAX)]
TopP = Annotated[
    float,
    described(
        "sample from the smallest set of likeliest tokens whose probabilities add up to p; usual: 0.95", ge=0.0, le=1.0
    ),
]
MinP = Annotated[float, described("drop tokens less likely than p times the likeliest; usual: 0.05", ge=0.0, le=1.0)]
RepeatPenalty = Annotated[
    float, described("divides the score of tokens seen in the penalty window; usual: 1, off", gt=0.0, le=10.0)
]
PenaltyWindow = Annotated[
    int, described("how many of the last tokens penalties count; -1: all; usual: 64", ge=-1, le=INT32_MAX)
]
Penalty = Annotated[float, described("taken from the score of tokens seen; usual: 0, off", ge=-100.0, le=100.0)]
TypicalP = Annotated[
    float, described("keep tokens of typical surprise, up to this mass; usual: 1, off", gt=0.0, le=1.0)
]
TopNSigma = Annotated[
    float, described("keep tokens within n deviations of the likeliest score; usual: 0, off", ge=0.0, le=100.0)
]
LogitBias = Annotated[
    dict[Annotated[str, Meta(pattern="^[0-9]{1,10}$")], Annotated[float, Meta(ge=-1000.0, le=1000.0)]],
    described("by token id: added to its score; -100 or less forbids it", max_length=4096),
]
Seed = Annotated[int, described("the same seed gives the same text; absent: a new one each time", ge=0, le=2**32 - 1)]
Stop = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=1024)]],
    described("generation ends before the first of these texts", max_length=16),
]
Adapters = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=128)], Annotated[float, Meta(ge=-100.0, le=100.0)]],
    described(
        "LoRA adapters of the model by name, each with its scale; {}: none; absent: as config.toml has them",
        max_length=16,
    ),
]
Timeout = Annotated[float, described("seconds until the request ends with error Timeout", gt=0, le=86400)]
KeepAlive = Annotated[
    float,
    described("seconds the model stays loaded after its last request; 0: unload at once; -1: never unload", ge=-1),
]
ModelName = Annotated[
    str, described("a name from the catalog, a file in models/, or a path", min_length=1, max_length=4096)
]
Offline = Annotated[bool, described("never fetch a missing model; an error says how to get it")]
Logprobs = Annotated[int, described("also give this many likeliest tokens at each position", ge=0, le=20)]
Candidates = Annotated[int, described("how many answers to the one prompt", ge=1, le=8)]
SessionName = Annotated[
    str, described("a conversation's name; `@last` is the one used last", min_length=1, max_length=128)
]
NewName = Annotated[str, described("a name that no conversation has yet", min_length=1, max_length=128)]
ModeName = Annotated[
    str,
    described(
        "a mode from config.toml or one of the built-in ones; empty: none, and a conversation forgets the one that it "
        "had, and what that has set",
        max_length=64,
    ),
]
NoteText = Annotated[str, described("the text to remember", min_length=1, max_length=65536)]
Query = Annotated[str, described("words; those that end in * match any ending", min_length=1, max_length=4096)]
SessionParams = Annotated[dict[str, Any], described("sampling params that each turn of it is generated with")]
