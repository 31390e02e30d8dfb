"""Pause, resume, restart and purge: what an operator does to an invocation."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import App, Code, TerminalError

from .services import LONG, MOMENT, Ledger, Sample, begin, described, play, reached, send, until

pytestmark = pytest.mark.rule("R20")


async def refused(awaitable: Any, code: Code, *words: str) -> None:
    with pytest.raises(TerminalError) as caught:
        await awaitable
    assert caught.value.code is code
    for word in words:
        assert word in caught.value.message


async def test_a_paused_invocation_leaves_memory_and_holds_its_key(sample: Sample) -> None:
    left: list[str] = []

    @sample.script
    async def waiting(ctx: Any) -> str:
        promise = ctx.awakeable(str)
        ctx.set("id", promise.id)
        try:
            return str(await promise)
        finally:
            left.append(f"attempt {ctx.attempt}")

    async with sample.start() as runtime:
        handle = send(runtime, waiting, "k")
        await until(lambda: runtime.inspector.state("sample.v1.Counter", "k", "id"))
        behind = CounterClient(runtime).get(CounterKey(name="k"))
        await runtime.pause(await handle.invocation_id())
        assert await handle.status() == "paused"
        row = await described(runtime, handle)
        assert (row["last_failure"], row["last_failure_error_code"]) == ("paused by request", None)
        await runtime.pause(await handle.invocation_id())  # once more changes nothing
        await runtime.resolve_awakeable(runtime.inspector.state("sample.v1.Counter", "k", "id")[0]["value_json"], "settled meanwhile")
        await asyncio.sleep(0.02)
        assert await handle.status() == "paused"
        assert not behind.done()  # type: ignore[attr-defined]
        assert left
    async with sample.start() as runtime:
        id = row["id"]
        assert runtime.status(id) == "paused", "it stays so through a restart"
        await runtime.resume(id)
        assert (await runtime.invocation(id).result()).text == '"settled meanwhile"'
    assert set(left) == {"attempt 1"}, "a resume is not an attempt"


@pytest.mark.parametrize("status", ["running", "suspended", "backing-off", "ready"])
async def test_what_has_its_turn_can_be_paused(sample: Sample, status: str) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    @sample.script
    async def busy(ctx: Any) -> str:
        attempts.append(ctx.attempt)
        entered.set()
        if status == "backing-off" and ctx.attempt == 1:
            raise RuntimeError("no luck")
        if status == "suspended":
            await ctx.sleep(MOMENT * 20)
        elif status == "running":
            await go_on.wait()
        return "done"

    @sample.script
    async def greedy(ctx: Any) -> str:
        entered.set()
        await go_on.wait()
        return ""

    options: dict[str, Any] = {"retry_initial_interval": LONG, "retry_max_interval": LONG}
    if status == "suspended":
        options["inactivity_timeout"] = MOMENT
    if status == "ready":
        options["max_live_handlers"] = 1
    async with sample.start(**options) as runtime:
        if status == "ready":
            first = send(runtime, greedy, "first")
            await entered.wait()
        handle = send(runtime, busy, "k")
        await reached(handle, status)
        if status == "running":
            await entered.wait()
        await runtime.pause(await handle.invocation_id())
        assert await handle.status() == "paused"
        go_on.set()
        if status == "ready":
            await first.result()
            assert attempts == []
        await asyncio.sleep(0.05)
        assert await handle.status() == "paused"
        await runtime.resume(await handle.invocation_id())
        assert (await handle.result()).text == '"done"'
        assert attempts[-1] == (2 if status == "backing-off" else 1)


async def test_what_has_no_turn_is_not_paused(sample: Sample) -> None:
    @sample.script
    async def holder(ctx: Any) -> None:
        await ctx.awakeable(str)

    async with sample.start() as runtime:
        holding = send(runtime, holder, "k")
        inboxed = CounterClient(runtime).add.in_background(AddRequest(name="k"))
        scheduled = EchoClient(runtime).call.delayed(Text(), LONG)
        completed = EchoClient(runtime).call.in_background(Text())
        await completed.result()
        for handle, status in ((inboxed, "inboxed"), (scheduled, "scheduled"), (completed, "completed")):
            await refused(runtime.pause(await handle.invocation_id()), Code.FAILED_PRECONDITION, status, "has its turn")
        await holding.kill()


@pytest.mark.rule("R15")
async def test_a_cancellation_resumes_a_paused_one(sample: Sample) -> None:
    @sample.script
    async def waiting(ctx: Any) -> str:
        try:
            await ctx.sleep(LONG)
        except TerminalError as error:
            return error.code.name
        return ""

    async with sample.start() as runtime:
        handle = send(runtime, waiting, "k")
        await reached(handle, "running", "suspended")
        await runtime.pause(await handle.invocation_id())
        assert await handle.status() == "paused"
        await handle.cancel()
        assert (await handle.result()).text == '"CANCELLED"'


@pytest.mark.rule("R15")
async def test_a_cancellation_ends_one_whose_attempts_are_spent(sample: Sample) -> None:
    @sample.script
    async def failing(ctx: Any) -> str:
        if not mended:
            raise ValueError("again")
        await ctx.sleep(LONG)
        return "never"

    mended: list[bool] = []
    async with sample.start(retry_max_attempts=2, retry_on_exhausted="pause") as runtime:
        handle = send(runtime, failing, "k")
        await reached(handle, "paused")
        mended.append(True)
        await handle.cancel()
        with pytest.raises(TerminalError) as raised:
            await handle.result()
        assert raised.value.code is Code.CANCELLED
        assert (await CounterClient(runtime).add(AddRequest(name="k", amount=1))).value == 1  # its key is free


@pytest.mark.rule("R16")
async def test_a_kill_of_a_paused_one(sample: Sample) -> None:
    @sample.script
    async def below(ctx: Any) -> None:
        await ctx.awakeable(str)

    @sample.script
    async def waiting(ctx: Any) -> None:
        await begin(ctx, below, "b")

    async with sample.start() as runtime:
        handle = send(runtime, waiting, "k")
        await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"])) == 2)
        await runtime.pause(await handle.invocation_id())
        await handle.kill()
        await refused(handle.result(), Code.ABORTED, "killed")
        assert runtime.inspector.invocations(statuses=["running", "suspended", "paused"]) == []


async def test_a_pause_while_an_action_runs(sample: Sample) -> None:
    """The action's result does not count any more: it runs again on the resume."""
    entered = asyncio.Event()
    runs: list[str] = []

    async def effect() -> str:
        runs.append("began")
        entered.set()
        if len(runs) == 1:
            await asyncio.sleep(3600)
        return "effect"

    @sample.script
    async def acting(ctx: Any) -> str:
        return str(await ctx.run("effect", effect))

    async with sample.start() as runtime:
        handle = send(runtime, acting, "k")
        await entered.wait()
        await runtime.pause(await handle.invocation_id())
        await runtime.resume(await handle.invocation_id())
        assert (await handle.result()).text == '"effect"'
    assert len(runs) == 2


