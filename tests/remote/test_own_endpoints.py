"""Endpoints of this project, in the process of their runtime: what they were sent and did not read, and services that move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoClient

from restate_runtime import TerminalError
from restate_runtime.app import bare_app
from restate_runtime.cluster.machine import Machine

from ..cluster.hosted import serving
from ..durability.harness import Script, app, milliseconds, until, until_status
from .conftest import OPTIONS


@contextlib.asynccontextmanager
async def hosting(tmp_path: Path, script: Script) -> AsyncIterator[Any]:
    """A runtime whose services are at an endpoint."""
    async with serving(app(script)) as url, bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await runtime.register_deployment(url)
        yield runtime


async def published(runtime: Any, id: str) -> None:
    """Its side effect `publish` is recorded."""

    def is_recorded() -> bool:
        row = runtime.inspector.describe(id)
        return row is not None and any(entry["entry"] == "run 'publish'" and entry["completed"] for entry in row["journal"])

    await until(is_recorded)


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


@pytest.mark.rule("R20")
async def test_a_late_cancel_that_the_journal_does_not_have(tmp_path: Path) -> None:
    """It is asked when the id of the call arrives, and not where the handler asked for it: the mismatch pauses it all the same."""
    changed = False
    awakeables: dict[str, str] = {}

    async def script(ctx: Any, text: str) -> str:
        if text == "other":
            await ctx.run("slowly", lambda: asyncio.sleep(0.3))
            return ""
        handle = EchoClient(ctx).call.in_background(Text(text="x"))
        if changed:
            handle.cancel()
        await ctx.sleep(milliseconds(1))
        awakeable = ctx.awakeable(str)
        await ctx.run("publish", lambda: awakeables.update(id=awakeable.id))
        return str(await awakeable)

    async with hosting(tmp_path, script) as runtime:
        echo = EchoClient(runtime)
        id = await echo.script.in_background(Text(text="")).invocation_id()
        await published(runtime, id)
        await runtime.pause(id)
        changed = True
        beside = echo.script.in_background(Text(text="other"))
        await runtime.resume(id)
        assert (await until_status(runtime, id, "paused"))["last_failure_error_code"] == "RT0301"
        await beside.result()
        row = runtime.inspector.describe(await beside.invocation_id())
        assert row["retry_count"] == 0, "nothing that shares its connection is disturbed"
        await runtime.kill(id)


@pytest.mark.rule("R15")
async def test_one_that_waits_is_not_new_while_its_endpoint_is_away(tmp_path: Path) -> None:
    ran: list[str] = []

    async def script(ctx: Any, _: str) -> str:
        try:
            awakeable = ctx.awakeable(str)
            ran.append("waits")
            return str(await awakeable)
        except TerminalError:
            await ctx.run("undo", lambda: ran.append("undone"))
            raise

    async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS, inactivity_timeout=milliseconds(20)) as runtime:
        async with serving(app(script)) as url:
            await runtime.register_deployment(url)
            handle = EchoClient(runtime).script.in_background(Text(text=""))
            id = await handle.invocation_id()
            await until_status(runtime, id, "suspended")
        await handle.cancel()
        await until(lambda: "cannot be reached" in (runtime.inspector.describe(id)["last_failure"] or ""))
        await handle.cancel()
        async with serving(app(script), port=int(url.rpartition(":")[2])):
            with pytest.raises(TerminalError):
                await handle.result()
    assert ran[0] == "waits"
    assert ran.count("undone") == 1


@pytest.mark.rule("R20")
@pytest.mark.rule("R41")
async def test_what_made_calls_at_an_endpoint_does_not_go_on_in_the_app(tmp_path: Path) -> None:
    """Its results have other numbers there: one would be taken for another, and a recorded side effect run again."""
    effects: list[int] = []
    awakeables: dict[str, str] = {}

    async def script(ctx: Any, _: str) -> str:
        awakeable = ctx.awakeable(str)
        EchoClient(ctx).call(Text(text="a"))
        effect = await ctx.run("effect", lambda: effects.append(1) or len(effects), type=int)
        await ctx.run("publish", lambda: awakeables.update(id=awakeable.id))
        await awakeable
        return str(effect)

    async with serving(app(script)) as url:
        async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            deployment = (await runtime.register_deployment(url))["id"]
            id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
            await published(runtime, id)
        async with app(script).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            await runtime.remove_deployment(deployment, force=True)
            await runtime.resolve_awakeable(awakeables["id"], "go")
            row = await until_status(runtime, id, "paused")
            assert (row["last_failure_error_code"], "at an endpoint" in row["last_failure"]) == ("RT0301", True)
        async with bare_app().start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
            await runtime.register_deployment(url)
            await runtime.resume(id)
            assert (await runtime.invocation(id).result()).text == "1"
    assert effects == [1]


async def test_what_is_drawn_by_lot_stays_when_a_service_moves(tmp_path: Path) -> None:
    drawn: list[str] = []
    awakeables: dict[str, str] = {}

    async def script(ctx: Any, _: str) -> str:
        drawn.append(f"{ctx.uuid()} {ctx.random.random()}")
        awakeable = ctx.awakeable(str)
        await ctx.run("publish", lambda: awakeables.update(id=awakeable.id))
        return str(await awakeable)

    async with app(script).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="")).invocation_id()
        await published(runtime, id)
    async with hosting(tmp_path, script) as runtime:
        await runtime.resolve_awakeable(awakeables["id"], "go")
        await until_status(runtime, id, "completed")
    assert len(drawn) > 1
    assert len(set(drawn)) == 1
