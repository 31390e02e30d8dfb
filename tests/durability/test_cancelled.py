"""A cancellation that has not been seen yet, and a restart in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import TerminalError

from .harness import app, invocation, milliseconds, until


class Gate:
    """A handler that has come to it goes on once it is open: what is cancelled meanwhile has not been seen."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self.open.wait()


async def result(runtime: Any, id: str) -> str:
    text: str = (await runtime.invocation(id).result()).text
    return text


def compensates(gate: Gate) -> Any:
    async def handler(ctx: Any, _: str) -> str:
        awakeable = ctx.awakeable(str)
        await gate.passed()
        caught = []
        for wait in (awakeable, ctx.sleep(milliseconds(1)), ctx.sleep(milliseconds(1))):
            try:
                await wait
            except TerminalError as error:
                caught.append(error.code.name)
        return " ".join(caught)

    return handler


@pytest.mark.rule("R15")
async def test_it_is_raised_once_however_often_it_was_asked_for(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    before, after = Gate(), Gate()
    at_once = timedelta(0)  # it is stopped at its gate
    async with app(compensates(before)).start(data_dir=tmp_path, shutdown_timeout=at_once, **runtime_options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
        await before.reached.wait()
        await runtime.cancel(id)
        await runtime.cancel(id)
    async with app(compensates(after)).start(data_dir=tmp_path, **runtime_options) as runtime:
        await after.reached.wait()
        await runtime.cancel(id)
        after.open.set()
        assert await result(runtime, id) == "CANCELLED"


@pytest.mark.rule("R15")
async def test_one_that_was_seen_before_the_restart_does_not_hide_another(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async def undoes(ctx: Any, _: str) -> str:
        caught = []
        for _ in range(2):
            try:
                await ctx.awakeable(str)
            except TerminalError as error:
                caught.append(error.code.name)
                await ctx.run("note", lambda: None)
        return " ".join(caught)

    def noted(runtime: Any) -> bool:
        return any(row["entry"] == "run 'note'" and row["completed"] for row in invocation(runtime, id)["journal"])

    async with app(undoes).start(data_dir=tmp_path, **runtime_options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
        await until(lambda: invocation(runtime, id)["waiting_for"])
        await runtime.cancel(id)
        await until(lambda: noted(runtime))
    async with app(undoes).start(data_dir=tmp_path, **runtime_options) as runtime:
        await runtime.cancel(id)  # what wakes it: it replays with both
        assert await result(runtime, id) == "CANCELLED CANCELLED"