async def test_a_completed_invocation_is_restarted(sample: Sample) -> None:
    seen: list[tuple[str, str]] = []

    @sample.script
    async def once(ctx: Any) -> str:
        seen.append((ctx.key, ctx.headers.get("from", "")))
        if len(seen) == 1:
            raise TerminalError("no luck")
        return "lucky"

    async with sample.start() as runtime:
        handle = send(runtime, once, "k", headers={"from": "test"}, idempotency_key="once")
        with pytest.raises(TerminalError, match="no luck"):
            await handle.result()
        old = await handle.invocation_id()
        new = await runtime.restart(old)
        assert new != old
        assert (await runtime.invocation(new).result()).text == '"lucky"'
        assert seen == [("k", "test"), ("k", "test")]
        with pytest.raises(TerminalError, match="no luck"):
            await begin(runtime, once, "k", idempotency_key="once")  # the key keeps leading to the first one
        again = await runtime.restart(new)
        assert (await runtime.invocation(again).result()).text == '"lucky"'


async def test_only_a_completed_invocation_is_restarted_or_purged(sample: Sample, tmp_path: Any) -> None:
    @sample.script
    async def waiting(ctx: Any) -> None:
        await ctx.awakeable(str)

    async with sample.start() as runtime:
        handle = send(runtime, waiting, "k")
        id = await handle.invocation_id()
        await refused(runtime.restart(id), Code.FAILED_PRECONDITION, "only a completed one can be restarted")
        await refused(runtime.purge(id), Code.FAILED_PRECONDITION, "only a completed one can be purged")
        for verb in (runtime.pause, runtime.resume, runtime.restart, runtime.purge):
            await refused(verb("inv_1AAAAAAAAAAAAAAAAAAAAAA"), Code.NOT_FOUND)
            await refused(verb("nonsense"), Code.INVALID_ARGUMENT)
        await handle.kill()
    async with App(Ledger()).start(data_dir=tmp_path / "data") as runtime:
        await refused(runtime.restart(id), Code.NOT_FOUND, "there is no service 'sample.v1.Counter'")


async def test_a_purged_invocation_is_forgotten(sample: Sample) -> None:
    runs: list[int] = []

    @sample.script
    async def counted(ctx: Any) -> int:
        runs.append(1)
        ctx.set("runs", len(runs))
        return len(runs)

    async with sample.start() as runtime:
        handle = send(runtime, counted, "k", idempotency_key="once")
        assert (await handle.result()).text == "1"
        id = await handle.invocation_id()
        assert await play(runtime, counted, "k", idempotency_key="once") == 1
        await runtime.purge(id)
        await refused(runtime.purge(id), Code.NOT_FOUND)
        await refused(handle.status(), Code.NOT_FOUND)
        assert runtime.inspector.describe(id) is None
        assert await play(runtime, counted, "k", idempotency_key="once") == 2, "its idempotency key is free"
    async with sample.start() as runtime:
        assert runtime.inspector.describe(id) is None
        assert await play(runtime, counted, "k", idempotency_key="once") == 2
        assert runtime.inspector.state("sample.v1.Counter", "k", "runs")[0]["value_json"] == 2, "state is not part of it"


async def test_all_at_once(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    """Verbs that race each other and the end: each is refused or done, and nothing breaks."""

    @sample.script
    async def brief(ctx: Any) -> None:
        await ctx.sleep(MOMENT)

    async with sample.start() as runtime:
        with caplog.at_level(logging.ERROR):
            for _ in range(10):
                ids = [await send(runtime, brief, key).invocation_id() for key in "aabbc"]
                verbs = [runtime.pause, runtime.resume, runtime.cancel, runtime.restart, runtime.purge, runtime.kill, runtime.cancel]
                outcomes = await asyncio.gather(*(verb(id) for verb in verbs for id in ids), return_exceptions=True)
                assert all(isinstance(error, TerminalError) for error in outcomes if isinstance(error, BaseException))
        assert not caplog.records
        for row in runtime.inspector.invocations(limit=1000):
            if row["status"] != "completed":
                await runtime.kill(row["id"])
        assert (await CounterClient(runtime).add(AddRequest(name="a", amount=1))).value == 1
