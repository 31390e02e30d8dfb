"""Services whose handlers are given by the test, and ways to look at a runtime from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterBase, EchoBase, LedgerBase

from restate_runtime import App, KeyedContext, RetryPolicy, Runtime, SingletonContext, UnkeyedContext
from restate_runtime.app import Started
from restate_runtime.engine.options import load_options

__all__ = ["Clock", "Script", "app", "fast_retry", "invocation", "milliseconds", "start", "until", "until_status"]

Script = Callable[[Any, str], Awaitable[Any]]

fast_retry = {"retry_initial_interval": timedelta(milliseconds=1), "retry_max_interval": timedelta(milliseconds=5)}


def milliseconds(number: float) -> timedelta:
    return timedelta(milliseconds=number)


class Echo(EchoBase):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        return Text(text=str(await self._script(ctx, request.text) or ""))


class Counter(CounterBase):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        value = (await ctx.get("value", int) or 0) + request.amount
        ctx.set("value", value)
        return Number(value=value)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("value", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        return Text(text=str(await self._script(ctx, request.text) or ""))


class Ledger(LedgerBase):
    async def append(self, ctx: SingletonContext, request: Text) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.text])

    async def lines(self, ctx: SingletonContext) -> LineList:
        return LineList(lines=await ctx.get("lines", list[str]) or [])


async def _nothing(_ctx: Any, _text: str) -> None:
    return None


def app(script: Script = _nothing, *, retry: RetryPolicy | None = None) -> App:
    """All services of the sample contract; `script` is what both `Script` methods run."""
    return App(Echo(script), Counter(script), Ledger(), retry=retry)


class Clock:
    """The system's time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def advance(self, duration: timedelta) -> None:
        self.ahead_ms += round(duration.total_seconds() * 1000)


def start(hosted: App, clock: Clock, **options: Any) -> Started:
    """`app.start` with another clock."""
    return Started(hosted.registry, load_options(options), clock=clock)


async def until(condition: Callable[[], Any]) -> Any:
    """Waits for something that happens by itself; the test's own time limit bounds it."""
    while not (found := condition()):
        await asyncio.sleep(0.005)
    return found


def invocation(runtime: Runtime, id: str) -> dict[str, Any]:
    """The committed row of an invocation, with its journal."""
    found = runtime.inspector.describe(id)
    assert found is not None
    return found


async def until_status(runtime: Runtime, id: str, status: str) -> dict[str, Any]:
    """Waits until an invocation has that status on disk, and returns its row."""

    def there() -> dict[str, Any] | None:
        row = runtime.inspector.describe(id)
        return row if row is not None and row["status"] == status else None

    found: dict[str, Any] = await until(there)
    return found
