"""Every version of the service protocol, and state that does not come along with the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from restate_runtime.engine.remote import attempt
from restate_runtime.engine.remote.frames import Version
from restate_runtime.engine.remote.hosting import Deployment

from ..durability.harness import app, until_status
from .conftest import OPTIONS, Endpoint, Foreign, nothing


@pytest.fixture(params=["goes-on", "always-suspend"])
def always_suspend(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "always-suspend")


@pytest.fixture(params=list(Version), ids=lambda version: version.name)
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Version:
    version: Version = request.param
    monkeypatch.setattr(Deployment, "version", lambda _: version)
    return version


@pytest.fixture
async def runtime(endpoint: Endpoint, tmp_path: Path, version: Version, always_suspend: bool) -> AsyncIterator[Any]:
    options = {**OPTIONS, "data_dir": tmp_path / "data", "always_suspend": always_suspend}
    async with app(nothing).start(**options) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        yield runtime


async def test_a_version(runtime: Any, foreign: Foreign, endpoint: Endpoint) -> None:
    assert await foreign("Greeter/effects", "x") == ["first x", "second x"]
    assert await foreign("Greeter/counts", "k") == [1, 2, 3, 11]
    assert await foreign("Greeter/flaky_run", 2) == "after 3"
    run = foreign.send("Signup/run", "a@b", key="w")
    await foreign("Signup/confirm", "code", key="w")
    assert await run.result() == b'"a@b code"'
    waiting = foreign.send("Greeter/waits", "a")
    await foreign("Greeter/resolves", (await endpoint.logged("awakeable")).split()[1])
    assert await waiting.result() == b'"a: resolved by a handler"'
    signalled = foreign.send("Greeter/signalled", "s")
    await endpoint.logged("signalled")
    await foreign("Greeter/signals", await signalled.invocation_id())
    assert await signalled.result() == b'"signal"'
    cancelled = foreign.send("Greeter/cancelled", "c")
    await endpoint.logged("never c")
    await cancelled.cancel()
    assert await cancelled.result() == b'"cancelled: 409"'
    assert endpoint.lines().count("first x") == 1
    assert endpoint.lines().count("compensated c 409") == 1


async def test_what_it_combines(runtime: Any, foreign: Foreign, endpoint: Endpoint) -> None:
    handle = foreign.send("Greeter/combines", "x")
    ids = [(await endpoint.logged(f"{n} awakeable")).split()[2] for n in ("one", "two", "three")]
    id = await handle.invocation_id()
    await until_status(runtime, id, "suspended" if runtime.options.always_suspend or endpoint.http1 else "running")
    await runtime.resolve_awakeable(ids[0], 1)
    await runtime.resolve_awakeable(ids[1], 2)
    assert await handle.result() == b"[[1, 2], 2]"


@pytest.mark.parametrize("eager_bytes", [0, 60])
async def test_state_is_asked_for(runtime: Any, foreign: Foreign, monkeypatch: pytest.MonkeyPatch, eager_bytes: int) -> None:
    monkeypatch.setattr(attempt, "_EAGER_STATE_BYTES", eager_bytes)
    assert [await foreign("Counter/add", n, key="a") for n in (1, 2, 3)] == [1, 3, 6]
    assert await foreign("Counter/value", key="a") == 6
    assert await foreign("Counter/fill", 100, key="a") == ["big", "value"]
    assert await foreign("Counter/add", 1, key="a") == 7
    assert await foreign("Counter/reset", key="a") == ["big", "value"]
    assert await foreign("Counter/value", key="a") == 0
