"""The v1 line protocol: `{"v":1,"prompt":"…","stream":true}` on the same socket.

Answered by lines `{"token":"…","eos":false}`, last `{"token":null,"eos":true}`; an error is
`{"error":"…","error_type":"…","eos":true}`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from threadrunner.api.errors import ApiError, InvalidParams, ShuttingDown
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.methods.dispatch import generate
from threadrunner.daemon.methods.generation import Daemon
from threadrunner.daemon.peer import Call


class Line(msgspec.Struct):
    """A v1 request. Unknown members are passed over, as v1 always did."""

    v: Literal[1]
    prompt: str
    stream: bool = True


async def serve(daemon: Daemon, call: Call, message: dict[str, Any]) -> dict[str, Any]:
    """The last line of the answer; the tokens before it go through `call`."""
    try:
        if daemon.stopping:
            raise ShuttingDown("the daemon is ending")
        line = msgspec.convert(message, Line)
        result = await generate(daemon, call, GenerateParams(prompt=line.prompt, stream=line.stream))
    except msgspec.ValidationError as error:
        return _failure(InvalidParams(str(error)))
    except ApiError as error:
        return _failure(error)
    return {"token": None if line.stream else result.text, "eos": True}


def _failure(error: ApiError) -> dict[str, Any]:
    return {"error": error.message, "error_type": error.kind, "eos": True}
