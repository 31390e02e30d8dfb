"""Where an invocation stands, seen from outside (R20)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sample.v1.sample_pb2 import AddRequest, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import OnExhausted, Runtime, TerminalError

from .harness import app, fast_retry, invocation, milliseconds, until_status


class Script:
    """One handler for each way to stand still."""

    def __init__(self) -> None:
        self.broken = True
        self.gate = asyncio.Event()

    async def __call__(self, ctx: Any, text: str) -> Any:
        match text:
            case "sleep":
                await ctx.sleep(milliseconds(100_000))
            case "fail":
                raise ValueError("not today")
            case "terminal":
                raise TerminalError("no")
            case "run":
                await ctx.run("gate", self.gate.wait)
            case "mend" if self.broken:
                raise ValueError("broken")
            case _:
                pass
        return "done"


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def runtime(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> AsyncIterator[Runtime]:
    async with app(script).start(
        data_dir=tmp_path, inactivity_timeout=milliseconds(5), max_live_handlers=2, shutdown_timeout=milliseconds(100), **runtime_options
    ) as runtime:
        yield runtime


@pytest.mark.rule("R20")
async def test_scheduled(runtime: Runtime) -> None:
    handle = CounterClient(runtime).add.delayed(AddRequest(name="k", amount=1), delay=milliseconds(100_000))
    assert await handle.status() == "scheduled"
    row = invocation(runtime, await handle.invocation_id())
    assert row["scheduled_start_at"] > row["created_at"]
    # It does not hold its key before it is due.
    assert (await CounterClient(runtime).add(AddRequest(name="k", amount=5))).value == 5


@pytest.mark.rule("R20")
async def test_suspended_holds_its_key(runtime: Runtime) -> None:
    holder = CounterClient(runtime).script.in_background(KeyedText(key="k", text="sleep"))
    id = await holder.invocation_id()
    row = await until_status(runtime, id, "suspended")
    assert row["waiting_for"][0].startswith("sleep until ")
    behind = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
    assert await behind.status() == "inboxed"
    assert (await CounterClient(runtime).add(AddRequest(name="other", amount=1))).value == 1
    await holder.kill()
    assert (await behind.result()).value == 1


@pytest.mark.rule("R20")
async def test_backing_off_holds_its_key(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(script).start(data_dir=tmp_path, retry_initial_interval=milliseconds(60_000), **runtime_options) as runtime:
        holder = CounterClient(runtime).script.in_background(KeyedText(key="k", text="mend"))
        id = await holder.invocation_id()
        row = await until_status(runtime, id, "backing-off")
        assert (row["retry_count"], row["completion_result"]) == (1, None)
        assert "ValueError: broken (test_status.py:" in row["last_failure"]
        assert row["next_retry_at"]
        behind = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
        assert await behind.status() == "inboxed"
        script.broken = False
        await runtime.resume(id)  # does not wait for its turn
        assert (await holder.result()).text == "done"
        assert (await behind.result()).value == 1


@pytest.mark.rule("R20")
@pytest.mark.rule("R13")
async def test_paused_when_the_attempts_are_spent(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async with app(script).start(data_dir=tmp_path, retry_max_attempts=3, **fast_retry, **runtime_options) as runtime:
        holder = CounterClient(runtime).script.in_background(KeyedText(key="k", text="mend"))
        id = await holder.invocation_id()
        row = await until_status(runtime, id, "paused")
        assert row["last_failure_error_code"] == "RT0302"
        assert "all 3 attempts failed; the last with: ValueError: broken" in row["last_failure"]
        behind = CounterClient(runtime).add.in_background(AddRequest(name="k", amount=1))
        assert await behind.status() == "inboxed"
        script.broken = False
        await runtime.resume(id)
        assert (await holder.result()).text == "done"
        assert (await behind.result()).value == 1


@pytest.mark.rule("R13")
async def test_failed_when_the_attempts_are_spent(script: Script, tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    options = {"retry_max_attempts": 2, "retry_on_exhausted": OnExhausted.FAIL, **fast_retry, **runtime_options}
    async with app(script).start(data_dir=tmp_path, **options) as runtime:
        with pytest.raises(TerminalError, match="INTERNAL: ValueError: not today"):
            await EchoClient(runtime).script(Text(text="fail"))


@pytest.mark.rule("R20")
async def test_running_and_ready(script: Script, runtime: Runtime) -> None:
    """Two handlers fit into memory; side effects keep them there."""
    handles = [EchoClient(runtime).script.in_background(Text(text="run")) for _ in range(3)]
    assert [await handle.status() for handle in handles] == ["running", "running", "ready"]
    script.gate.set()
    for handle in handles:
        await handle.result()


@pytest.mark.rule("R20")
async def test_completed(runtime: Runtime) -> None:
    good = EchoClient(runtime).script.in_background(Text(text="good"))
    bad = EchoClient(runtime).script.in_background(Text(text="terminal"))
    await good.result()
    with pytest.raises(TerminalError):
        await bad.result()
    rows = [invocation(runtime, await handle.invocation_id()) for handle in (good, bad)]
    assert [(row["status"], row["completion_result"], row["completion_failure"]) for row in rows] == [
        ("completed", "success", None),
        ("completed", "failure", "INTERNAL: no"),
    ]
    assert all(row["completed_at"] for row in rows)


@pytest.mark.rule("R20")
@pytest.mark.parametrize("text", ["good", "terminal", "sleep"])
async def test_there_is_nothing_to_resume(text: str, runtime: Runtime) -> None:
    handle = EchoClient(runtime).script.in_background(Text(text=text))
    id = await handle.invocation_id()
    status = "suspended" if text == "sleep" else "completed"
    await until_status(runtime, id, status)
    with pytest.raises(TerminalError, match=f"FAILED_PRECONDITION: the invocation {id} is {status}"):
        await runtime.resume(id)
    assert runtime.status(id) == status
