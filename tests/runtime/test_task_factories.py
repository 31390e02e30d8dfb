"""Handlers on loops whose tasks are made otherwise than usual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, CounterKey
from sample.v1.sample_restate import CounterClient

from .services import MOMENT, Sample, play


def refuses(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    coroutine.close()
    raise AssertionError("the loop was asked for a task")


FACTORIES: dict[str, Callable[..., asyncio.Task[Any]]] = {"refuses": refuses}
if hasattr(asyncio, "eager_task_factory"):  # from 3.12 on
    FACTORIES["eager"] = asyncio.eager_task_factory


@pytest.mark.rule("R7")
@pytest.mark.parametrize("factory", list(FACTORIES.values()), ids=list(FACTORIES))
async def test_a_loop_with_a_task_factory(sample: Sample, factory: Callable[..., asyncio.Task[Any]]) -> None:
    async def measured() -> str:
        await asyncio.sleep(0)
        return "measured"

    @sample.script
    async def whole(ctx: Any) -> list[Any]:
        counter = CounterClient(ctx)
        await counter.add(AddRequest(name="a", amount=1))
        added = await counter.add(AddRequest(name="a", amount=2))
        await ctx.sleep(MOMENT)
        awakeable = ctx.awakeable(str)
        ctx.resolve_awakeable(awakeable.id, "settled")
        return [added.value, await ctx.run("async", measured), await ctx.run("sync", lambda: "plain"), await awakeable]

    async with sample.start() as runtime:
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(factory)
        try:
            assert await play(runtime, whole) == [3, "measured", "plain", "settled"]
            assert (await CounterClient(runtime).get(CounterKey(name="a"))).value == 3
        finally:
            loop.set_task_factory(before)
