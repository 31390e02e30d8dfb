"""Everything begins, and takes its place in the journal, when it is made."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import Awakeable, gather

from .services import LONG, MOMENT, Sample, begin, journal, play, send, until

pytestmark = pytest.mark.rule("R1")


async def test_the_journal_has_the_order_of_the_program(sample: Sample) -> None:
    @sample.script
    async def everything(ctx: Any) -> None:
        call = EchoClient(ctx).call(Text(text="a"))
        nap = ctx.sleep(MOMENT)
        effect = ctx.run("effect", lambda: 1)
        LedgerClient(ctx).append.in_background(Text(text="line"))
        CounterClient(ctx).add.delayed(AddRequest(name="other", amount=1), MOMENT)
        ctx.set("state", 1)
        bounded = EchoClient(ctx).call(Text(text="b")).or_timeout(LONG)
        await ctx.get("state", int)
        await ctx.state_keys()
        ctx.clear("state")
        ctx.clear_all()
        await ctx.now()
        await bounded
        await effect
        await nap
        await call

    async with sample.start() as runtime:
        handle = send(runtime, everything, "k")
        await handle.result()
        assert await journal(runtime, handle) == [
            "input",
            "call sample.v1.Echo/Call",
            "sleep",
            "run 'effect'",
            "background call sample.v1.Ledger/Append",
            "delayed call sample.v1.Counter/Add of 'other'",
            "set state 'state'",
            "call sample.v1.Echo/Call",
            "sleep",
            "get state 'state'",
            "get state keys",
            "clear state 'state'",
            "clear all state",
            "run 'now'",
            "return",
        ]


async def test_calls_run_side_by_side(sample: Sample) -> None:
    """The second call settles what the first one waits for: one after the other they would never end."""
    promises: list[str] = []

    @sample.script
    async def opens(ctx: Any) -> str:
        promise: Awakeable[str] = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        return await promise

    @sample.script
    async def settles(ctx: Any) -> None:
        async def published() -> str:
            await until(lambda: promises)
            return promises[0]

        ctx.resolve_awakeable(await ctx.run("look", published), "settled")

    @sample.script
    async def both(ctx: Any) -> Any:
        first, second = begin(ctx, opens), begin(ctx, settles)
        return [(await second).text, (await first).text]

    async with sample.start() as runtime:
        assert await play(runtime, both) == ["null", '"settled"']


async def test_a_side_effect_runs_although_nobody_awaits_it_yet(sample: Sample) -> None:
    @sample.script
    async def effect_first(ctx: Any) -> list[str]:
        promise = ctx.awakeable(str)
        effect = ctx.run("settle", lambda: settle(promise.id))
        return [await promise, await effect]

    async with sample.start() as runtime:
        loop = asyncio.get_running_loop()

        def settle(promise: str) -> str:
            asyncio.run_coroutine_threadsafe(runtime.resolve_awakeable(promise, "by the effect"), loop).result()
            return "done"

        assert await play(runtime, effect_first) == ["by the effect", "done"]


async def test_background_and_delayed_calls_need_no_await(sample: Sample) -> None:
    @sample.script
    async def fires(ctx: Any) -> None:
        for line in "abc":
            LedgerClient(ctx).append.in_background(Text(text=line))
        LedgerClient(ctx).append.delayed(Text(text="d"), timedelta(milliseconds=20))

    async with sample.start() as runtime:
        await play(runtime, fires)
        while len((lines := await LedgerClient(runtime).lines()).lines) < 4:
            pass
        assert list(lines.lines) == ["a", "b", "c", "d"]


async def test_outside_a_call_begins_when_it_is_made(sample: Sample) -> None:
    async with sample.start() as runtime:
        ledger = LedgerClient(runtime)
        first = ledger.append(Text(text="first"))
        ledger.append.in_background(Text(text="second"))
        last = ledger.append(Text(text="third"))
        await last
        await first
        assert list((await ledger.lines()).lines) == ["first", "second", "third"]


async def test_a_handler_may_return_before_its_calls(sample: Sample) -> None:
    @sample.script
    async def leaves(ctx: Any) -> str:
        LedgerClient(ctx).append(Text(text="called, never awaited"))
        gather(LedgerClient(ctx).append(Text(text="gathered, never awaited")))
        return "left"

    async with sample.start() as runtime:
        assert await play(runtime, leaves) == "left"
        while len((lines := await LedgerClient(runtime).lines()).lines) < 2:
            pass
        assert list(lines.lines) == ["called, never awaited", "gathered, never awaited"]
