"""Deployments: new invocations go to the newest, what has begun stays; registering and removing (R37)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restate_runtime import App, Code, RuntimeFault, TerminalError
from restate_runtime.app import Started, bare_app
from restate_runtime.engine.options import load_options

from ..durability.harness import app
from ..ports import free_port
from .conftest import OPTIONS, Endpoint, Foreign, nothing

Start = Callable[..., Endpoint]


@pytest.fixture
def mode() -> str:
    return "bidi"


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Start]:
    """Starts further endpoints."""
    started: list[Endpoint] = []

    def start(variant: str = "", port: int | None = None) -> Endpoint:
        endpoint = Endpoint(tmp_path / f"foreign{len(started)}.log", variant=variant, port=port or free_port())
        endpoint.start()
        started.append(endpoint)
        return endpoint

    yield start
    for endpoint in started:
        endpoint.kill()


def started(hosted: App, **options: Any) -> Started:
    return Started(hosted.registry, load_options({**OPTIONS, **options}, environ={}))


@pytest.mark.rule("R37")
async def test_new_invocations_go_to_the_newest_and_what_has_begun_stays(
    endpoint: Endpoint, runtime: Any, foreign: Foreign, another: Start
) -> None:
    waiting = foreign.send("Greeter/waits", "a")
    id = (await endpoint.logged("awakeable")).split()[1]
    newer = another("other")
    await newer.ready()
    row = await runtime.register_deployment(newer.url, force=True)
    assert [(service["name"], service["revision"]) for service in row["services"]] == [("Greeter", 2)]
    assert await foreign("Greeter/greet", "you") == "Goodbye you!"
    assert await foreign("Greeter/waits", "b") == "not waiting"
    # The older one still hosts what the newer one does not.
    assert await foreign("Counter/add", 1, key="k") == 1
    await runtime.resolve_awakeable(id, "still here")
    assert await waiting.result() == b'"a: still here"'


@pytest.mark.rule("R37")
async def test_it_survives_a_restart(endpoint: Endpoint, tmp_path: Path, another: Start) -> None:
    async with started(app(nothing), data_dir=tmp_path / "data") as runtime:
        await endpoint.ready()
        first = await runtime.register_deployment(endpoint.url)
        foreign = Foreign(runtime)
        waiting = await foreign.send("Greeter/waits", "a")
        waiting_id = await waiting.invocation_id()
        id = (await endpoint.logged("awakeable")).split()[1]
        newer = another("other")
        await newer.ready()
        await runtime.register_deployment(newer.url, force=True)
        rows = runtime.inspector.deployments()
        assert [row["pinned_invocations"] for row in rows] == [1, 0]
    async with started(bare_app(), data_dir=tmp_path / "data") as runtime:
        assert [row["id"] for row in runtime.inspector.deployments()] == [row["id"] for row in rows]
        assert await Foreign(runtime)("Greeter/greet", "you") == "Goodbye you!"
        with pytest.raises(TerminalError, match="began on it") as raised:
            await runtime.remove_deployment(first["id"])
        assert raised.value.code is Code.FAILED_PRECONDITION
        await runtime.resolve_awakeable(id, "later")
        assert await runtime.invocation(waiting_id).result() == b'"a: later"'
        await runtime.remove_deployment(first["id"])
        assert [row["id"] for row in runtime.inspector.deployments()] == [rows[1]["id"]]
        with pytest.raises(TerminalError, match="there is no service 'Counter'") as raised:
            await Foreign(runtime)("Counter/add", 1, key="k")
        assert raised.value.code is Code.NOT_FOUND


@pytest.mark.rule("R37")
async def test_an_older_one_takes_over_when_the_newest_is_removed(
    endpoint: Endpoint, runtime: Any, foreign: Foreign, another: Start
) -> None:
    newer = another("other")
    await newer.ready()
    row = await runtime.register_deployment(newer.url, force=True)
    assert await foreign("Greeter/greet", "you") == "Goodbye you!"
    await runtime.remove_deployment(row["id"])
    assert await foreign("Greeter/greet", "you") == "Hello you!"


async def test_registering_again_changes_nothing(endpoint: Endpoint, runtime: Any) -> None:
    before = runtime.inspector.deployments()
    row = await runtime.register_deployment(endpoint.url)
    assert not row["created"]
    assert runtime.inspector.deployments() == before


async def test_another_version_at_the_same_url(endpoint: Endpoint, runtime: Any, foreign: Foreign, another: Start) -> None:
    endpoint.kill()
    same = another("other", endpoint.port)
    await same.ready()
    with pytest.raises(TerminalError, match="hosts something else now") as raised:
        await runtime.register_deployment(endpoint.url)
    assert raised.value.code is Code.ALREADY_EXISTS
    row = await runtime.register_deployment(endpoint.url, force=True)
    assert row["created"]
    assert [row["id"] for row in runtime.inspector.deployments()] == [row["id"]]
    assert await foreign("Greeter/greet", "you") == "Goodbye you!"


async def test_refusals(endpoint: Endpoint, runtime: Any, another: Start) -> None:
    kind, other = another("kind"), another("other")
    await kind.ready()
    await other.ready()
    with pytest.raises(TerminalError, match="Counter is a VIRTUAL_OBJECT and cannot become a SERVICE") as raised:
        await runtime.register_deployment(kind.url, force=True)
    assert raised.value.code is Code.FAILED_PRECONDITION
    with pytest.raises(TerminalError, match="has lost calls_raw, cancelled"):
        await runtime.register_deployment(other.url)
    with pytest.raises(RuntimeFault, match="RT0601"):
        await runtime.register_deployment(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TerminalError, match="there is no deployment") as raised:
        await runtime.remove_deployment("dp_1x")
    assert raised.value.code is Code.NOT_FOUND
    assert len(runtime.inspector.deployments()) == 1


async def test_an_endpoint_that_comes_later(endpoint: Endpoint, tmp_path: Path, another: Start) -> None:
    """`serve --deployment` before the endpoint is there: it serves, and registers as soon as it can."""
    port = free_port()
    async with started(bare_app(), data_dir=tmp_path / "data", deployment=[f"http://127.0.0.1:{port}"]) as runtime:
        foreign = Foreign(runtime)
        with pytest.raises(TerminalError, match="there is no service"):
            await foreign("Greeter/greet", "you")
        another(port=port)
        while not runtime.inspector.deployments():
            await asyncio.sleep(0.02)
        assert await foreign("Greeter/greet", "you") == "Hello you!"
