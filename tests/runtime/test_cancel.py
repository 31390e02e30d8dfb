"""Cancellation: the current or next await raises, once, and the awaited calls below are cancelled with it."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, TerminalError, as_completed, gather, race, select

from .services import LONG, MOMENT, Sample, begin, described, journal, play, reached, send, until

pytestmark = pytest.mark.rule("R15")


async def fails_with(awaitable: Any, code: Code = Code.CANCELLED) -> TerminalError:
    with pytest.raises(TerminalError) as caught:
        await awaitable
    assert caught.value.code is code
    return caught.value


async def outcome(awaitable: Any) -> str:
    try:
        return str(await awaitable)
    except TerminalError as error:
        return error.code.name


@pytest.mark.parametrize("waits_for", ["sleep", "awakeable", "call", "gather", "race", "select", "as_completed", "or_timeout", "attach"])
async def test_a_waiting_handler_is_cancelled(sample: Sample, waits_for: str) -> None:
    @sample.script
    async def below(ctx: Any) -> None:
        await ctx.sleep(LONG)

    @sample.script
    async def waiting(ctx: Any) -> str:
        match waits_for:
            case "sleep":
                await ctx.sleep(LONG)
            case "awakeable":
                await ctx.awakeable(str)
            case "call":
                await begin(ctx, below)
            case "gather":
                await gather(ctx.sleep(MOMENT), ctx.sleep(LONG), begin(ctx, below))
            case "race":
                await race(ctx.sleep(LONG), begin(ctx, below))
            case "select":
                await select(a=ctx.sleep(LONG), b=ctx.awakeable(str))
            case "as_completed":
                async for future in as_completed(ctx.sleep(MOMENT), ctx.sleep(LONG)):
                    await future
            case "or_timeout":
                await ctx.awakeable(str).or_timeout(LONG)
            case _:
                await send(ctx, below).result()
        return "not cancelled"

    async with sample.start() as runtime:
        handle = send(runtime, waiting, "k")
        await until(lambda: runtime.inspector.invocations(statuses=["running", "suspended"]))
        await asyncio.sleep(0.01)
        await handle.cancel()
        assert (await fails_with(handle.result())).message == "cancelled"
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 0, "the key is free"


async def test_compensation_runs_and_later_awaits_work(sample: Sample) -> None:
    seen: list[str] = []

    @sample.script
    async def compensating(ctx: Any) -> list[str]:
        steps = []
        ctx.set("step", 1)
        try:
            await ctx.sleep(LONG)
        except TerminalError as error:
            steps.append(error.code.name)
        await ctx.run("undo", lambda: seen.append("undone"))
        await ctx.sleep(MOMENT)
        steps.append(str((await CounterClient(ctx).add(AddRequest(name="other", amount=2))).value))
        steps.append(str(await gather(ctx.sleep(MOMENT), ctx.sleep(MOMENT))))
        return steps

    async with sample.start() as runtime:
        handle = send(runtime, compensating, "k")
        await reached(handle, "running", "suspended")
        await handle.cancel()
        result = (await handle.result()).text
        assert result == '["CANCELLED", "2", "(None, None)"]'
    assert seen == ["undone"]


async def test_the_next_await_of_a_busy_handler_raises(sample: Sample) -> None:
    """What was settled before the cancellation passes; what is settled after it, or not yet, raises."""
    entered, gone_on = asyncio.Event(), asyncio.Event()

    @sample.script
    async def busy(ctx: Any) -> list[str]:
        early = ctx.sleep(timedelta(0))
        await early
        late = ctx.sleep(timedelta(milliseconds=30))
        entered.set()
        await gone_on.wait()  # foreign, on purpose: the handler is neither suspended nor at an await of its own
        return [await outcome(early), await outcome(late), await outcome(late), await outcome(early)]

    async with sample.start() as runtime:
        call = begin(runtime, busy, "k")
        await entered.wait()
        await until(runtime.inspector.invocations)
        await runtime.invocation(runtime.inspector.invocations()[0]["id"]).cancel()
        await asyncio.sleep(0.05)
        gone_on.set()
        assert (await call).text == '["None", "CANCELLED", "None", "None"]'


async def test_every_replay_raises_at_the_same_await(sample: Sample) -> None:
    """The handler is taken down again and again after its cancellation; each attempt sees what the first saw."""
    traces: list[list[str]] = []

    @sample.script
    async def replayed(ctx: Any) -> list[str]:
        trace: list[str] = []
        traces.append(trace)
        first, second, promise = ctx.sleep(MOMENT), ctx.sleep(timedelta(milliseconds=40)), ctx.awakeable(str)
        trace.append(await outcome(first))
        trace.append(await outcome(promise))
        trace.append(await outcome(second))
        ctx.resolve_awakeable(promise.id, "late")
        trace.append(await outcome(promise))
        trace.append(await outcome(gather(first, second, promise)))
        if ctx.attempt < 4:
            raise RuntimeError("again")
        return trace

    async with sample.start(retry_max_attempts=5) as runtime:
        handle = send(runtime, replayed, "k")
        await until(lambda: ["None"] in traces)
        await handle.cancel()
        assert (await handle.result()).text == '["None", "CANCELLED", "None", "late", "(None, None, \'late\')"]'
    assert all(trace == traces[-1][: len(trace)] for trace in traces)
    assert len(traces) >= 4


async def test_awaited_calls_are_cancelled_down_the_tree_and_background_ones_are_not(sample: Sample) -> None:
    ends: dict[str, str] = {}
    background: list[str] = []

    @sample.script
    async def leaf(ctx: Any) -> None:
        try:
            await ctx.sleep(LONG)
        except TerminalError as error:
            ends[f"leaf {ctx.key}"] = error.code.name
            raise

    @sample.script
    async def free(ctx: Any) -> str:
        await ctx.sleep(timedelta(milliseconds=60))
        return "done"

    @sample.script
    async def middle(ctx: Any) -> None:
        handle = send(ctx, free)
        background.append(await handle.invocation_id())
        try:
            await race(gather(begin(ctx, leaf, "a"), begin(ctx, leaf, "b")), begin(ctx, leaf, "c"))
        except TerminalError as error:
            ends["middle"] = error.code.name
            raise

    @sample.script
    async def root(ctx: Any) -> None:
        made, elsewhere = begin(ctx, leaf, "not awaited"), begin(ctx, middle)
        try:
            await elsewhere
        except TerminalError as error:
            ends["root"] = error.code.name
            ctx.set("compensated", True)
            await ctx.sleep(MOMENT)
            raise
        finally:
            del made

    async with sample.start() as runtime:
        handle = send(runtime, root, "r")
        await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"])) == 7)
        await handle.cancel()
        await fails_with(handle.result())
        await until(lambda: len(ends) == 5)
        assert set(ends) == {"root", "middle", "leaf a", "leaf b", "leaf c"}
        assert set(ends.values()) == {"CANCELLED"}
        assert (await runtime.invocation(background[0]).result()).text == '"done"'
        rows = runtime.inspector.invocations(statuses=["running", "suspended"])
        assert [row["target_service_key"] for row in rows] == ["not awaited"], "what is not awaited is left alone"
        state = {row["key"]: row["value_json"] for row in runtime.inspector.state("sample.v1.Counter", "r")}
        assert state == {"compensated": True}
        assert any(entry.startswith("cancel inv_1") for entry in await journal(runtime, handle))


async def test_what_has_not_begun_ends_at_once(sample: Sample) -> None:
    @sample.script
    async def holder(ctx: Any) -> None:
        await ctx.awakeable(str)

    @sample.script
    async def parent(ctx: Any) -> str:
        return await outcome(CounterClient(ctx).add(AddRequest(name="k", amount=1)))

    async with sample.start() as runtime:
        holding = send(runtime, holder, "k")
        await reached(holding, "running", "suspended")
        first = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=10))
        second = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=100))
        third = CounterClient(runtime).add(AddRequest(name="k", amount=1000))
        delayed = EchoClient(runtime).call.delayed(Text(text="later"), LONG)
        calling = send(runtime, parent)
        await until(lambda: len(runtime.inspector.invocations(statuses=["inboxed"])) == 4)
        assert await delayed.status() == "scheduled"
        for handle in (first, delayed):
            await handle.cancel()
            assert await handle.status() == "completed"
            await fails_with(handle.result())
        inboxed = runtime.inspector.invocations(statuses=["inboxed"])
        child = next(row for row in inboxed if row["invoked_by"] == "service")
        await runtime.cancel(child["id"])
        assert (await calling.result()).text == '"CANCELLED"', "the caller gets it"
        await holding.cancel()
        assert (await second.result()).value == 100, "the inbox goes on, in order, without those that were cancelled"
        assert (await third).value == 1100


async def test_one_that_waits_for_room_ends_at_once(sample: Sample) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    @sample.script
    async def greedy(ctx: Any) -> None:
        entered.set()
        await go_on.wait()

    @sample.script
    async def waits(ctx: Any) -> None:
        raise AssertionError("never runs")

    async with sample.start(max_live_handlers=1) as runtime:
        first = send(runtime, greedy, "a")
        await entered.wait()
        second = send(runtime, waits, "b")
        await reached(second, "ready")
        await second.cancel()
        await fails_with(second.result())
        third = CounterClient(runtime).add(AddRequest(name="b", amount=1))
        go_on.set()
        assert (await third).value == 1
        await first.result()


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_running_action_is_not_interrupted(sample: Sample, kind: str) -> None:
    loop = asyncio.get_running_loop()
    entered, go_on, over = asyncio.Event(), threading.Event(), asyncio.Event()
    log: list[str] = []

    def blocking() -> str:
        loop.call_soon_threadsafe(entered.set)
        go_on.wait(20)
        log.append("over")
        loop.call_soon_threadsafe(over.set)
        return "effect"

    async def waiting() -> str:
        entered.set()
        while not go_on.is_set():
            await asyncio.sleep(0.002)
        log.append("over")
        over.set()
        return "effect"

    @sample.script
    async def acting(ctx: Any) -> str:
        await ctx.run("effect", blocking if kind == "sync" else waiting)
        return "not cancelled"

    async with sample.start() as runtime:
        handle = send(runtime, acting, "k")
        await entered.wait()
        await handle.cancel()
        await fails_with(handle.result())
        assert log == [], "the await raises while the action runs"
        go_on.set()
        await over.wait()
    assert log == ["over"]


async def test_the_result_of_an_action_whose_await_was_cancelled_is_recorded(sample: Sample) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    runs: list[int] = []

    async def effect() -> int:
        runs.append(1)
        entered.set()
        await go_on.wait()
        return 7

    @sample.script
    async def acting(ctx: Any) -> list[str]:
        action = ctx.run("effect", effect)
        cut = await outcome(action)
        go_on.set()
        return [cut, await outcome(action)]

    async with sample.start() as runtime:
        handle = send(runtime, acting, "k")
        await entered.wait()
        await handle.cancel()
        assert (await handle.result()).text == '["CANCELLED", "7"]'
    assert runs == [1]


async def test_a_second_cancellation_works_and_a_hasty_one_adds_nothing(sample: Sample) -> None:
    @sample.script
    async def stubborn(ctx: Any) -> list[str]:
        seen = [await outcome(ctx.sleep(LONG))]
        await ctx.sleep(MOMENT)
        ctx.set("ready", True)
        seen.append(await outcome(ctx.awakeable(str)))
        return seen

    async with sample.start() as runtime:
        handle = send(runtime, stubborn, "k")
        await reached(handle, "running", "suspended")
        await asyncio.gather(handle.cancel(), handle.cancel(), handle.cancel())
        await until(lambda: runtime.inspector.state("sample.v1.Counter", "k"))
        await asyncio.sleep(0.01)
        assert await handle.status() != "completed"
        await handle.cancel()
        assert (await handle.result()).text == '["CANCELLED", "CANCELLED"]'
        await handle.cancel()
        assert await handle.status() == "completed"


async def test_a_backing_off_invocation_sees_it_at_once(sample: Sample) -> None:
    @sample.script
    async def failing(ctx: Any) -> None:
        if ctx.attempt == 1:
            raise RuntimeError("no luck")
        await ctx.sleep(LONG)

    async with sample.start(retry_initial_interval=LONG, retry_max_interval=LONG) as runtime:
        handle = send(runtime, failing, "k")
        await reached(handle, "backing-off")
        await handle.cancel()
        await fails_with(handle.result())


async def test_a_cancellation_waits_for_a_stopped_runtime_to_come_back(sample: Sample) -> None:
    """The record of it is there, whatever the runtime does between it and the handler."""

    @sample.script
    async def parent(ctx: Any) -> str:
        return await outcome(begin(ctx, child, "c"))

    @sample.script
    async def child(ctx: Any) -> str:
        try:
            await ctx.sleep(LONG)
        except TerminalError:
            ctx.set("cancelled", True)
            raise
        return ""

    async with sample.start() as runtime:
        handle = send(runtime, parent)
        id = await handle.invocation_id()
        await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"])) == 2)
        cancelling = asyncio.ensure_future(handle.cancel())
        await asyncio.sleep(0)
        await runtime.stop()
        await asyncio.gather(cancelling, return_exceptions=True)
    async with sample.start() as runtime:
        await runtime.invocation(id).cancel()
        assert (await runtime.invocation(id).result()).text == '"CANCELLED"'
        await until(lambda: runtime.inspector.state("sample.v1.Counter", "c"))


async def test_a_handler_cancels_another(sample: Sample) -> None:
    @sample.script
    async def other(ctx: Any) -> None:
        await ctx.sleep(LONG)

    @sample.script
    async def cancelling(ctx: Any) -> list[str]:
        first, second = send(ctx, other, "a"), send(ctx, other, "b")
        first.cancel()
        ctx.cancel(await second.invocation_id())
        await ctx.invocation(await second.invocation_id()).cancel()
        ctx.cancel("inv_1AAAAAAAAAAAAAAAAAAAAAA")
        return [await outcome(first.result()), await outcome(second.result())]

    async with sample.start() as runtime:
        handle = send(runtime, cancelling)
        assert (await handle.result()).text == '["CANCELLED", "CANCELLED"]'
        assert sum(entry.startswith("cancel inv_1") for entry in await journal(runtime, handle)) == 4


async def test_a_handler_cancels_itself(sample: Sample) -> None:
    @sample.script
    async def itself(ctx: Any) -> list[str]:
        ctx.cancel(ctx.invocation_id)
        ctx.set("still", "here")
        return [await outcome(ctx.sleep(MOMENT)), await outcome(ctx.sleep(MOMENT))]

    async with sample.start() as runtime:
        assert await play(runtime, itself, "k") == ["CANCELLED", "None"]


async def test_an_id_that_is_none_is_refused(sample: Sample) -> None:
    @sample.script
    async def careless(ctx: Any) -> str:
        try:
            ctx.cancel("nonsense")
        except TerminalError as error:
            return error.code.name
        return ""

    async with sample.start() as runtime:
        assert await play(runtime, careless) == "INVALID_ARGUMENT"
        await fails_with(runtime.invocation("inv_1AAAAAAAAAAAAAAAAAAAAAA").cancel(), Code.NOT_FOUND)
        await fails_with(runtime.invocation("nonsense").cancel(), Code.INVALID_ARGUMENT)


async def test_a_call_that_others_wait_for_goes_on(sample: Sample) -> None:
    @sample.script
    async def shared(ctx: Any) -> str:
        await ctx.sleep(timedelta(milliseconds=80))
        return "done"

    @sample.script
    async def one(ctx: Any) -> str:
        return await outcome(begin(ctx, shared, "k", idempotency_key="once"))

    @sample.script
    async def another(ctx: Any) -> str:
        return (await begin(ctx, shared, "k", idempotency_key="once")).text

    async with sample.start() as runtime:
        first = send(runtime, one)
        await until(lambda: runtime.inspector.invocations(service="sample.v1.Counter"))
        second = send(runtime, another)
        await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"])) == 3)
        await first.cancel()
        assert (await first.result()).text == '"CANCELLED"'
        assert (await second.result()).text == '"\\"done\\""'


async def test_a_call_that_only_the_cancelled_tree_shares_is_cancelled(sample: Sample) -> None:
    """One after the other gives it up, while it still compensates; the last one takes the call along."""
    ends: list[str] = []

    @sample.script
    async def shared(ctx: Any) -> None:
        try:
            await ctx.sleep(LONG)
        except TerminalError as error:
            ends.append(error.code.name)
            raise

    @sample.script
    async def sharing(ctx: Any) -> str:
        call = begin(ctx, shared, "k", idempotency_key="once")
        try:
            await call
        except TerminalError:
            return await outcome(call)  # still told of its result
        return "not cancelled"

    @sample.script
    async def root(ctx: Any) -> list[str]:
        calls = [begin(ctx, sharing, key) for key in ("a", "b", "c")]
        try:
            await gather(*calls)
        except TerminalError:
            return [(await call).text for call in calls]
        return []

    async with sample.start() as runtime:
        handle = send(runtime, root)
        await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"])) == 5)
        await asyncio.sleep(0.02)
        await handle.cancel()
        assert (await handle.result()).text == json.dumps(['"CANCELLED"'] * 3)
        assert ends == ["CANCELLED"]


@pytest.mark.parametrize("how", ["cancel", "kill"])
@pytest.mark.parametrize("maker", ["handler", "outside", "outside delayed", "handler later", "outside later", "outside call later"])
async def test_what_was_begun_in_the_background_is_left_alone_by_those_who_wait_for_it(sample: Sample, maker: str, how: str) -> None:
    @sample.script
    async def free(ctx: Any) -> None:
        await ctx.sleep(LONG)

    @sample.script
    async def waiting(ctx: Any) -> None:
        if maker == "handler":
            send(ctx, free, "k", idempotency_key="once")
        await begin(ctx, free, "k", idempotency_key="once")

    @sample.script
    async def joining(ctx: Any) -> None:
        send(ctx, free, "k", idempotency_key="once")

    async with sample.start() as runtime:
        match maker:
            case "outside":
                await send(runtime, free, "k", idempotency_key="once")
            case "outside delayed":
                request = KeyedText(key="k", text="free")
                await CounterClient(runtime).script.delayed(request, LONG, idempotency_key="once")
            case _:
                pass
        handle = send(runtime, waiting)
        await reached(handle, "running", "suspended")
        await until(lambda: runtime.inspector.invocations(service="sample.v1.Counter"))
        await asyncio.sleep(0.02)
        match maker:
            case "handler later":
                await play(runtime, joining)
            case "outside later":
                await send(runtime, free, "k", idempotency_key="once")
            case "outside call later":
                with pytest.raises(TimeoutError):
                    await begin(runtime, free, "k", idempotency_key="once", timeout=MOMENT)
            case _:
                pass
        await (handle.cancel() if how == "cancel" else handle.kill())
        await fails_with(handle.result(), Code.CANCELLED if how == "cancel" else Code.ABORTED)
        await EchoClient(runtime).call(Text())
        (row,) = runtime.inspector.invocations(service="sample.v1.Counter")
        assert row["status"] in ("running", "suspended", "scheduled")
        assert not [entry for entry in await journal(runtime, runtime.invocation(row["id"])) if entry == "cancel"]


async def test_what_describe_shows(sample: Sample) -> None:
    @sample.script
    async def waiting(ctx: Any) -> None:
        try:
            await ctx.sleep(LONG)
        except TerminalError:
            await ctx.awakeable(str)

    async with sample.start() as runtime:
        handle = send(runtime, waiting, "k")
        await reached(handle, "running", "suspended")
        await handle.cancel()
        while "awakeable" not in str((row := await described(runtime, handle))["waiting_for"]):
            await asyncio.sleep(0.002)
        assert [entry["entry"] for entry in row["journal"]] == ["input", "sleep", "cancel"]
        assert len(row["waiting_for"]) == 1
        assert row["waiting_for"][0].startswith("awakeable ")
        await handle.cancel()
        await fails_with(handle.result())


async def test_who_joined_a_call_in_the_background_is_remembered_over_a_restart(sample: Sample) -> None:
    """It is acknowledged, so it is on disk that the call does not end with its first caller."""

    @sample.script
    async def shared(ctx: Any) -> str:
        await ctx.sleep(timedelta(milliseconds=300))
        return "done"

    @sample.script
    async def first(ctx: Any) -> str:
        return await outcome(begin(ctx, shared, "k", idempotency_key="once"))

    async with sample.start() as runtime:
        caller = await send(runtime, first).invocation_id()
        await until(lambda: runtime.inspector.invocations(service="sample.v1.Counter"))
        joined = await (await send(runtime, shared, "k", idempotency_key="once")).invocation_id()
    async with sample.start() as runtime:
        await runtime.invocation(caller).cancel()
        assert (await runtime.invocation(caller).result()).text == '"CANCELLED"'
        assert (await runtime.invocation(joined).result()).text == '"done"'
