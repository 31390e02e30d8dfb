"""Kill: the invocation and the awaited calls below it are over, their keys are free at once, whoever waits gets ABORTED."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Code, TerminalError, gather

from .services import LONG, Sample, begin, reached, send, until

pytestmark = pytest.mark.rule("R16")


async def aborted(awaitable: Any) -> None:
    with pytest.raises(TerminalError) as caught:
        await awaitable
    assert (caught.value.code, caught.value.message) == (Code.ABORTED, "killed")


def open_keys(runtime: Any) -> list[str]:
    """Keys of the invocations that are not completed."""
    rows = runtime.inspector.invocations()
    return sorted(row["target_service_key"] or "" for row in rows if row["status"] != "completed")


def tree(sample: Sample) -> None:
    """`root` calls `middle` and leaf d, `middle` calls leaves a and b, and sends leaf c in the background."""

    @sample.script
    async def leaf(ctx: Any) -> str:
        await ctx.awakeable(str)
        return ""

    @sample.script
    async def middle(ctx: Any) -> str:
        send(ctx, leaf, "c")
        await gather(begin(ctx, leaf, "a"), begin(ctx, leaf, "b"))
        return ""

    @sample.script
    async def root(ctx: Any) -> str:
        await gather(begin(ctx, middle, "m"), begin(ctx, leaf, "d"))
        return ""


@pytest.mark.parametrize("asleep", [False, True], ids=["in memory", "suspended"])
@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
async def test_a_whole_tree(sample: Sample, asleep: bool, restarted: bool) -> None:
    tree(sample)
    options: dict[str, Any] = {"inactivity_timeout": timedelta(milliseconds=5)} if asleep else {}
    async with sample.start(**options) as runtime:
        id = await send(runtime, sample.scripts["root"], "r").invocation_id()
        await until(lambda: open_keys(runtime) == ["a", "b", "c", "d", "m", "r"])
        if asleep:
            await until(lambda: len(runtime.inspector.invocations(statuses=["suspended"])) == 6)
        if not restarted:
            await check_kill(runtime, id)
    if restarted:
        async with sample.start(**options) as runtime:
            await check_kill(runtime, id)


async def check_kill(runtime: Any, id: str) -> None:
    waiting = asyncio.ensure_future(runtime.invocation(id).result())
    behind = {key: CounterClient(runtime).add(AddRequest(name=key, amount=1)) for key in "abdmr"}
    await asyncio.sleep(0)
    await runtime.kill(id)
    await aborted(waiting)
    for call in behind.values():
        assert (await call).value == 1, "its key is free"
    assert open_keys(runtime) == ["c"], "what was sent in the background goes on"


async def test_a_child_alone(sample: Sample) -> None:
    """Its caller gets ABORTED, and goes on."""
    tree(sample)

    @sample.script
    async def parent(ctx: Any) -> str:
        try:
            await begin(ctx, sample.scripts["leaf"], "x")
        except TerminalError as error:
            return f"{error.code.name}: {error.message}"
        return ""

    async with sample.start() as runtime:
        handle = send(runtime, parent, "p")
        await until(lambda: open_keys(runtime) == ["p", "x"])
        child = runtime.inspector.invocations(service="sample.v1.Counter", key="x")[0]["id"]
        await runtime.kill(child)
        assert (await handle.result()).text == '"ABORTED: killed"'


@pytest.mark.parametrize("other", ["outside", "handler", "attached"])
async def test_a_child_that_others_wait_for_goes_on(sample: Sample, other: str) -> None:
    """Only the caller that is killed does not get its result."""

    @sample.script
    async def shared(ctx: Any) -> str:
        promise = ctx.awakeable(str)
        ctx.set("id", promise.id)
        return str(await promise)

    @sample.script
    async def first(ctx: Any) -> str:
        return (await begin(ctx, shared, "k", idempotency_key="once")).text

    @sample.script
    async def second(ctx: Any) -> str:
        return (await begin(ctx, shared, "k", idempotency_key="once")).text

    @sample.script
    async def attached(ctx: Any) -> str:
        result: bytes = await ctx.invocation(ctx.headers["id"]).result()
        return Text.FromString(result).text

    async with sample.start() as runtime:
        handle = send(runtime, first)
        await until(lambda: runtime.inspector.state("sample.v1.Counter", "k", "id"))
        row = runtime.inspector.invocations(service="sample.v1.Counter")[0]
        match other:
            case "outside":
                waiting: Any = asyncio.ensure_future(runtime.invocation(row["id"]).result())
                await asyncio.sleep(0)
            case "handler":
                waiting = send(runtime, second).result()
            case _:
                waiting = send(runtime, attached, headers={"id": row["id"]}).result()
        if other != "outside":
            waiting = asyncio.ensure_future(waiting)
            await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"])) == 3)
            await asyncio.sleep(0.02)
        await handle.kill()
        await aborted(handle.result())
        assert open_keys(runtime) != []
        await runtime.resolve_awakeable(runtime.inspector.state("sample.v1.Counter", "k", "id")[0]["value_json"], "alive")
        assert "alive" in (await waiting).text


@pytest.mark.parametrize("order", ["together", "maker first"])
async def test_a_call_that_only_killed_ones_share_is_killed(sample: Sample, order: str) -> None:
    tree(sample)

    @sample.script
    async def sharing(ctx: Any) -> str:
        return (await begin(ctx, sample.scripts["leaf"], "k", idempotency_key="once")).text

    @sample.script
    async def root(ctx: Any) -> None:
        await gather(*(begin(ctx, sharing) for _ in range(3)))

    async with sample.start() as runtime:
        if order == "together":
            handle = send(runtime, root)
            await until(lambda: open_keys(runtime) == ["", "", "", "", "k"])
            await asyncio.sleep(0.02)
            await handle.kill()
        else:
            maker = send(runtime, sharing)
            await until(lambda: open_keys(runtime) == ["", "k"])
            other = send(runtime, sharing)
            await until(lambda: open_keys(runtime) == ["", "", "k"])
            await asyncio.sleep(0.02)
            await maker.kill()
            assert open_keys(runtime) == ["", "k"]
            await other.kill()
        assert open_keys(runtime) == []
    async with sample.start() as runtime:
        assert open_keys(runtime) == []


async def test_a_waiting_caller_that_was_killed_before_does_not_count(sample: Sample) -> None:
    tree(sample)

    @sample.script
    async def one(ctx: Any) -> str:
        return (await begin(ctx, sample.scripts["leaf"], "k", idempotency_key="once")).text

    @sample.script
    async def two(ctx: Any) -> str:
        return (await begin(ctx, sample.scripts["leaf"], "k", idempotency_key="once")).text

    async with sample.start() as runtime:
        first = send(runtime, one)
        await until(lambda: open_keys(runtime) == ["", "k"])
        second = send(runtime, two)
        await until(lambda: open_keys(runtime) == ["", "", "k"])
        await reached(second, "running", "suspended")
        await asyncio.sleep(0.02)
        await second.kill()
        assert open_keys(runtime) == ["", "k"], "the call that the first one made goes on"
        await first.kill()
        assert open_keys(runtime) == []


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_while_an_action_runs(sample: Sample, kind: str) -> None:
    loop = asyncio.get_running_loop()
    entered, go_on = asyncio.Event(), threading.Event()

    def blocking() -> str:
        loop.call_soon_threadsafe(entered.set)
        go_on.wait(20)
        return "effect"

    async def waiting() -> str:
        entered.set()
        await asyncio.sleep(3600)
        return "effect"

    @sample.script
    async def acting(ctx: Any) -> str:
        return str(await ctx.run("effect", blocking if kind == "sync" else waiting))

    async with sample.start() as runtime:
        handle = send(runtime, acting, "k")
        await entered.wait()
        behind = CounterClient(runtime).add(AddRequest(name="k", amount=1))
        await handle.kill()
        await aborted(handle.result())
        assert (await behind).value == 1
        go_on.set()


async def test_in_every_other_status(sample: Sample) -> None:
    @sample.script
    async def failing(ctx: Any) -> None:
        raise RuntimeError("no luck")

    async with sample.start(retry_initial_interval=LONG, retry_max_interval=LONG) as runtime:
        backing_off = send(runtime, failing, "k")
        await reached(backing_off, "backing-off")
        inboxed, follows = (CounterClient(runtime).add.in_background(AddRequest(name="k", amount=amount)) for amount in (1, 2))
        scheduled = EchoClient(runtime).call.delayed(Text(), LONG)
        await reached(inboxed, "inboxed")
        for handle in (inboxed, scheduled, backing_off):
            await handle.kill()
            await aborted(handle.result())
            await handle.kill()
        assert (await follows.result()).value == 2


async def test_a_deep_chain_of_calls(sample: Sample) -> None:
    @sample.script
    async def deeper(ctx: Any) -> str:
        left = int(ctx.headers["left"])
        if left:
            await begin(ctx, deeper, f"{left}", headers={"left": str(left - 1)})
        else:
            await ctx.awakeable(str)
        return ""

    depth = 1200
    async with sample.start(max_live_handlers=5000) as runtime:
        handle = send(runtime, deeper, "top", headers={"left": str(depth)})
        await until(lambda: len(runtime.inspector.invocations(statuses=["running", "suspended"], limit=5000)) == depth + 1)
        await handle.kill()
        await aborted(handle.result())
        assert open_keys(runtime) == []


async def test_everybody_who_waits_is_told(sample: Sample) -> None:
    """The caller that made the call, one that shares its idempotency key, one that attached to it, and callers outside."""
    tree(sample)

    @sample.script
    async def shares(ctx: Any) -> str:
        try:
            await begin(ctx, sample.scripts["leaf"], "k", idempotency_key="once")
        except TerminalError as error:
            return error.code.name
        return ""

    @sample.script
    async def attaches(ctx: Any) -> str:
        try:
            await ctx.invocation(ctx.headers["id"]).result()
        except TerminalError as error:
            return error.code.name
        return ""

    async with sample.start() as runtime:
        callers = [send(runtime, shares)]
        await until(lambda: runtime.inspector.invocations(service="sample.v1.Counter"))
        id = runtime.inspector.invocations(service="sample.v1.Counter")[0]["id"]
        callers += [send(runtime, shares), send(runtime, attaches, headers={"id": id})]
        outside = [
            asyncio.ensure_future(runtime.invocation(id).result()),
            begin(runtime, sample.scripts["leaf"], "k", idempotency_key="once"),
        ]
        await until(lambda: open_keys(runtime) == ["", "", "", "k"])
        await asyncio.sleep(0.02)
        await runtime.kill(id)
        for caller in callers:
            assert (await caller.result()).text == '"ABORTED"'
        for waiting in outside:
            await aborted(waiting)
        with pytest.raises(TerminalError, match="ABORTED"):
            await begin(runtime, sample.scripts["leaf"], "k", idempotency_key="once")  # the recorded result
