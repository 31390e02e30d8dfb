"""A cancellation that has not been seen yet, and a restart in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import TerminalError

from .harness import app, milliseconds, until


async def waits(runtime: Any, id: str) -> None:
    """Its handler has come to its awakeable."""
    await until(lambda: (row := runtime.inspector.describe(id)) is not None and row["waiting_for"])


async def cancelled_again(runtime: Any, id: str) -> str:
    """What it returns when it is cancelled once more, and goes on."""
    await runtime.cancel(id)
    await runtime.resume(id)
    text: str = (await runtime.invocation(id).result()).text
    return text


async def compensates(ctx: Any, _: str) -> str:
    awakeable = ctx.awakeable(str)
    caught = []
    for wait in (awakeable, ctx.sleep(milliseconds(1)), ctx.sleep(milliseconds(1))):
        try:
            await wait
        except TerminalError as error:
            caught.append(error.code.name)
    return " ".join(caught)


@pytest.mark.rule("R15")
async def test_it_is_raised_once_however_often_it_was_asked_for(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(compensates).start(data_dir=tmp_path, **runtime_options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
        await waits(runtime, id)
        await runtime.pause(id)
        await runtime.cancel(id)
        await runtime.cancel(id)
    async with app(compensates).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert await cancelled_again(runtime, id) == "CANCELLED"


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
        return any(row["entry"] == "run 'note'" and row["completed"] for row in runtime.inspector.describe(id)["journal"])

    async with app(undoes).start(data_dir=tmp_path, **runtime_options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
        await waits(runtime, id)
        await runtime.cancel(id)
        await until(lambda: noted(runtime))
        await runtime.pause(id)
    async with app(undoes).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert await cancelled_again(runtime, id) == "CANCELLED CANCELLED"
