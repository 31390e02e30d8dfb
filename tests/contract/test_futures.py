"""Durable futures and what decides between them: R10."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import DeadlineExceeded, TerminalError, as_completed, gather, race, select

from .engines import Outer, Running, check_effects, until
from .services import Outside, answer_of, begin, play, script, send

pytestmark = pytest.mark.rule("R10")

LONG = timedelta(hours=1)


def ms(number: float) -> timedelta:
    return timedelta(milliseconds=number)


@script
async def gathers(ctx: Any, argument: Any) -> list[Any]:
    echo = EchoClient(ctx)
    texts = await gather(*(echo.call(Text(text=str(number))) for number in range(5)))
    one, two = await gather(ctx.sleep(ms(5)), ctx.run("two", lambda: 2, type=int))
    return [[text.text for text in texts], one, two, list(await gather())]


@pytest.mark.smoke
async def test_gather_gives_all_results_in_order(caller: Outer) -> None:
    assert await play(caller, gathers) == [["0", "1", "2", "3", "4"], None, 2, []]


@script
async def fails_at_once(ctx: Any, text: str) -> None:
    raise TerminalError(text)


@script
async def fails_when_told(ctx: Any, key: str) -> None:
    told = ctx.awakeable(str)
    await ctx.run("tell", lambda: Outside(key).write(told.id), type=int)
    raise TerminalError(await told)


@script
async def gathers_failures(ctx: Any, key: str) -> list[str]:
    calls = [begin(ctx, fails_when_told, key), ctx.sleep(LONG), begin(ctx, fails_at_once, "early")]
    try:
        await gather(*calls)
    except TerminalError as error:
        first = error.message

    async def told() -> str:
        while not Outside(key).lines():
            await asyncio.sleep(0.005)
        return Outside(key).lines()[0]

    ctx.resolve_awakeable(await ctx.run("told", told), "late")
    try:
        await calls[0]  # it went on
    except TerminalError as error:
        return [first, error.message]
    return [first]


async def test_gather_raises_the_first_failure_and_the_others_go_on(caller: Outer, key: str) -> None:
    assert await play(caller, gathers_failures, key) == ["early", "late"]


@script
async def races(ctx: Any, argument: Any) -> list[Any]:
    slow, fast = ctx.sleep(LONG), ctx.run("fast", lambda: "fast", type=str)
    won = await race(slow, fast)
    name, value = await select(slow=slow, fast=fast)
    try:
        await race(begin(ctx, fails_at_once, "failed"), ctx.sleep(LONG))
    except TerminalError as error:
        return [won, name, value, error.message]
    return [won, name, value]


async def test_race_and_select_take_the_first_outcome(caller: Outer) -> None:
    assert await play(caller, races) == ["fast", "fast", "fast", "failed"]


async def awakeables(ctx: Any, key: str, count: int) -> list[Any]:
    """So many, whose ids the test is told."""
    futures = [ctx.awakeable(str) for _ in range(count)]
    await ctx.run("tell", lambda: Outside(key).write(" ".join(future.id for future in futures)), type=int)
    return futures


async def settle(caller: Outer, key: str, *numbers: int) -> None:
    """One after the other."""
    await until(Outside(key).lines)
    ids = Outside(key).lines()[0].split()
    for number in numbers:
        await caller.resolve_awakeable(ids[number], "done")


@script
async def completes(ctx: Any, key: str) -> list[int]:
    futures = await awakeables(ctx, key, 4)
    order = []
    async for future in as_completed(*futures):
        await future
        order.append(futures.index(future))
    return order


async def test_as_completed_goes_by_the_order_of_completion(caller: Outer, key: str) -> None:
    id = await send(caller, completes, key).invocation_id()
    await settle(caller, key, 3, 1, 2, 0)
    assert await answer_of(caller, id) == [3, 1, 2, 0]


@script
async def remembers_the_order(ctx: Any, key: str) -> list[Any]:
    second, first, last = await awakeables(ctx, key, 3)
    await last  # by now all three are there
    name, _ = await select(second=second, first=first)
    order = []
    futures = {"second": second, "first": first, "last": last}
    async for future in as_completed(*futures.values()):
        order.append(next(name for name, known in futures.items() if known is future))
    return [name, order]


async def test_what_was_recorded_first_wins_even_when_all_is_there(caller: Outer, key: str) -> None:
    id = await send(caller, remembers_the_order, key).invocation_id()
    await settle(caller, key, 1, 0, 2)
    assert await answer_of(caller, id) == ["first", ["first", "second", "last"]]


@script
async def bounds(ctx: Any, argument: Any) -> list[Any]:
    call = ctx.run("slow", _slow, type=str)
    try:
        await call.or_timeout(ms(10))
        out = ["no timeout"]
    except DeadlineExceeded as error:
        out = [error.code.name]
    return [*out, await call, await EchoClient(ctx).call(Text(text="in time")).or_timeout(LONG) == Text(text="in time")]


async def _slow() -> str:
    await asyncio.sleep(0.15)
    return "it went on"


async def test_or_timeout_bounds_the_wait_only(caller: Outer) -> None:
    assert await play(caller, bounds) == ["DEADLINE_EXCEEDED", "it went on", True]


@script
async def nests(ctx: Any, argument: Any) -> list[Any]:
    inner = gather(ctx.sleep(ms(5)), race(ctx.sleep(LONG), ctx.run("run", lambda: "in", type=str)))
    name, value = await select(all=inner, never=ctx.sleep(LONG))
    return [name, list(value), list(await inner)]


async def test_combinators_nest_and_are_awaited_again(caller: Outer) -> None:
    assert await play(caller, nests) == ["all", [None, "in"], [None, "in"]]


@script
async def awaits_twice(ctx: Any, key: str) -> list[Any]:
    run = ctx.run("once", lambda: Outside(key).write("once"), type=int)
    call = EchoClient(ctx).call(Text(text="x"))
    return [await run, await run, await call == await call]


async def test_futures_are_awaited_any_number_of_times(running: Running, key: str) -> None:
    first, second, same = await play(running.caller, awaits_twice, key)
    assert same
    assert first == second
    check_effects(running, Outside(key).lines(), ["once"])


@script
async def drops(ctx: Any, argument: Any) -> str:
    ctx.sleep(LONG)
    ctx.awakeable(str)
    return "done"


async def test_sleeps_that_nobody_awaits_are_dropped(caller: Outer) -> None:
    assert await play(caller, drops) == "done"


@script
async def uses_asyncio(ctx: Any, argument: Any) -> list[str]:
    problems = []

    async def attempt(awaitable: Any) -> None:
        try:
            await awaitable
        except RuntimeError as error:
            problems.append(str(error))

    async def sleeps() -> None:
        await ctx.sleep(ms(1))

    await attempt(asyncio.create_task(sleeps()))
    await attempt(asyncio.wait_for(ctx.sleep(ms(1)), 1))
    return problems


async def test_other_tasks_are_refused(caller: Outer) -> None:
    for problem in await play(caller, uses_asyncio):
        assert "or_timeout" in problem


@script
async def many(ctx: Any, argument: Any) -> int:
    return len(await gather(*(EchoClient(ctx).call(Text(text=str(number))) for number in range(100))))


async def test_a_hundred_at_once(caller: Outer) -> None:
    assert await play(caller, many) == 100
