"""The sample services, whose `Script` methods do what the test at hand says.

@sample.script
async def twice(ctx):
    return await ctx.run("one", lambda: 1) + 1

async with sample.start() as runtime:
    assert await play(runtime, twice) == 2
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterBase, CounterClient, EchoBase, EchoClient, LedgerBase

from restate_runtime import App, Call, Caller, InvocationHandle, KeyedContext, RetryPolicy, Runtime, SingletonContext, UnkeyedContext
from restate_runtime.app import Started

Script = Callable[[Any], Awaitable[Any]]
Body = TypeVar("Body", bound=Script)

MOMENT = timedelta(milliseconds=2)
LONG = timedelta(hours=1)


class Echo(EchoBase):
    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = scripts

    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        return Text(text=json.dumps(await self.scripts[request.text](ctx)))


class Counter(CounterBase):
    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = scripts

    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        return Text(text=json.dumps(await self.scripts[request.text](ctx)))


class Ledger(LedgerBase):
    async def append(self, ctx: SingletonContext, request: Text) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.text])

    async def lines(self, ctx: SingletonContext) -> LineList:
        return LineList(lines=await ctx.get("lines", list[str]) or [])


class Sample:
    """The sample services on one data directory; each `start` is a runtime of its own on what the one before left.

    Args:
        options: of `App.start`, for every start.
    """

    def __init__(self, data_dir: Path, options: Mapping[str, Any]) -> None:
        self.scripts: dict[str, Script] = {}
        few: dict[str, Any] = {"retry_initial_interval": MOMENT, "retry_max_attempts": 3, "retry_on_exhausted": "fail"}
        self._options: dict[str, Any] = {"data_dir": data_dir} | few | dict(options)

    def script(self, body: Body) -> Body:
        """Decorator: the function can be played."""
        self.scripts[body.__name__] = body
        return body

    def start(self, *, retry: RetryPolicy | None = None, **options: Any) -> Started:
        """A runtime, for `async with`."""
        return App(Echo(self.scripts), Counter(self.scripts), Ledger(), retry=retry).start(**self._options | options)


def begin(caller: Caller, body: Script, key: str | None = None, **options: Any) -> Call[Text]:
    """An awaited call that plays a script: in `Echo`, or in `Counter` where a key is given."""
    if key is None:
        return EchoClient(caller).script(Text(text=body.__name__), **options)
    return CounterClient(caller).script(KeyedText(key=key, text=body.__name__), **options)


async def play(caller: Caller, body: Script, key: str | None = None, **options: Any) -> Any:
    """What a script returns."""
    return json.loads((await begin(caller, body, key, **options)).text)


def send(caller: Caller, body: Script, key: str | None = None, **options: Any) -> InvocationHandle[Text]:
    """A background call that plays a script."""
    if key is None:
        return EchoClient(caller).script.in_background(Text(text=body.__name__), **options)
    return CounterClient(caller).script.in_background(KeyedText(key=key, text=body.__name__), **options)


async def described(runtime: Runtime, handle: InvocationHandle[Any]) -> dict[str, Any]:
    """What `invocations describe` shows."""
    found = runtime.inspector.describe(await handle.invocation_id())
    assert found is not None
    return found


async def journal(runtime: Runtime, handle: InvocationHandle[Any]) -> list[str]:
    """The commands of the journal, in words."""
    return [row["entry"] for row in (await described(runtime, handle))["journal"] if row["index"] is not None]


async def reached(handle: InvocationHandle[Any], *statuses: str) -> str:
    """Waits until the invocation is where it should be."""
    while (status := await handle.status()) not in statuses:
        await asyncio.sleep(0.002)
    return status


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is so; the test's own timeout bounds it."""
    while not condition():
        await asyncio.sleep(0.002)


__all__ = [
    "LONG",
    "MOMENT",
    "Counter",
    "Echo",
    "Ledger",
    "Sample",
    "begin",
    "described",
    "journal",
    "play",
    "reached",
    "send",
    "until",
]
