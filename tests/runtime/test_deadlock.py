"""Cycles of awaited calls: found where nothing but the cycle can make progress, and only there."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey
from sample.v1.sample_restate import CounterClient

from restate_runtime import Code, TerminalError, gather, race

from .services import LONG, Sample, begin, play, reached, send, until

pytestmark = pytest.mark.rule("R18")

SOON = timedelta(milliseconds=20)


async def outcome(awaitable: Any) -> str:
    try:
        return str(await awaitable)
    except TerminalError as error:
        return error.code.name


def add(ctx: Any, key: str = "k") -> Any:
    """A call that needs the key's turn."""
    return CounterClient(ctx).add(AddRequest(name=key, amount=1))


async def test_a_call_of_its_own_key(sample: Sample) -> None:
    @sample.script
    async def itself(ctx: Any) -> list[str]:
        try:
            await add(ctx)
        except TerminalError as error:
            return [error.code.name, error.message]
        return []

    async with sample.start() as runtime:
        code, message = await play(runtime, itself, "k")
        assert code == "FAILED_PRECONDITION"
        assert message.startswith("this call closes a cycle in which each waits for the next, and none can go on: ")
        assert "sample.v1.Counter/Script of 'k' (inv_1" in message
        assert "waits for sample.v1.Counter/Add of 'k' (inv_1" in message
        assert "which waits for its turn behind sample.v1.Counter/Script of 'k' (inv_1" in message
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 0, "the call that was refused has done nothing"


async def test_a_cycle_through_a_service_without_keys_names_everybody(sample: Sample) -> None:
    @sample.script
    async def back(ctx: Any) -> str:
        return str((await add(ctx)).value)

    @sample.script
    async def first(ctx: Any) -> list[str]:
        try:
            await begin(ctx, back)
        except TerminalError as error:  # it comes from the handler that closed the cycle, unchanged
            return [error.code.name, error.message]
        return []

    async with sample.start() as runtime:
        code, message = await play(runtime, first, "k")
        assert code == "FAILED_PRECONDITION"
        for name in ("Echo/Script (inv", "Counter/Add of 'k' (inv", "Counter/Script of 'k' (inv"):
            assert f"sample.v1.{name}" in message


async def test_two_keys_that_call_each_other_crosswise(sample: Sample) -> None:
    ready: dict[str, asyncio.Event] = {"a": asyncio.Event(), "b": asyncio.Event()}

    @sample.script
    async def crosswise(ctx: Any) -> str:
        other = "b" if ctx.key == "a" else "a"
        ready[ctx.key].set()
        await ready[other].wait()
        return await outcome(add(ctx, other))

    async with sample.start() as runtime:
        results = await asyncio.gather(play(runtime, crosswise, "a"), play(runtime, crosswise, "b"))
        assert any("FAILED_PRECONDITION" in result for result in results)
        assert any("value: 1" in result for result in results), "the other one goes on once the first is over"


async def test_a_cycle_that_closes_behind_others_in_the_inbox(sample: Sample) -> None:
    go_on = asyncio.Event()

    @sample.script
    async def back(ctx: Any) -> str:
        return await outcome(add(ctx))

    @sample.script
    async def first(ctx: Any) -> str:
        await go_on.wait()
        return (await begin(ctx, back)).text

    async with sample.start() as runtime:
        call = begin(runtime, first, "k")
        others = [add(runtime), add(runtime)]
        await until(lambda: len(runtime.inspector.invocations(statuses=["inboxed"])) == 2)
        go_on.set()
        assert "FAILED_PRECONDITION" in (await call).text
        assert [(await other).value for other in others] == [1, 2]


async def test_a_cycle_closes_where_an_earlier_call_is_awaited_at_last(sample: Sample) -> None:
    """The call in the middle has waited for long when its caller begins to."""
    waits, go_on = asyncio.Event(), asyncio.Event()

    @sample.script
    async def inner(ctx: Any) -> str:
        waits.set()
        return await outcome(add(ctx))

    @sample.script
    async def middle(ctx: Any) -> str:
        call = begin(ctx, inner)
        await go_on.wait()
        return (await call).text

    @sample.script
    async def outer(ctx: Any) -> str:
        return (await begin(ctx, middle)).text

    async with sample.start() as runtime:
        call = begin(runtime, outer, "k")
        await waits.wait()
        await until(lambda: runtime.inspector.invocations(statuses=["inboxed"]))
        go_on.set()
        assert "FAILED_PRECONDITION" in (await call).text


