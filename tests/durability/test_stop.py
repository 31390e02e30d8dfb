"""A stop in order: what waits is suspended, nothing is lost, nobody pays an attempt (R13, R31)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import apsw
import pytest
from sample.v1.sample_pb2 import AddRequest, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import gather

from .harness import app, invocation, milliseconds, until
from .processes import child


def is_clean(directory: Path) -> bool:
    connection = apsw.Connection(str(directory / "restate.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    clean = bool(connection.execute("SELECT clean FROM meta").get)
    connection.close()
    return clean


@pytest.mark.rule("R13")
@pytest.mark.rule("R17")
async def test_a_stop_suspends_and_counts_no_attempt(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    attempts: list[int] = []
    left: list[str] = []
    effects: list[str] = []

    async def script(ctx: Any, text: str) -> Any:
        attempts.append(ctx.attempt)
        ctx.set("seen", text)
        try:
            return await ctx.awakeable(str)
        finally:
            if not left or left[-1] != "done":
                left.append(text)
                ctx.set("seen", "never")
                CounterClient(ctx).add.in_background(AddRequest(name="never", amount=1))

    ids: dict[str, str] = {}
    for _ in range(4):
        async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
            if not ids:
                for key in ("a", "b"):
                    ids[key] = await CounterClient(runtime).script.in_background(KeyedText(key=key, text=key)).invocation_id()
                behind = CounterClient(runtime).add.in_background(AddRequest(name="a", amount=1))
                ids["behind"] = await behind.invocation_id()
            await CounterClient(runtime).add(AddRequest(name="other", amount=1))
            rows = {key: invocation(runtime, id) for key, id in ids.items()}
            assert {key: row["status"] for key, row in rows.items()} in (
                {"a": "running", "b": "running", "behind": "inboxed"},
                {"a": "suspended", "b": "suspended", "behind": "inboxed"},
            )
            assert all(row["retry_count"] == 0 for row in rows.values())
        assert is_clean(tmp_path)
    assert set(attempts) == {1}
    assert effects == []
    left.append("done")
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        for key in ("a", "b"):
            gate = invocation(runtime, ids[key])["waiting_for"][0].removeprefix("awakeable ")
            await runtime.resolve_awakeable(gate, "done")
            assert (await runtime.invocation(ids[key]).result()).text == "done"
        assert (await runtime.invocation(ids["behind"]).result()).value == 1
        # What the `finally` blocks of abandoned attempts did counts for nothing.
        assert [row["value_json"] for row in runtime.inspector.state("sample.v1.Counter", None, "seen")] == ["a", "b"]
        assert runtime.inspector.state("sample.v1.Counter", "never") == []


@pytest.mark.rule("R13")
async def test_a_side_effect_that_outlives_the_stop_runs_again(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    executions: list[int] = []
    gate = asyncio.Event()

    async def script(ctx: Any, _: str) -> Any:
        async def effect() -> str:
            executions.append(ctx_attempt)
            await gate.wait()
            return "effect"

        ctx_attempt = ctx.attempt
        return await ctx.run("effect", effect)

    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(30), **runtime_options}
    async with app(script).start(**options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="go")).invocation_id()
        await until(lambda: executions)
    assert is_clean(tmp_path)
    gate.set()
    async with app(script).start(**options) as runtime:
        assert (await runtime.invocation(id).result()).text == "effect"
    assert executions == [1, 1]


async def test_a_side_effect_that_ends_in_time_is_recorded(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    executions: list[str] = []

    async def script(ctx: Any, text: str) -> Any:
        async def effect() -> None:
            executions.append(text)
            await asyncio.sleep(0.05)

        await ctx.run("effect", effect)
        await ctx.sleep(milliseconds(1))
        return "over"

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="go")).invocation_id()
        await until(lambda: executions)
    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        assert (await runtime.invocation(id).result()).text == "over"
    assert executions == ["go"]


async def test_a_side_effect_beside_a_long_wait_does_not_hold_the_stop_up(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    """Without suspending it once the effect is over, the stop would wait for all of its timeout, longer than this test may take."""
    executions: list[str] = []
    stopping = asyncio.Event()

    async def script(ctx: Any, text: str) -> Any:
        async def effect() -> str:
            executions.append(text)
            await stopping.wait()
            return "effect"

        return await gather(ctx.run("effect", effect), ctx.awakeable(str))

    options = {"data_dir": tmp_path, "shutdown_timeout": milliseconds(3_600_000), **runtime_options}
    async with app(script).start(**options) as runtime:
        id = await EchoClient(runtime).script.in_background(Text(text="go")).invocation_id()
        await until(lambda: executions)
        asyncio.get_running_loop().call_later(0.05, stopping.set)
    connection = apsw.Connection(str(tmp_path / "restate.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("SELECT status FROM invocation").get == "suspended"
    connection.close()
    async with app(script).start(**options) as runtime:
        gate = invocation(runtime, id)["waiting_for"][0].removeprefix("awakeable ")
        await runtime.resolve_awakeable(gate, "settled")
        assert (await runtime.invocation(id).result()).text == "('effect', 'settled')"
    assert executions == ["go"]


async def test_a_caller_that_still_waits_is_told(tmp_path: Path, runtime_options: dict[str, Any]) -> None:
    async def script(ctx: Any, _: str) -> Any:
        return await ctx.awakeable(str)

    async with app(script).start(data_dir=tmp_path, **runtime_options) as runtime:
        waiting = EchoClient(runtime).script(Text(text="go"), idempotency_key="again")
        await EchoClient(runtime).call(Text(text="on disk"))
    with pytest.raises(ConnectionError, match="stopping"):
        await waiting
    with pytest.raises(ConnectionError, match="stopping"):
        await EchoClient(runtime).call(Text(text="late"))


@pytest.mark.rule("R13")
@pytest.mark.rule("R31")
async def test_a_process_that_is_asked_to_stop(tmp_path: Path) -> None:
    with child("stopping", tmp_path) as process:
        pid = int(process.until("ready")[1])
        os.kill(pid, signal.SIGTERM)
        assert process.end() == 0, process.errors()
        assert process.said[-1] == ["stopped"]
        ids = {words[1]: words[2] for words in process.said if words[0] == "id"}
    assert is_clean(tmp_path)
    attempts: list[int] = []

    async def script(ctx: Any, text: str) -> Any:
        attempts.append(ctx.attempt)
        if text == "running":
            await ctx.run("long", lambda: None)
        return await ctx.awakeable(str)

    async with app(script).start(data_dir=tmp_path) as runtime:
        for id in ids.values():
            await until(lambda id=id: "awakeable" in str(invocation(runtime, id)["waiting_for"]))
            gate = invocation(runtime, id)["waiting_for"][0].removeprefix("awakeable ")
            await runtime.resolve_awakeable(gate, "done")
            assert (await runtime.invocation(id).result()).text == "done"
            assert invocation(runtime, id)["retry_count"] == 0
    assert set(attempts) == {1}
