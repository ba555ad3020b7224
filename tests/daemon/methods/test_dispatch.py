"""From a request object to its handler and back, before jsonrpcserver is imported and after."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.api.errors import InvalidParams
from threadrunner.api.methods import METHODS
from threadrunner.api.status import Stopping
from threadrunner.daemon.methods.context import Call
from threadrunner.daemon.methods.dispatch import Dispatcher, is_request
from threadrunner.daemon.tally import Tally
from threadrunner.daemon.workers.sink import SilentSink

# jsonrpcserver 5.0.9 reads its schema in a way that Python 3.11 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning")


class Outlet(SilentSink):
    def subscribe(self, events: frozenset[str]) -> None: ...


class Handlers:
    """Every method counts its calls; `shutdown` answers, `status` fails, `subscribe` waits for good."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.tally = Tally()
        self.dispatcher = Dispatcher({name: self._handler(name) for name in METHODS}, self.tally, lambda: False)

    def _handler(self, name: str) -> Any:
        async def handle(call: Call, params: Any) -> Any:
            self.calls.append(name)
            if name == "status":
                raise InvalidParams("no")
            if name == "subscribe":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
            assert isinstance(params, METHODS[name].params)
            return Stopping(7)

        return handle

    async def ask(self, method: str, params: Any = None, **more: Any) -> Any:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {} if params is None else params, **more}
        return await self.dispatcher.dispatch(Outlet(), message)


@pytest.mark.parametrize("times", [1, 3])
def test_a_request_is_handled_once_with_the_library_and_before(times: int) -> None:
    async def run() -> None:
        handlers = Handlers()
        answers = await asyncio.gather(*(handlers.ask("shutdown") for _ in range(times)))
        assert [answer["result"].pid for answer in answers] == [7] * times
        assert handlers.calls == ["shutdown"] * times
        assert (await handlers.ask("shutdown"))["result"].pid == 7  # the library is there now
        assert handlers.calls == ["shutdown"] * (times + 1)

    asyncio.run(run())


def test_errors_are_the_same_with_the_library_and_before() -> None:
    async def run() -> None:
        handlers = Handlers()
        first, then = await handlers.ask("status"), await handlers.ask("status")
        assert first == then
        assert first["error"]["data"] == {"kind": "InvalidParams"}
        assert handlers.tally.errors == {"InvalidParams": 2}
        unknown = [await Handlers().ask("status", {"x": 1}), await handlers.ask("status", {"x": 1})]
        assert unknown[0] == unknown[1]
        assert unknown[0]["error"]["code"] == -32602

    asyncio.run(run())


def test_a_first_request_that_is_cancelled_cancels_its_handler() -> None:
    async def run() -> None:
        handlers = Handlers()
        request = asyncio.create_task(handlers.ask("subscribe", {"events": []}))
        while not handlers.calls:
            await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await handlers.cancelled.wait()

    asyncio.run(run())


JSON = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
MEMBERS = {
    "jsonrpc": st.sampled_from(["2.0", "1.0", None]),
    "id": st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.just([1]),
    "method": st.sampled_from(["shutdown", "nothing", "", None]),
    "params": st.just({}) | st.just([1]) | st.none(),
    "extra": st.just(1),
}


@given(st.fixed_dictionaries({}, optional=MEMBERS) | JSON)
def test_what_runs_early_is_what_the_library_would_run(message: Any) -> None:
    """A handler that is run before the library has looked at the message must be one that it will run."""

    async def run() -> None:
        handlers = Handlers()
        await handlers.ask("shutdown")
        handlers.calls.clear()
        await handlers.dispatcher.dispatch(Outlet(), message)
        assert is_request(message) == bool(handlers.calls)

    asyncio.run(run())