async def test_a_handler_that_waits_for_its_own_background_call(sample: Sample) -> None:
    """Waiting is refused; the background call runs, once its turn has come."""

    @sample.script
    async def impatient(ctx: Any) -> list[str]:
        handle = CounterClient(ctx).add.in_background(AddRequest(name="k", amount=5))
        return [await outcome(handle.result()), await handle.invocation_id()]

    async with sample.start() as runtime:
        code, id = await play(runtime, impatient, "k")
        assert code == "FAILED_PRECONDITION"
        await runtime.invocation(id).result()
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 5


async def test_a_cycle_that_closes_when_a_delayed_call_is_due(sample: Sample) -> None:
    @sample.script
    async def itself(ctx: Any) -> str:
        handle = CounterClient(ctx).add.delayed(AddRequest(name="k", amount=1), SOON)
        return await outcome(handle.result())

    async with sample.start() as runtime:
        assert await play(runtime, itself, "k") == "FAILED_PRECONDITION"
        await until(lambda: not runtime.inspector.invocations(statuses=["inboxed", "scheduled"]))
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 1, "the background call is not what is refused"


async def test_a_handler_that_attaches_to_its_caller(sample: Sample) -> None:
    @sample.script
    async def child(ctx: Any) -> str:
        return await outcome(ctx.invocation(ctx.headers["caller"]).result())

    @sample.script
    async def parent(ctx: Any) -> str:
        return (await begin(ctx, child, headers={"caller": ctx.invocation_id})).text

    async with sample.start() as runtime:
        assert "FAILED_PRECONDITION" in await play(runtime, parent)


@pytest.mark.parametrize("form", ["gather", "gather with a timer", "race of two"])
async def test_combinators_that_cannot_go_on(sample: Sample, form: str) -> None:
    @sample.script
    async def combined(ctx: Any) -> str:
        match form:
            case "gather":
                return await outcome(gather(add(ctx), add(ctx)))
            case "gather with a timer":
                return await outcome(gather(add(ctx), ctx.sleep(LONG)))
            case _:
                return await outcome(race(add(ctx), add(ctx)))

    async with sample.start() as runtime:
        assert await play(runtime, combined, "k") == "FAILED_PRECONDITION"


async def test_gather_goes_on_until_only_the_cycle_is_left(sample: Sample) -> None:
    @sample.script
    async def slow(ctx: Any) -> str:
        await ctx.sleep(SOON)
        return "slow"

    @sample.script
    async def combined(ctx: Any) -> list[str]:
        call = begin(ctx, slow)
        return [await outcome(gather(call, add(ctx))), (await call).text]

    async with sample.start() as runtime:
        assert await play(runtime, combined, "k") == ["FAILED_PRECONDITION", '"slow"']


FORMS = ["race with a timer", "or_timeout", "nested or_timeout", "awakeable", "action", "another call", "background"]


@pytest.mark.parametrize("form", FORMS)
async def test_what_can_go_on_is_no_deadlock(sample: Sample, form: str) -> None:
    @sample.script
    async def slow(ctx: Any) -> str:
        await ctx.sleep(SOON)
        raise TerminalError("no luck", Code.ABORTED)

    async def effect() -> str:
        await asyncio.sleep(0.02)
        return "effect"

    @sample.script
    async def combined(ctx: Any) -> str:
        match form:
            case "race with a timer":
                return await outcome(race(add(ctx), ctx.sleep(SOON)))
            case "or_timeout":
                return await outcome(add(ctx).or_timeout(SOON))
            case "nested or_timeout":
                return await outcome(gather(add(ctx), add(ctx).or_timeout(SOON)))
            case "awakeable":
                promise = ctx.awakeable(str)
                ctx.set("id", promise.id)
                return await outcome(race(add(ctx), promise))
            case "action":
                return await outcome(race(add(ctx), ctx.run("effect", effect)))
            case "another call":
                return await outcome(gather(add(ctx), begin(ctx, slow)))
            case _:
                CounterClient(ctx).add.in_background(AddRequest(name="k", amount=1))
                return await outcome(ctx.sleep(SOON))

    expected = {
        "race with a timer": "None",
        "or_timeout": "DEADLINE_EXCEEDED",
        "nested or_timeout": "DEADLINE_EXCEEDED",
        "awakeable": "settled",
        "action": "effect",
        "another call": "ABORTED",
        "background": "None",
    }
    async with sample.start() as runtime:
        handle = send(runtime, combined, "k")
        if form == "awakeable":
            await until(lambda: runtime.inspector.state("sample.v1.Counter", "k", "id"))
            await asyncio.sleep(0.05)
            await runtime.resolve_awakeable(runtime.inspector.state("sample.v1.Counter", "k", "id")[0]["value_json"], "settled")
        assert (await handle.result()).text == f'"{expected[form]}"'
        while (await CounterClient(runtime).get(CounterKey(name="k"))).value == 0:
            await asyncio.sleep(0.002)  # the call that waited for its turn has it in the end


