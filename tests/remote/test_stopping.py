"""An endpoint that stops suspends what waits, and reads no more: what it was sent and did not read is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import TerminalError
from restate_runtime.app import bare_app
from restate_runtime.cluster import endpoint
from restate_runtime.cluster.machine import Machine
from restate_runtime.cluster.serving import serve_until

from ..durability.harness import Script, app, milliseconds
from .conftest import OPTIONS


@contextlib.asynccontextmanager
async def hosting(tmp_path: Path, script: Script) -> AsyncIterator[Any]:
    """A runtime whose services are at an endpoint in this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_until(endpoint(app(script)), listener, stop, 2))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            await runtime.register_deployment(url)
            yield runtime
    finally:
        stop.set()
        await serving


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    """The first attempt that is sent something stops before it reads it: the attempts."""
    stopped: list[Machine] = []
    take_input = Machine.take_input

    def take(machine: Machine, event: Any) -> bool:
        if not stopped:
            stopped.append(machine)
            machine.close_input()
        return True if machine in stopped else take_input(machine, event)

    monkeypatch.setattr(Machine, "take_input", take)
    return stopped


@pytest.mark.rule("R40")
async def test_a_result(tmp_path: Path, unread: list[Machine]) -> None:
    async def sleeps(ctx: Any, _: str) -> str:
        await ctx.sleep(milliseconds(50))
        return "awake"

    async with hosting(tmp_path, sleeps) as runtime:
        assert (await EchoClient(runtime).script(Text(text=""))).text == "awake"
        assert unread


@pytest.mark.rule("R15")
async def test_a_cancellation(tmp_path: Path, unread: list[Machine]) -> None:
    begun = asyncio.Event()

    async def waits(ctx: Any, _: str) -> str:
        try:
            begun.set()
            return await ctx.awakeable(str)
        except TerminalError as error:
            await ctx.sleep(milliseconds(1))
            return error.code.name

    async with hosting(tmp_path, waits) as runtime:
        handle = EchoClient(runtime).script.in_background(Text(text=""))
        await begun.wait()
        await handle.cancel()
        assert (await handle.result()).text == "CANCELLED"
        assert unread
