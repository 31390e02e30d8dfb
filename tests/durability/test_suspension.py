"""A suspended invocation costs its rows, and a few fields in memory (R17)."""

from __future__ import annotations

import asyncio
import gc
import logging
import types
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Runtime, gather
from restate_runtime.engine.attempt import Attempt
from restate_runtime.journal.model import Journal

from .harness import Clock, app, milliseconds, start, until, until_status


async def wait_variously(ctx: Any, text: str) -> Any:
    match text.split()[0]:
        case "sleep":
            await ctx.sleep(milliseconds(3_600_000))
        case "awakeable":
            return await ctx.awakeable(str)
        case "call":
            return (await EchoClient(ctx).script(Text(text="sleep"))).text
        case "retry":
            raise ValueError("later")
    return text


@pytest.fixture(autouse=True)
def only_what_comes_from_here() -> Iterator[None]:
    """What tests before left alive, such as handlers that never end, is not counted."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def handlers_alive() -> list[str]:
    """Coroutines of user code, and attempts, that anything refers to."""
    gc.collect()
    alive = [
        thing.cr_code.co_qualname
        for thing in gc.get_objects()
        if isinstance(thing, (types.CoroutineType, Coroutine)) and thing.cr_code.co_name in ("wait_variously", "script", "run_handler")  # type: ignore[attr-defined]
    ]
    return alive + ["Attempt" for thing in gc.get_objects() if isinstance(thing, Attempt)]


async def do_variously(ctx: Any, text: str) -> Any:
    if text == "child":
        return text
    awakeable = ctx.awakeable(str)
    ctx.resolve_awakeable(awakeable.id, "settled")
    await ctx.sleep(milliseconds(1))
    child = await EchoClient(ctx).script(Text(text="child"))
    return child.text + await awakeable + await ctx.run("effect", lambda: "done")


async def test_a_completed_invocation_is_not_left_to_the_garbage_collector(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(do_variously).start(**{"data_dir": tmp_path, **runtime_options, "always_suspend": False}) as runtime:
        client = EchoClient(runtime)
        await client.script(Text(text="first"))
        gc.collect()
        gc.disable()
        try:
            for n in range(10):
                assert (await client.script(Text(text=str(n)))).text == "childsettleddone"
            assert [thing for thing in gc.get_objects() if isinstance(thing, Attempt)] == []
        finally:
            gc.enable()


def timers() -> int:
    return sum(not handle.cancelled() for handle in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


async def parked(runtime: Runtime, number: int, *statuses: str) -> None:
    await until(lambda: len(runtime.inspector.invocations(statuses=statuses, limit=number)) == number)


@pytest.mark.rule("R17")
async def test_a_suspended_invocation_owns_no_coroutine_task_or_timer(
    tmp_path: Path, runtime_options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "restate_runtime")  # what is captured keeps tracebacks, and they keep coroutines
    hour = milliseconds(3_600_000)
    options = {"data_dir": tmp_path, "inactivity_timeout": milliseconds(20), "retry_initial_interval": hour, **runtime_options}
    gc.collect()
    tasks, scheduled = len(asyncio.all_tasks()), timers()
    async with app(wait_variously).start(**options) as runtime:
        for n in range(25):
            for text in ("sleep", "awakeable", "call", "retry"):
                await EchoClient(runtime).script.in_background(Text(text=f"{text} {n}"))
            await CounterClient(runtime).script.in_background(KeyedText(key=f"k{n}", text="sleep"))
        await parked(runtime, 150, "suspended", "backing-off")
        await asyncio.sleep(0)
        assert handlers_alive() == []
        assert len(asyncio.all_tasks()) == tasks
        # The next due time and the purge: two for all of them; one more while a batch or a sweep is due.
        assert timers() - scheduled <= 4
        assert runtime._machinery.state.live == 0
    assert handlers_alive() == []


@pytest.mark.rule("R17")
async def test_sleepers_and_delayed_calls_leave_no_journal_in_memory(tmp_path: Path, full: bool) -> None:
    delayed, sleepers = (20_000, 5_000) if full else (3_000, 1_000)
    clock = Clock()

    async def script(ctx: Any, text: str) -> Any:
        if text == "sleep":
            await ctx.sleep(milliseconds(3_600_000))
            return text
        for n in range(delayed // 10):
            CounterClient(ctx).add.delayed(AddRequest(name=f"k{n}", amount=1), delay=milliseconds(3_600_000))
        for _ in range(sleepers // 10):
            EchoClient(ctx).script.in_background(Text(text="sleep"))
        return text

    gc.collect()
    journals = sum(isinstance(thing, Journal) for thing in gc.get_objects())
    async with start(app(script), clock, data_dir=tmp_path, inactivity_timeout=milliseconds(20), max_live_handlers=200) as runtime:
        for _ in range(10):
            await EchoClient(runtime).script(Text(text="make"))
        state = runtime._machinery.state
        await until(lambda: len(state.invocations) == delayed + sleepers and state.live == 0 and not state.ready)
        await EchoClient(runtime).call(Text(text="everything before is on disk"))
        in_memory = [invocation for invocation in state.invocations.values() if invocation.journal is not None]
        assert len(in_memory) <= 10
        gc.collect()
        assert sum(isinstance(thing, Journal) for thing in gc.get_objects()) - journals <= 20
        assert len(asyncio.get_running_loop()._scheduled) < 200  # type: ignore[attr-defined]
    async with start(app(script), clock, data_dir=tmp_path, inactivity_timeout=milliseconds(20), max_live_handlers=200) as runtime:
        state = runtime._machinery.state
        assert len(state.invocations) == delayed + sleepers
        assert sum(invocation.journal is not None for invocation in state.invocations.values()) == 0
    clock.advance(milliseconds(3_700_000))
    async with start(app(script), clock, data_dir=tmp_path, max_live_handlers=200) as runtime:
        state = runtime._machinery.state
        await until(lambda: not state.invocations)
        await EchoClient(runtime).call(Text(text="everything before is on disk"))
        totals = runtime.inspector.state("sample.v1.Counter", None, "value")
    assert {row["value_json"] for row in totals} == {10}
    assert len(totals) == delayed // 10


@pytest.mark.rule("R17")
async def test_pressure_suspends_the_one_that_waited_longest(tmp_path: Path) -> None:
    async with app(wait_variously).start(data_dir=tmp_path, max_live_handlers=5) as runtime:
        ids = [await EchoClient(runtime).script.in_background(Text(text="awakeable")).invocation_id() for _ in range(5)]
        assert (await EchoClient(runtime).call(Text(text="there is room"))).text == "there is room"
        statuses = [runtime.status(id) for id in ids]
        assert statuses == ["suspended"] + ["running"] * 4


@pytest.mark.rule("R40")
async def test_who_waits_for_a_side_effect_and_a_call_makes_room_for_the_call(tmp_path: Path) -> None:
    """It cannot leave memory while the side effect runs, and does so when that has ended."""

    async def waits_for_both(ctx: Any, _: str) -> None:
        await gather(EchoClient(ctx).call(Text(text="x")), ctx.run("slowly", lambda: asyncio.sleep(0.1)))

    async with app(waits_for_both).start(data_dir=tmp_path, max_live_handlers=2) as runtime:
        calls = [EchoClient(runtime).script(Text(text="")) for _ in range(4)]
        for call in calls:
            await call


async def test_who_waits_on_after_a_side_effect_leaves_memory(tmp_path: Path) -> None:
    async def waits_on(ctx: Any, _: str) -> None:
        await gather(ctx.sleep(milliseconds(3_600_000)), ctx.run("slowly", lambda: asyncio.sleep(0.2)))

    async with app(waits_on).start(data_dir=tmp_path, inactivity_timeout=milliseconds(50)) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
        await until_status(runtime, id, "suspended")