@pytest.mark.parametrize("middle", ["failing", "paused"])
async def test_one_that_tries_again_or_is_paused_can_go_on(sample: Sample, middle: str) -> None:
    attempts: list[int] = []

    @sample.script
    async def between(ctx: Any) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise RuntimeError("no luck")
        return "mended"

    @sample.script
    async def outer(ctx: Any) -> str:
        call = add(ctx)
        text = (await begin(ctx, between)).text
        return text + await outcome(call)

    policy = {"retry_max_attempts": 2, "retry_on_exhausted": "pause"} if middle == "paused" else {"retry_max_attempts": 9}
    async with sample.start(**policy) as runtime:
        handle = send(runtime, outer, "k")
        if middle == "paused":
            await until(lambda: runtime.inspector.invocations(statuses=["paused"]))
            assert await handle.status() in ("running", "suspended")
            await runtime.resume(runtime.inspector.invocations(statuses=["paused"])[0]["id"])
        assert (await handle.result()).text == '"\\"mended\\"FAILED_PRECONDITION"'


async def test_a_cycle_is_found_after_a_restart(sample: Sample) -> None:
    """Reported only by the first runtime, broken by the second."""

    @sample.script
    async def back(ctx: Any) -> str:
        return await outcome(add(ctx))

    @sample.script
    async def first(ctx: Any) -> str:
        return (await begin(ctx, back)).text

    async with sample.start(deadlock="report") as runtime:
        id = await send(runtime, first, "k").invocation_id()
        await until(lambda: runtime.inspector.invocations(statuses=["inboxed"]))
    async with sample.start() as runtime:
        assert "FAILED_PRECONDITION" in (await runtime.invocation(id).result()).text


async def test_a_cycle_without_a_key_is_found_after_a_restart(sample: Sample) -> None:
    @sample.script
    async def itself(ctx: Any) -> str:
        return await outcome(ctx.invocation(ctx.invocation_id).result())

    async with sample.start(deadlock="report") as runtime:
        handle = send(runtime, itself)
        id = await handle.invocation_id()
        await reached(handle, "running", "suspended")
        await asyncio.sleep(0.02)
    async with sample.start() as runtime:
        assert "FAILED_PRECONDITION" in (await runtime.invocation(id).result()).text


async def test_it_is_only_reported_where_that_is_wanted(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    @sample.script
    async def back(ctx: Any) -> str:
        return await outcome(add(ctx))

    @sample.script
    async def first(ctx: Any) -> str:
        return (await begin(ctx, back)).text

    with caplog.at_level(logging.WARNING, "restate_runtime.engine"):
        async with sample.start(deadlock="report") as runtime:
            handle = send(runtime, first, "k")
            await until(lambda: runtime.inspector.invocations(statuses=["inboxed"]))
            await until(lambda: "a deadlock: this call closes a cycle" in caplog.text)
            await asyncio.sleep(0.05)
            assert caplog.text.count("a deadlock:") == 1
            assert await reached(handle, "running", "suspended")
            await handle.cancel()
            with pytest.raises(TerminalError):
                await handle.result()


def test_a_wrong_option_is_refused(sample: Sample) -> None:
    with pytest.raises(Exception, match="'maybe' is not one of error, report"):
        sample.start(deadlock="maybe")


async def test_a_busy_key_is_no_deadlock(sample: Sample) -> None:
    """Handlers that wait with many behind them, below others that wait."""

    @sample.script
    async def helper(ctx: Any) -> str:
        await ctx.sleep(timedelta(milliseconds=1))
        return "helped"

    @sample.script
    async def busy(ctx: Any) -> str:
        await begin(ctx, helper)
        ctx.set("n", (await ctx.get("n", int) or 0) + 1)
        return ""

    @sample.script
    async def outer(ctx: Any) -> str:
        await gather(*(begin(ctx, busy, "k") for _ in range(5)))
        return ""

    async with sample.start() as runtime:
        await asyncio.gather(*(play(runtime, outer) for _ in range(6)))
        state = {row["key"]: row["value_json"] for row in runtime.inspector.state("sample.v1.Counter", "k")}
        assert state["n"] == 30
