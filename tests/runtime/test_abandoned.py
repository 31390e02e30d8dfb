"""An attempt that leaves memory: its cleaning up runs, and nothing that it does counts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient, LedgerClient

from restate_runtime import InvocationHandle, Runtime, TerminalError, gather

from .services import LONG, MOMENT, Sample, begin, described, journal, reached, send, until

pytestmark = pytest.mark.rule("R17")


async def suspend(sample: Sample, runtime: Runtime, handle: InvocationHandle[Any]) -> None:
    await reached(handle, "suspended")


async def kill(sample: Sample, runtime: Runtime, handle: InvocationHandle[Any]) -> None:
    await handle.kill()


async def shut_down(sample: Sample, runtime: Runtime, handle: InvocationHandle[Any]) -> None:
    await runtime.stop()


End = Callable[[Sample, Runtime, InvocationHandle[Any]], Awaitable[None]]
SOON: dict[str, Any] = {"inactivity_timeout": timedelta(milliseconds=20)}

ends = pytest.mark.parametrize(("end", "options"), [(suspend, SOON), (kill, {}), (shut_down, {})], ids=["suspension", "kill", "shutdown"])
"""The ways in which an attempt leaves memory. A suspension by itself is what `always-suspend` does; elsewhere inactivity brings it."""


@ends
async def test_finally_blocks_and_context_managers_run(sample: Sample, end: End, options: Any) -> None:
    log: list[str] = []

    @contextlib.contextmanager
    def manager() -> Iterator[None]:
        try:
            yield
        finally:
            log.append("context manager")

    @contextlib.asynccontextmanager
    async def async_manager() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            log.append("async context manager")

    @sample.script
    async def cleans_up(ctx: Any) -> None:
        try:
            with manager():
                async with async_manager():
                    try:
                        await ctx.sleep(LONG)
                    except Exception:
                        log.append("never: it is no exception of the handler's")
        finally:
            log.append("finally")

    async with sample.start(**options) as runtime:
        handle = send(runtime, cleans_up)
        await reached(handle, "running", "suspended")
        await end(sample, runtime, handle)
        await until(lambda: "finally" in log)
        assert log[:3] == ["async context manager", "context manager", "finally"]


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "call": lambda ctx: EchoClient(ctx).call(Text(text="from the grave")),
    "call by name": lambda ctx: ctx.method("sample.v1.Echo/Call")(b""),
    "background call": lambda ctx: LedgerClient(ctx).append.in_background(Text(text="from the grave")),
    "delayed call": lambda ctx: LedgerClient(ctx).append.delayed(Text(text="from the grave"), MOMENT),
    "result": lambda ctx: LedgerClient(ctx).append.in_background(Text(text="from the grave")).result(),
    "sleep": lambda ctx: ctx.sleep(MOMENT),
    "timeout": lambda ctx: ctx.sleep(MOMENT).or_timeout(MOMENT),
    "run": lambda ctx: ctx.run("from the grave", lambda: 1),
    "combination": lambda ctx: gather(ctx.sleep(MOMENT), ctx.run("from the grave", lambda: 1)),
    "get": lambda ctx: ctx.get("before", int),
    "set": lambda ctx: ctx.set("after", 1),
    "clear": lambda ctx: ctx.clear("before"),
    "clear all": lambda ctx: ctx.clear_all(),
    "state keys": lambda ctx: ctx.state_keys(),
    "awakeable": lambda ctx: ctx.awakeable(int),
    "resolve": lambda ctx: ctx.resolve_awakeable(ctx.awakeable_id, 1),
    "reject": lambda ctx: ctx.reject_awakeable(ctx.awakeable_id, "no"),
    "attach": lambda ctx: ctx.invocation(ctx.invocation_id).result(),
    "now": lambda ctx: ctx.now(),
    "random": lambda ctx: ctx.random.random(),
    "uuid": lambda ctx: ctx.uuid(),
    "names": lambda ctx: (ctx.key, ctx.invocation_id, ctx.headers, ctx.attempt),
    "logger": lambda ctx: ctx.logger.error("from the grave"),
}


@ends
@pytest.mark.parametrize("operation", list(OPERATIONS.values()), ids=list(OPERATIONS))
async def test_every_operation_is_inert(
    sample: Sample, end: End, options: Any, operation: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[str] = []

    @sample.script
    async def cleans_up(ctx: Any) -> str:
        ctx.set("before", 1)
        ctx.awakeable_id = ctx.awakeable(int).id
        try:
            await ctx.sleep(LONG)
        finally:
            try:
                operation(ctx)
                tried.append("made")
                made = operation(ctx)
                if isinstance(made, Awaitable):
                    await made
                tried.append("awaited")
            finally:
                tried.append("tried")
        return "never"

    async with sample.start(**options) as runtime:
        handle = send(runtime, cleans_up, "k")
        await reached(handle, "running", "suspended")
        await end(sample, runtime, handle)
        await until(lambda: tried and tried[-1] == "tried")
        assert tried[0] == "made"
        if end is not shut_down:
            assert await handle.status() == ("completed" if end is kill else "suspended")
    async with sample.start(**options) as runtime:
        handle = runtime.invocation(await handle.invocation_id())
        assert (await journal(runtime, handle))[:3] == ["input", "set state 'before'", "sleep"]
        assert len(await journal(runtime, handle)) == (4 if end is kill else 3)
        assert [row["key"] for row in runtime.inspector.state("sample.v1.Counter", "k")] == ["before"]
        assert list((await LedgerClient(runtime).lines()).lines) == []
        assert not [row for row in runtime.inspector.invocations() if row["target_service_name"] == "sample.v1.Echo"]
    assert "from the grave" not in caplog.text


@ends
async def test_every_block_runs_however_many_there_are(sample: Sample, end: End, options: Any) -> None:
    left: list[int] = []

    @sample.script
    async def nested(ctx: Any) -> None:
        await level(ctx, 20)

    async def level(ctx: Any, depth: int) -> None:
        try:
            await (level(ctx, depth - 1) if depth else ctx.sleep(LONG))
        finally:
            left.append(depth)
            await EchoClient(ctx).call(Text(text="an undo that is made by the attempt that comes back"))

    async with sample.start(**options) as runtime:
        handle = send(runtime, nested)
        await reached(handle, "running", "suspended")
        await end(sample, runtime, handle)
        await until(lambda: 20 in left)
        assert left[:21] == list(range(21))


SWALLOWED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "sleep": lambda ctx: ctx.sleep(LONG),
    "call": lambda ctx: EchoClient(ctx).call(Text()),
    "get": lambda ctx: ctx.get("name", int),
    "now": lambda ctx: ctx.now(),
    "keys": lambda ctx: ctx.state_keys(),
    "awakeable": lambda ctx: ctx.awakeable(int),
}


@ends
@pytest.mark.parametrize("swallowed", list(SWALLOWED.values()), ids=list(SWALLOWED))
async def test_a_handler_that_catches_everything_holds_nothing_up(
    sample: Sample, end: End, options: Any, swallowed: Callable[[Any], Awaitable[Any]]
) -> None:
    swallows: list[int] = []

    @sample.script
    async def catches_everything(ctx: Any) -> None:
        with contextlib.suppress(BaseException):
            await ctx.sleep(LONG)
        swallows.append(1)
        while True:
            with contextlib.suppress(BaseException):
                await swallowed(ctx)

    async with sample.start(**options) as runtime:
        handle = send(runtime, catches_everything, "k")
        await reached(handle, "running", "suspended")
        await end(sample, runtime, handle)
        await until(lambda: swallows)
        if end is not shut_down:
            assert (await CounterClient(runtime).get(CounterKey(name="other"))).value == 0
    gc.collect()


async def test_asyncio_itself_ends_although_a_handler_catches_everything(sample: Sample) -> None:
    @sample.script
    async def catches_everything(ctx: Any) -> None:
        while True:
            with contextlib.suppress(BaseException):
                await ctx.sleep(LONG)

    @sample.script
    async def catches_all_of_asyncio(ctx: Any) -> None:
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(3600)

    async def main() -> str:
        async with sample.start(shutdown_timeout=timedelta(milliseconds=50)) as runtime:
            for body in (catches_everything, catches_all_of_asyncio):
                await reached(send(runtime, body), "running", "suspended")
        return "over"

    assert await asyncio.to_thread(asyncio.run, main()) == "over"


async def test_an_attempt_that_comes_back_goes_on_where_it_was(sample: Sample) -> None:
    """The undo of the abandoned attempt did nothing; that of the real failure does."""
    promises: list[str] = []

    @sample.script
    async def undoes(ctx: Any) -> None:
        promise = ctx.awakeable(str)
        await CounterClient(ctx).add(AddRequest(name="seats", amount=1))
        await ctx.run("publish", lambda: promises.append(promise.id))
        try:
            await promise
        finally:
            await CounterClient(ctx).add(AddRequest(name="seats", amount=-1))

    async with sample.start() as runtime:
        handle = send(runtime, undoes)
        await until(lambda: promises)
    async with sample.start(**SOON) as runtime:
        handle = runtime.invocation(await handle.invocation_id())
        await reached(handle, "suspended")
        assert (await CounterClient(runtime).get(CounterKey(name="seats"))).value == 1
        await runtime.reject_awakeable(promises[0], "no payment")
        with pytest.raises(TerminalError, match="no payment"):
            await handle.result()
        assert (await CounterClient(runtime).get(CounterKey(name="seats"))).value == 0


async def test_raising_or_returning_while_abandoned_does_not_count(sample: Sample) -> None:
    ways: list[str] = []

    @sample.script
    async def returns(ctx: Any) -> str:
        with contextlib.suppress(BaseException):
            await ctx.sleep(LONG)
        ways.append("returned")
        return "from the grave"

    @sample.script
    async def raises(ctx: Any) -> str:
        try:
            await ctx.sleep(LONG)
        finally:
            ways.append("raised")
            raise TerminalError("from the grave")

    async with sample.start(**SOON) as runtime:
        handles = [send(runtime, returns), send(runtime, raises)]
        for handle in handles:
            await reached(handle, "suspended")
        await until(lambda: len(ways) >= 2)
        assert [await handle.status() for handle in handles] == ["suspended", "suspended"]
        assert [(await described(runtime, handle))["retry_count"] for handle in handles] == [0, 0]


async def test_a_killed_handler_that_runs_foreign_code_is_ended(sample: Sample) -> None:
    ended: list[str] = []
    began = asyncio.Event()

    @sample.script
    async def foreign(ctx: Any) -> None:
        try:
            began.set()
            await asyncio.sleep(3600)
        finally:
            ended.append("ended")

    async with sample.start() as runtime:
        handle = send(runtime, foreign, "k")
        await began.wait()
        waiting = begin(runtime, foreign, "k")
        await handle.kill()
        await until(lambda: ended)
        with pytest.raises(TerminalError, match="killed"):
            await handle.result()
        await until(lambda: len(runtime.inspector.invocations(statuses=["running"])) == 1)
        for row in runtime.inspector.invocations(statuses=["running"]):
            await runtime.kill(row["id"])
        with pytest.raises(TerminalError, match="killed"):
            await waiting


async def test_a_kill_between_a_result_and_its_await_leaves_nothing(sample: Sample) -> None:
    """The result has arrived and the handler was told, when it is killed in the same turn of the loop."""
    promises: list[str] = []
    after: list[str] = []

    @sample.script
    async def waits(ctx: Any) -> str:
        promise = ctx.awakeable(str)
        await ctx.run("publish", lambda: promises.append(promise.id))
        await promise
        after.append("went on")
        ctx.set("after", 1)
        return "done"

    async with sample.start(always_suspend=False) as runtime:
        handle = send(runtime, waits, "k")
        await until(lambda: promises)
        await asyncio.gather(runtime.resolve_awakeable(promises[0], "now"), handle.kill())
        with pytest.raises(TerminalError, match="killed"):
            await handle.result()
        assert runtime.inspector.state("sample.v1.Counter", "k") == []
    assert after == []


async def test_an_async_action_is_cancelled_with_its_attempt(sample: Sample) -> None:
    log: list[str] = []
    began = asyncio.Event()

    @sample.script
    async def runs(ctx: Any) -> None:
        async def action() -> None:
            began.set()
            try:
                await asyncio.sleep(3600)
            finally:
                log.append("action ended")

        await ctx.run("long", action)

    async with sample.start() as runtime:
        handle = send(runtime, runs)
        await began.wait()
        await handle.kill()
        await until(lambda: log)
        with pytest.raises(TerminalError, match="killed"):
            await handle.result()


async def test_stop_waits_for_cleaning_up(sample: Sample) -> None:
    log: list[str] = []

    @sample.script
    async def cleans_up(ctx: Any) -> None:
        try:
            await ctx.sleep(LONG)
        finally:
            await asyncio.sleep(0.05)
            log.append("cleaned up")

    async with sample.start() as runtime:
        await reached(send(runtime, cleans_up), "running", "suspended")
    assert log
