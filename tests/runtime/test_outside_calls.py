"""Calls made outside handlers: asyncio's own futures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, TerminalError, as_completed, gather, race, select

from .services import LONG, MOMENT, Sample, begin, play, reached, send

pytestmark = pytest.mark.rule("R7")


async def test_all_of_asyncio_works_on_calls(sample: Sample) -> None:
    async with sample.start() as runtime:
        echo = EchoClient(runtime).call

        def text(value: str) -> Any:
            return echo(Text(text=value))

        assert [reply.text for reply in await asyncio.gather(text("a"), text("b"))] == ["a", "b"]
        assert (await asyncio.wait_for(text("c"), 30)).text == "c"
        assert (await asyncio.shield(text("d"))).text == "d"
        done, pending = await asyncio.wait([text("e"), text("f")])
        assert sorted(call.result().text for call in done) == ["e", "f"]
        assert not pending
        assert sorted([(await call).text for call in asyncio.as_completed([text("g"), text("h")])]) == ["g", "h"]
        async with asyncio.TaskGroup() as tasks:
            inside = [tasks.create_task(awaited(text(value))) for value in "ij"]
        assert [task.result().text for task in inside] == ["i", "j"]
        async with asyncio.timeout(30):
            assert (await text("k")).text == "k"
        call = text("l")
        seen: list[str] = []
        call.add_done_callback(lambda done: seen.append(done.result().text))
        assert list(await asyncio.gather(call, call)) == [Text(text="l")] * 2
        assert seen == ["l"]


async def test_what_is_for_handlers_says_what_to_use_instead(sample: Sample) -> None:
    async with sample.start() as runtime:
        echo = EchoClient(runtime).call
        handle = echo.in_background(Text())
        result: Any = handle.result()
        for combinator, other in ((gather, "gather"), (race, "wait"), (as_completed, "as_completed")):
            with pytest.raises(TypeError, match=rf"not a OutsideCall; outside handlers use asyncio's {other}$"):
                async for _ in listed(combinator(echo(Text()))):
                    pass
        with pytest.raises(TypeError, match=r"not a coroutine; outside handlers use asyncio's wait$"):
            select(one=result)
        assert await result == Text()
        with pytest.raises(TypeError, match=r"give timeout=, or use asyncio.wait_for"):
            echo(Text()).or_timeout(MOMENT)


async def listed(made: Any) -> Any:
    """What a combinator makes, whichever kind it is."""
    if hasattr(made, "__aiter__"):
        async for item in made:
            yield item
    else:
        yield await made


async def awaited(call: Any) -> Any:
    return await call


async def test_failures_come_through(sample: Sample) -> None:
    @sample.script
    async def fails(ctx: Any) -> None:
        raise TerminalError("no", Code.ABORTED)

    async with sample.start() as runtime:
        results = await asyncio.gather(begin(runtime, fails), begin(runtime, fails), return_exceptions=True)
        assert list(results) == [TerminalError("no", Code.ABORTED)] * 2
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(awaited(begin(runtime, fails)))
        assert caught.value.exceptions[0] == TerminalError("no", Code.ABORTED)


async def test_giving_up_the_wait_does_not_stop_the_invocation(sample: Sample) -> None:
    @sample.script
    async def adds(ctx: Any) -> None:
        await ctx.sleep(MOMENT)
        await CounterClient(ctx).add(AddRequest(name="k", amount=1))

    async with sample.start() as runtime:
        cancelled = begin(runtime, adds)
        assert cancelled.cancel()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(begin(runtime, adds), 0)
        while (await CounterClient(runtime).get(CounterKey(name="k"))).value < 2:
            pass


async def test_one_cancelled_waiter_leaves_the_handle_to_the_others(sample: Sample) -> None:
    async with sample.start() as runtime:
        handle = EchoClient(runtime).call.in_background(Text(text="a"))
        first, second = (asyncio.create_task(handle.invocation_id()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).startswith("inv_")
        assert await handle.result() == Text(text="a")


async def test_calls_from_many_tasks(sample: Sample) -> None:
    async with sample.start() as runtime:

        async def client(number: int) -> None:
            for _ in range(5):
                await CounterClient(runtime).add(AddRequest(name=str(number % 3), amount=1))

        await asyncio.gather(*(client(number) for number in range(9)))
        totals = [(await CounterClient(runtime).get(CounterKey(name=str(key)))).value for key in range(3)]
        assert totals == [15, 15, 15]


@pytest.mark.rule("R11")
async def test_a_stopping_runtime_is_a_connection_error_after_which_a_retry_is_safe(sample: Sample) -> None:
    @sample.script
    async def waits(ctx: Any) -> str:
        return str(await ctx.awakeable(str))

    async with sample.start() as runtime:
        waiting = begin(runtime, waits, "k", idempotency_key="same")
        handle = send(runtime, waits, "other")
        await reached(handle, "running", "suspended")
        result = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)
    for lost in (waiting, result):
        with pytest.raises(ConnectionError, match="stopping"):
            await lost
    with pytest.raises(ConnectionError):
        await EchoClient(runtime).call(Text())
    with pytest.raises(ConnectionError):
        await EchoClient(runtime).call.in_background(Text())
    async with sample.start() as runtime:
        again = begin(runtime, waits, "k", idempotency_key="same")
        await asyncio.sleep(0)
        rows = runtime.inspector.invocations(key="k")
        assert len(rows) == 1
        for promise in runtime.inspector.describe(rows[0]["id"])["waiting_for"]:  # type: ignore[index]
            await runtime.resolve_awakeable(promise.split()[1], "settled")
        assert (await again) == Text(text='"settled"')


async def test_a_long_wait_costs_no_turn(sample: Sample) -> None:
    @sample.script
    async def sleeps(ctx: Any) -> None:
        await ctx.sleep(LONG)

    async with sample.start() as runtime:
        send(runtime, sleeps, "slow")
        assert await play(runtime, quick(sample), "other") == "quick"


def quick(sample: Sample) -> Any:
    @sample.script
    async def answers(ctx: Any) -> str:
        return "quick"

    return answers
