"""An endpoint written with Restate's own Python SDK, called by and calling services of this process."""

from __future__ import annotations

from typing import Any

import pytest

from restate_runtime import Code, TerminalError

from .conftest import Endpoint, Foreign


async def test_a_call(foreign: Foreign) -> None:
    assert await foreign("Greeter/greet", "you") == "Hello you!"


async def test_side_effects_and_sleep(foreign: Foreign, endpoint: Endpoint) -> None:
    assert await foreign("Greeter/effects", "x") == ["first x", "second x"]
    assert endpoint.lines() == ["first x", "second x"]


async def test_state(foreign: Foreign) -> None:
    assert [await foreign("Counter/add", n, key="a") for n in (1, 2, 3)] == [1, 3, 6]
    assert await foreign("Counter/value", key="a") == 6
    assert await foreign("Counter/value", key="b") == 0
    assert await foreign("Counter/reset", key="a") == ["value"]
    assert await foreign("Counter/value", key="a") == 0


async def test_calls_of_services(foreign: Foreign) -> None:
    assert await foreign("Greeter/counts", "k") == [1, 2, 3, 11]


@pytest.mark.parametrize("code", [400, 404, 409, 418, 500])
async def test_terminal_errors(foreign: Foreign, code: int) -> None:
    with pytest.raises(TerminalError, match="as asked") as raised:
        await foreign("Greeter/fails", code)
    known = {404: Code.NOT_FOUND, 409: Code.ALREADY_EXISTS, 500: Code.INTERNAL}
    assert raised.value.code is known.get(code, Code.INVALID_ARGUMENT)


async def test_retries(foreign: Foreign, endpoint: Endpoint) -> None:
    assert await foreign("Greeter/flaky", 3) == 4
    assert await foreign("Greeter/flaky_run", 3) == "after 4"


async def test_awakeables(foreign: Foreign, endpoint: Endpoint, runtime: Any) -> None:
    handle = foreign.send("Greeter/waits", "a")
    id = (await endpoint.logged("awakeable")).split()[1]
    await runtime.resolve_awakeable(id, "from outside")
    assert await handle.result() == b'"a: from outside"'


async def test_awakeables_settled_by_a_handler(foreign: Foreign, endpoint: Endpoint) -> None:
    handle = foreign.send("Greeter/waits", "a")
    id = (await endpoint.logged("awakeable")).split()[1]
    await foreign("Greeter/resolves", id)
    assert await handle.result() == b'"a: resolved by a handler"'


async def test_promises(foreign: Foreign) -> None:
    run = foreign.send("Signup/run", "a@b", key="w")
    await run.invocation_id()
    assert await foreign("Signup/peek", key="w") is None
    waiting = foreign.send("Signup/wait_too", key="w")
    await waiting.invocation_id()
    await foreign("Signup/confirm", "code", key="w")
    assert await run.result() == b'"a@b code"'
    assert await waiting.result() == b'"code"'
    assert await foreign("Signup/peek", key="w") == "code"
    assert await foreign("Signup/status", key="w") == "done"
    with pytest.raises(TerminalError) as raised:
        await foreign("Signup/confirm", "again", key="w")
    assert raised.value.code is Code.ALREADY_EXISTS
    with pytest.raises(TerminalError, match="started before") as raised:
        await foreign("Signup/run", "a@b", key="w")
    assert raised.value.code is Code.ALREADY_EXISTS


async def test_cancellation(foreign: Foreign, endpoint: Endpoint, runtime: Any) -> None:
    handle = foreign.send("Greeter/cancelled", "c")
    await endpoint.logged("never c")
    await handle.cancel()
    assert await handle.result() == b'"cancelled: 409"'
    assert await endpoint.logged("compensated") == "compensated c 409"
    await endpoint.logged("never ended")


async def test_signals(foreign: Foreign, endpoint: Endpoint) -> None:
    handle = foreign.send("Greeter/signalled", "s")
    await endpoint.logged("signalled")
    await foreign("Greeter/signals", await handle.invocation_id())
    assert await handle.result() == b'"signal"'
