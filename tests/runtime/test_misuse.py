"""What is not for handlers: asyncio's own combinators and tasks, runtimes as callers; and what dev mode reports."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import App, RetryOptions, RetryPolicy, RuntimeFault, TerminalError, connect

from .services import LONG, MOMENT, Sample, journal, play, send, until


async def awaits(future: Any) -> Any:
    return await future


async def group(future: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(awaits(future))


ASYNCIO: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "gather": lambda future: asyncio.gather(future),
    "gather of coroutines": lambda future: asyncio.gather(awaits(future), awaits(future)),
    "wait_for": lambda future: asyncio.wait_for(future, 60),
    "wait_for a coroutine": lambda future: asyncio.wait_for(awaits(asyncio.ensure_future(future)), 60),
    "wait": lambda future: asyncio.wait([future]),
    "shield": lambda future: asyncio.shield(future),
    "ensure_future": lambda future: asyncio.ensure_future(future),
    "create_task": lambda future: asyncio.create_task(future),
    "create_task of a coroutine": lambda future: asyncio.create_task(awaits(future)),
    "TaskGroup": group,
}


@pytest.mark.rule("R10")
@pytest.mark.parametrize("misuse", list(ASYNCIO.values()), ids=list(ASYNCIO))
async def test_asyncio_on_durable_futures_names_what_to_use(sample: Sample, misuse: Callable[[Any], Awaitable[Any]]) -> None:
    @sample.script
    async def misuses(ctx: Any) -> str:
        call = EchoClient(ctx).call(Text(text="a"))
        try:
            await misuse(call)
        except ExceptionGroup as errors:
            text = str(errors.exceptions[0])
        except (RuntimeError, TypeError, AttributeError) as error:
            text = str(error)
        else:
            text = "taken"
        assert (await call).text == "a"
        return text

    async with sample.start() as runtime:
        text = await play(runtime, misuses)
        assert "gather" in text or "or_timeout" in text, text


@pytest.mark.rule("R10")
async def test_a_task_group_that_fails_the_attempt_says_why(sample: Sample) -> None:
    @sample.script
    async def misuses(ctx: Any) -> None:
        await group(ctx.sleep(MOMENT))

    async with sample.start() as runtime:
        with pytest.raises(Exception, match="use restate_runtime's gather, race, select, as_completed or or_timeout"):
            await play(runtime, misuses)


@pytest.mark.rule("R10")
async def test_commands_from_another_task_are_refused_and_not_recorded(sample: Sample) -> None:
    @sample.script
    async def misuses(ctx: Any) -> Any:
        async def elsewhere() -> None:
            CounterClient(ctx).add.in_background(AddRequest(name="k", amount=1))

        with pytest.raises(RuntimeError, match="gather"):
            await asyncio.create_task(elsewhere())
        with pytest.raises(RuntimeError, match=r"cannot be used|own task"):
            await asyncio.to_thread(ctx.set, "name", 1)
        return await ctx.state_keys()

    async with sample.start() as runtime:
        assert await play(runtime, misuses, "k") == []
        assert (await CounterClient(runtime).get(CounterKey(name="k"))).value == 0


@pytest.mark.rule("R10")
async def test_asyncio_timeout_is_refused_when_it_fires(sample: Sample, runtime_options: dict[str, Any]) -> None:
    """In memory only: a handler that is suspended meanwhile has left the block."""

    @sample.script
    async def misuses(ctx: Any) -> str:
        try:
            async with asyncio.timeout(0.001):
                await ctx.sleep(LONG if not runtime_options.get("always_suspend") else MOMENT)
        except RuntimeError as error:
            return str(error)
        return "use or_timeout"

    async with sample.start() as runtime:
        assert "use or_timeout" in await play(runtime, misuses)


@pytest.mark.rule("R7")
@pytest.mark.parametrize("way", ["call", "background", "handle", "settle", "by name", "in a task"])
async def test_a_runtime_as_caller_inside_a_handler_is_refused(sample: Sample, way: str) -> None:
    @sample.script
    async def misuses(ctx: Any) -> str:
        async def use() -> None:
            match way:
                case "call" | "in a task":
                    await EchoClient(runtime).call(Text())
                case "background":
                    EchoClient(runtime).call.in_background(Text())
                case "handle":
                    await runtime.invocation(ctx.invocation_id).status()
                case "settle":
                    await runtime.resolve_awakeable("x", 1)
                case "by name":
                    await runtime.method("sample.v1.Echo/Call")(b"")

        with pytest.raises(RuntimeFault) as caught:
            await (asyncio.create_task(use()) if way == "in a task" else use())
        return str(caught.value)

    async with sample.start() as runtime:
        text = await play(runtime, misuses)
        assert "use ctx as caller" in text
        assert "RT0402" in text
        assert len(runtime.inspector.invocations()) == 1


@pytest.mark.rule("R7")
async def test_a_runtime_inside_a_side_effect_is_allowed(sample: Sample) -> None:
    @sample.script
    async def outside(ctx: Any) -> Any:
        async def asynchronously() -> str:
            return (await EchoClient(runtime).call(Text(text="async"))).text

        def synchronously() -> str:
            return asyncio.run_coroutine_threadsafe(asynchronously(), loop).result()

        return [await ctx.run("async", asynchronously), await ctx.run("sync", synchronously)]

    async with sample.start() as runtime:
        loop = asyncio.get_running_loop()
        assert await play(runtime, outside) == ["async", "async"]


@pytest.mark.rule("R7")
async def test_a_connection_inside_a_handler_is_refused_and_inside_a_side_effect_allowed(sample: Sample) -> None:
    @sample.script
    async def connects(ctx: Any) -> Any:
        async def asynchronously() -> str:
            async with connect(url) as connection:
                await EchoClient(connection).call.in_background(Text(text="sent"))
                return (await EchoClient(connection).call(Text(text="over HTTP"))).text

        with pytest.raises(RuntimeFault, match=r"use ctx as caller.*RT0402"):
            await asynchronously()
        with pytest.raises(RuntimeFault, match=r"use ctx as caller.*RT0402"):
            await EchoClient(outer).call(Text())
        return [await ctx.run("async", asynchronously), await ctx.run("sync", lambda: asyncio.run(asynchronously()))]

    async with sample.start(ingress="127.0.0.1:0") as runtime, connect(runtime.ingress_url or "") as outer:
        url = runtime.ingress_url or ""
        assert await play(outer, connects) == ["over HTTP", "over HTTP"]


@pytest.mark.rule("R7")
async def test_a_runtime_in_another_event_loop_is_refused(sample: Sample) -> None:
    async with sample.start() as runtime:

        def elsewhere() -> str:
            async def call() -> None:
                await EchoClient(runtime).call(Text())

            with pytest.raises(RuntimeFault, match="event loop") as caught:
                asyncio.run(call())
            return str(caught.value)

        assert "connect" in await asyncio.to_thread(elsewhere)
        assert (await EchoClient(runtime).call(Text(text="fine"))).text == "fine"


# --- dev mode


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "foreign" in record.getMessage()]


@pytest.mark.rule("R10")
@pytest.mark.parametrize("foreign", ["sleep", "yield", "nested", "generator", "future", "thread"])
async def test_dev_mode_reports_foreign_awaits_with_their_line(sample: Sample, caplog: pytest.LogCaptureFixture, foreign: str) -> None:
    async def helper() -> None:
        await asyncio.sleep(0.001)  # the line that counts

    async def numbers() -> Any:
        await asyncio.sleep(0.001)
        yield 1

    @sample.script
    async def awaits_foreign(ctx: Any) -> str:
        match foreign:
            case "sleep":
                await asyncio.sleep(0.001)
            case "yield":
                await asyncio.sleep(0)
            case "nested":
                await helper()
            case "generator":
                assert [number async for number in numbers()] == [1]
            case "future":
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_soon(future.set_result, None)
                await future
            case "thread":
                await asyncio.to_thread(threading.get_ident)
        await ctx.sleep(MOMENT)
        return "done"

    async with sample.start(dev=True) as runtime:
        for _ in range(2):
            assert await play(runtime, awaits_foreign) == "done"
    (report,) = reports(caplog)
    assert "runtime/test_misuse.py:" in report
    number = int(report.split("test_misuse.py:")[1].split(":")[0])
    with open(__file__) as file:
        assert "await" in file.read().splitlines()[number - 1] or foreign == "generator"


@pytest.mark.rule("R10")
async def test_dev_mode_has_nothing_against_what_is_durable(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    @sample.script
    async def durable(ctx: Any) -> Any:
        async def effect() -> int:
            await asyncio.sleep(0.001)
            return 1

        await ctx.sleep(MOMENT)
        ctx.set("name", await ctx.run("effect", effect))
        await EchoClient(ctx).call(Text()).or_timeout(timedelta(seconds=30))
        with pytest.raises(ValueError, match="own"):
            await fails(ctx)
        return [await ctx.get("name", int), (await ctx.now()).year > 2000]

    async def fails(ctx: Any) -> None:
        await ctx.sleep(MOMENT)
        raise ValueError("its own")

    async with sample.start(dev=True) as runtime:
        assert await play(runtime, durable, "k") == [1, True]
    assert not reports(caplog)


async def test_without_dev_mode_nothing_is_reported(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    @sample.script
    async def awaits_foreign(ctx: Any) -> str:
        await asyncio.sleep(0.001)
        return "done"

    async with sample.start() as runtime:
        assert await play(runtime, awaits_foreign) == "done"
    assert not reports(caplog)


@pytest.mark.rule("R17")
async def test_dev_mode_suspends_and_stops_all_the_same(sample: Sample) -> None:
    closed: list[str] = []

    @sample.script
    async def waits(ctx: Any) -> None:
        try:
            await ctx.sleep(LONG)
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async with sample.start(dev=True) as runtime:
        await EchoClient(runtime).script.in_background(Text(text="waits"))
        await until(lambda: runtime.inspector.invocations(statuses=["running", "suspended"]))
    assert closed


# --- the context inside a side effect


USES: dict[str, Any] = {
    "run": lambda ctx: ctx.run("inner", lambda: 1),
    "call": lambda ctx: ctx.method("sample.v1.Echo/Call")(b""),
    "send": lambda ctx: ctx.method("sample.v1.Echo/Call").in_background(b""),
    "sleep": lambda ctx: ctx.sleep(MOMENT),
    "get": lambda ctx: ctx.get("name", int),
    "set": lambda ctx: ctx.set("name", 1),
    "clear": lambda ctx: ctx.clear("name"),
    "clear all": lambda ctx: ctx.clear_all(),
    "keys": lambda ctx: ctx.state_keys(),
    "awakeable": lambda ctx: ctx.awakeable(int),
    "now": lambda ctx: ctx.now(),
    "uuid": lambda ctx: ctx.uuid(),
    "random": lambda ctx: ctx.random,
    "attach": lambda ctx: ctx.invocation(ctx.invocation_id).result(),
}


@pytest.mark.rule("R12")
@pytest.mark.parametrize("use", list(USES.values()), ids=list(USES))
async def test_the_context_cannot_be_used_inside(sample: Sample, use: Any) -> None:
    @sample.script
    async def misuses(ctx: Any) -> Any:
        def sync() -> str:
            with pytest.raises(RuntimeError) as caught:
                use(ctx)
            return str(caught.value)

        async def asynchronously() -> str:
            return sync()

        return [await ctx.run("sync", sync), await ctx.run("async", asynchronously)]

    async with sample.start() as runtime:
        handle = send(runtime, misuses, "k")
        assert (await handle.result()).text.count("the context cannot be used inside a side effect") == 2
        assert await journal(runtime, handle) == ["input", "run 'sync'", "run 'async'", "return"]


@pytest.mark.rule("R12")
@pytest.mark.parametrize("use", list(USES.values()), ids=list(USES))
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_using_it_fails_the_attempt_whatever_the_policy_of_the_side_effect(sample: Sample, use: Any, sync: bool) -> None:
    @sample.script
    async def misuses(ctx: Any) -> Any:
        def action() -> None:
            executions.append(ctx.attempt)
            use(ctx)

        async def asynchronously() -> None:
            action()

        # Another execution would be due in an hour.
        running = ctx.run("misuse", action if sync else asynchronously, retry=RetryPolicy(initial_interval=LONG))
        if ctx.attempt == 2:
            await ctx.awakeable(str)  # what the handler waits for does not matter
        await running

    @sample.script
    async def quick(ctx: Any) -> str:
        return "free"

    executions: list[int] = []
    async with sample.start() as runtime:
        with pytest.raises(TerminalError, match="ContextMisuse: the context cannot be used inside a side effect: do it before or after"):
            await play(runtime, misuses, "k")
        assert await play(runtime, quick, "k") == "free"  # nothing is left that holds the key
    assert executions == [1, 2, 3]


@pytest.mark.rule("R12")
async def test_awaiting_a_durable_future_inside_is_misuse_too(sample: Sample) -> None:
    @sample.script
    async def misuses(ctx: Any) -> Any:
        async def awaits(future: Any) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(waits(future))

        async def waits(future: Any) -> None:
            await future

        await ctx.run("misuse", functools.partial(awaits, ctx.sleep(MOMENT)), retry=RetryPolicy(initial_interval=LONG))

    async with sample.start() as runtime:
        with pytest.raises(TerminalError, match="the context cannot be used inside a side effect"):
            await play(runtime, misuses)


@pytest.mark.parametrize("retry", [5, {}, RetryOptions(max_attempts=2)])
def test_a_retry_that_is_no_policy(retry: Any) -> None:
    with pytest.raises(TypeError, match=rf"an App's retry is a RetryPolicy, not a {type(retry).__name__}"):
        App(retry=retry)


@pytest.mark.parametrize("name", ["initial_interval", "max_interval", "max_duration"])
def test_a_retry_policy_with_an_interval_that_is_none(name: str) -> None:
    wrong: Any = {name: 0.5}
    with pytest.raises(TypeError, match=f"a RetryPolicy's {name} is a timedelta, not a float"):
        RetryPolicy(**wrong)
