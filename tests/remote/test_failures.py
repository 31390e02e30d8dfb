"""Endpoints that fail, are killed, hang or change; runtimes that are killed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from restate_runtime import Code, TerminalError

from ..durability.harness import app, milliseconds, until_status
from .conftest import OPTIONS, Endpoint, Foreign, nothing


async def test_an_endpoint_that_is_killed_in_the_middle_of_a_call(endpoint: Endpoint, foreign: Foreign) -> None:
    handle = foreign.send("Greeter/waits", "a")
    id = (await endpoint.logged("awakeable")).split()[1]
    sleeping = foreign.send("Greeter/effects", "e")
    await endpoint.logged("first e")
    endpoint.kill()
    await foreign._runtime.resolve_awakeable(id, "meanwhile")
    await asyncio.sleep(0.3)
    endpoint.start()
    assert await handle.result() == b'"a: meanwhile"'
    assert await sleeping.result() == b'["first e", "second e"]'
    lines = endpoint.lines()
    # The side effect that was recorded is not done again.
    assert len([line for line in lines if line.startswith("awakeable")]) == 1
    assert lines.count("second e") == 1


async def test_a_dead_endpoint_counts_for_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    """However often it is not reached, an invocation keeps all its attempts."""
    options = {"retry_max_attempts": 2, "retry_max_interval": milliseconds(60)}
    async with app(nothing).start(data_dir=tmp_path / "data", **options) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        endpoint.kill()
        foreign = Foreign(runtime)
        handle = foreign.send("Greeter/flaky", 1)
        row = await until_status(runtime, await handle.invocation_id(), "backing-off")
        assert endpoint.url in row["last_failure"]
        await asyncio.sleep(0.2)
        row = await until_status(runtime, await handle.invocation_id(), "backing-off")
        assert row["retry_count"] == 0
        endpoint.start()
        assert await handle.result() == b"2"


async def test_attempts_are_spent_and_given_back(endpoint: Endpoint, tmp_path: Path) -> None:
    async with app(nothing).start(data_dir=tmp_path / "data", retry_max_attempts=2, **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        handle = Foreign(runtime).send("Greeter/flaky", 2)
        id = await handle.invocation_id()
        row = await until_status(runtime, id, "paused")
        assert "try 2" in row["last_failure"]
        assert row["last_failure_error_code"] == "RT0302"
        await runtime.resume(id)
        assert await handle.result() == b"3"


@pytest.mark.rule("R20")
async def test_a_handler_that_does_something_else(endpoint: Endpoint, runtime: Any, foreign: Foreign) -> None:
    handle = foreign.send("Greeter/differs", "a")
    id = await handle.invocation_id()
    awakeable = (await endpoint.logged("awakeable")).split()[1]
    changed = Path(f"{endpoint.log}.changed")
    changed.touch()
    endpoint.kill()
    endpoint.start()
    await runtime.resolve_awakeable(awakeable, "ready")
    row = await until_status(runtime, id, "paused")
    assert row["last_failure_error_code"] == "RT0301"
    changed.unlink()
    await runtime.resume(id)
    assert await handle.result() == b'"ready"'


async def test_inactivity_suspends(endpoint: Endpoint, tmp_path: Path) -> None:
    async with app(nothing).start(data_dir=tmp_path / "data", inactivity_timeout=milliseconds(50), **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        handle = Foreign(runtime).send("Greeter/waits", "a")
        awakeable = (await endpoint.logged("awakeable")).split()[1]
        row = await until_status(runtime, await handle.invocation_id(), "suspended")
        assert row["waiting_for"] == [f"awakeable {awakeable}"]
        # Its endpoint can go away, and come back when it is needed.
        endpoint.kill()
        endpoint.start()
        await runtime.resolve_awakeable(awakeable, "back")
        assert await handle.result() == b'"a: back"'


async def test_a_stuck_handler_is_cut_off(endpoint: Endpoint, tmp_path: Path) -> None:
    options = {"inactivity_timeout": milliseconds(50), "abort_timeout": milliseconds(100), "retry_max_attempts": 1}
    async with app(nothing).start(data_dir=tmp_path / "data", **OPTIONS, **options) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        handle = Foreign(runtime).send("Greeter/stuck", 30)
        row = await until_status(runtime, await handle.invocation_id(), "paused")
        assert "abort_timeout" in row["last_failure"]


async def test_killing_an_invocation_ends_its_stream(endpoint: Endpoint, runtime: Any, foreign: Foreign) -> None:
    handle = foreign.send("Greeter/cancelled", "k")
    await endpoint.logged("never k")
    await handle.kill()
    with pytest.raises(TerminalError) as raised:
        await handle.result()
    assert raised.value.code is Code.ABORTED
    assert await foreign("Greeter/greet", "after") == "Hello after!"
    assert not any(line.startswith("compensated") for line in endpoint.lines())


@pytest.mark.parametrize("always_suspend", [False, True])
async def test_a_runtime_that_is_stopped_in_the_middle(endpoint: Endpoint, tmp_path: Path, always_suspend: bool) -> None:
    options = {**OPTIONS, "data_dir": tmp_path / "data", "always_suspend": always_suspend}
    async with app(nothing).start(**options) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        foreign = Foreign(runtime)
        waits = await foreign.send("Greeter/waits", "a")
        effects = await foreign.send("Greeter/effects", "e")
        counts = await foreign.send("Greeter/counts", "c")
        ids = [await handle.invocation_id() for handle in (waits, effects, counts)]
        awakeable = (await endpoint.logged("awakeable")).split()[1]
        await endpoint.logged("first e")
    async with app(nothing).start(**options) as runtime:
        await runtime.resolve_awakeable(awakeable, "go on")
        results = [await runtime.invocation(id).result() for id in ids]
        assert results == [b'"a: go on"', b'["first e", "second e"]', b"[1, 2, 3, 11]"]


async def test_many_at_once(endpoint: Endpoint, tmp_path: Path) -> None:
    """More than fit into memory, more than a connection has streams."""
    options = {**OPTIONS, "max_live_handlers": 40, "inactivity_timeout": timedelta(seconds=30)}
    async with app(nothing).start(data_dir=tmp_path / "data", **options) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        foreign = Foreign(runtime)
        totals = await asyncio.gather(*(foreign("Counter/slowly", 1, key=f"k{n % 50}") for n in range(150)))
        assert sorted(totals) == sorted([1, 2, 3] * 50)


@pytest.mark.parametrize("size", [1000, 100_000])
async def test_a_state_that_is_too_large(endpoint: Endpoint, tmp_path: Path, size: int) -> None:
    """It ends the invocation: trying again would come to the same."""
    async with app(nothing).start(data_dir=tmp_path / "data", max_message_size=500, **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        foreign = Foreign(runtime)
        with pytest.raises(TerminalError, match="the limit is") as raised:
            await foreign("Counter/fill", size, key="k")
        assert raised.value.code is Code.RESOURCE_EXHAUSTED
        assert await foreign("Counter/add", 1, key="k") == 1


async def test_a_workflow_is_forgotten_with_its_state_and_promises(endpoint: Endpoint, runtime: Any, foreign: Foreign) -> None:
    for code in ("first", "second"):
        run = foreign.send("Signup/run", "a@b", key="w")
        id = await run.invocation_id()
        assert await foreign("Signup/peek", key="w") is None
        await foreign("Signup/confirm", code, key="w")
        assert await run.result() == f'"a@b {code}"'.encode()
        assert await foreign("Signup/status", key="w") == "done"
        await runtime.purge(id)
        assert await foreign("Signup/status", key="w") is None
