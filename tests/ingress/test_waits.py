"""Waits that are over leave nothing behind, although what they waited for goes on (R7, R16)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import connect

from ..durability.harness import app, until

pytestmark = [pytest.mark.rule("R7"), pytest.mark.rule("R16")]

MOMENT = timedelta(milliseconds=20)


async def bounded(runtime: Any, id: str) -> None:
    """A result that does not come in time."""
    with pytest.raises(TimeoutError):
        await runtime.invocation(id).result(timeout=MOMENT)


async def repeated(runtime: Any, id: str) -> None:
    """The same call again, whose caller does not wait for it."""
    with pytest.raises(TimeoutError):
        await EchoClient(runtime).script(Text(text="one"), idempotency_key="one", timeout=MOMENT)


async def cancelled(runtime: Any, id: str) -> None:
    """A call that asyncio cancels."""
    call = EchoClient(runtime).script(Text(text="one"), idempotency_key="one")
    await asyncio.sleep(0)
    call.cancel()


async def disconnected(runtime: Any, id: str) -> None:
    """Requests whose clients go: an attach, the call again, and the call by a connection."""
    async with aiohttp.ClientSession(runtime.ingress_url, timeout=aiohttp.ClientTimeout(total=0.1)) as session:
        with pytest.raises(TimeoutError):
            await session.get(f"/restate/invocation/{id}/attach")
        with pytest.raises(TimeoutError):
            await session.post("/sample.v1.Echo/Script", json={"text": "one"}, headers={"idempotency-key": "one"})
    async with connect(runtime.ingress_url) as connection:
        await bounded(connection, id)


async def out_of_time(runtime: Any, id: str) -> None:
    """A request that bounds its wait itself."""
    async with aiohttp.ClientSession(runtime.ingress_url) as session:
        headers = {"idempotency-key": "one", "connect-timeout-ms": "50"}
        async with session.post("/sample.v1.Echo/Script", json={"text": "one"}, headers=headers) as response:
            assert response.status == 504


@pytest.mark.parametrize("wait", [bounded, repeated, cancelled, disconnected, out_of_time])
async def test_nobody_is_kept(wait: Callable[[Any, str], Awaitable[None]], runtime_options: dict[str, Any]) -> None:
    go = asyncio.Event()

    async def script(ctx: Any, text: str) -> str:
        await ctx.run("go", go.wait)
        return text

    async with app(script).start(data_dir=None, ingress="127.0.0.1:0", **runtime_options) as runtime:
        first = EchoClient(runtime).script.in_background(Text(text="one"), idempotency_key="one")
        id = await first.invocation_id()
        kept = asyncio.ensure_future(first.result())
        machinery = runtime._machinery
        (running,) = machinery.state.invocations.values()
        await until(lambda: len(running.waiters) == 1)
        for _ in range(3):
            await wait(runtime, id)
        await until(lambda: len(running.waiters) == 1)
        assert len(machinery._outside) == 1
        go.set()
        assert await kept == Text(text="one")


async def test_a_call_whose_first_caller_went(runtime_options: dict[str, Any]) -> None:
    go = asyncio.Event()

    async def script(ctx: Any, text: str) -> str:
        await ctx.run("go", go.wait)
        return text

    async with app(script).start(data_dir=None, ingress="127.0.0.1:0", **runtime_options) as runtime:
        async with aiohttp.ClientSession(runtime.ingress_url, timeout=aiohttp.ClientTimeout(total=0.1)) as session:
            with contextlib.suppress(TimeoutError):
                await session.post("/sample.v1.Echo/Script", json={"text": "one"}, headers={"idempotency-key": "one"})
        (running,) = runtime._machinery.state.invocations.values()
        await until(lambda: not running.waiters)
        go.set()
        assert await EchoClient(runtime).script(Text(text="one"), idempotency_key="one") == Text(text="one")
