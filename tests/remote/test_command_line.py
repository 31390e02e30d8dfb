"""`serve` without an App, and the verbs of `deployments`, as processes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ..crash.server import Server
from ..ports import free_port
from .conftest import Endpoint

_COMMAND = Path(sys.executable).with_name("restate-runtime")


@pytest.fixture
def mode() -> str:
    return "bidi"


async def run(*arguments: object) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        _COMMAND, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def told(*arguments: object) -> Any:
    status, out, err = await run(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


async def greet(server: Server) -> str:
    async with aiohttp.ClientSession() as session:
        headers = {"content-type": "application/json"}
        async with session.post(f"{server.ingress}/restate/call/Greeter/greet", data=b'"you"', headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "application/json"
            return str(json.loads(await response.text()))


@pytest.mark.rule("R37")
async def test_serving_deployments_alone(endpoint: Endpoint, tmp_path: Path) -> None:
    await endpoint.ready()
    data = tmp_path / "data"
    async with Server(None, tmp_path, data, {}, "--deployment", endpoint.url) as server:
        assert await greet(server) == "Hello you!"
        (row,) = await told("deployments", "list", "--admin", server.admin)
        assert row["endpoint"] == endpoint.url
        assert row["protocol_type"] == "BidiStream"
        assert [service["name"] for service in row["services"]] == ["Counter", "Greeter", "Signup"]
        assert await told("deployments", "describe", row["id"], "--admin", server.admin) == row
        assert not (await told("deployments", "register", endpoint.url, "--admin", server.admin))["created"]
        services = await told("services", "list", "--admin", server.admin)
        assert {service["name"] for service in services} >= {"Counter", "Greeter", "Signup"}
        assert await server.stop() == 0
    # What was registered is known at the next start, and of a stopped runtime too.
    assert await told("deployments", "list", "--data-dir", data) == [row]
    async with Server(None, tmp_path, data, {}) as server:
        assert await greet(server) == "Hello you!"
        assert await told("deployments", "remove", row["id"], "--admin", server.admin) == {"id": row["id"], "result": "removed"}
        assert await told("deployments", "list", "--admin", server.admin) == []


async def test_for_people(endpoint: Endpoint, tmp_path: Path) -> None:
    await endpoint.ready()
    async with Server(None, tmp_path, tmp_path / "data", {}) as server:
        admin = ("--admin", server.admin)
        assert "no deployments" in (await run("deployments", "list", *admin))[1]
        status, out, _ = await run("deployments", "register", endpoint.url, *admin)
        assert status == 0
        first, *_ = out.splitlines()
        _, id, _, url = first.split()
        assert first == f"registered {id} at {endpoint.url}"
        assert url == endpoint.url
        assert "VIRTUAL_OBJECT" in out
        assert id in (await run("deployments", "list", *admin))[1]
        assert "greet" in (await run("deployments", "describe", id, *admin))[1]
        assert (await run("deployments", "remove", id, *admin))[1] == f"removed {id}\n"


async def test_mistakes(endpoint: Endpoint, tmp_path: Path) -> None:
    await endpoint.ready()
    async with Server(None, tmp_path, tmp_path / "data", {}) as server:
        admin = ("--admin", server.admin)
        for arguments, text in (
            (("register", f"http://127.0.0.1:{free_port()}"), "RT0601"),
            (("register", "nonsense"), "RT0601"),
            (("register", server.ingress), "RT0601"),
            (("describe", "dp_1x"), "there is no deployment 'dp_1x'"),
            (("remove", "dp_1x"), "there is no deployment 'dp_1x'"),
        ):
            status, _, err = await run("deployments", *arguments, *admin)
            assert status == 1
            assert text in err
            assert len(err.splitlines()) == 1


async def test_a_deployment_that_does_not_fit_keeps_a_runtime_from_starting(endpoint: Endpoint, tmp_path: Path) -> None:
    await endpoint.ready()
    async with Server(None, tmp_path, tmp_path / "data", {}, "--deployment", endpoint.url) as server:
        assert await server.stop() == 0
    other = Endpoint(tmp_path / "other.log", variant="kind")
    other.start()
    try:
        await other.ready()
        status, _, err = await run("serve", "--data-dir", tmp_path / "data", "--deployment", other.url, "--ingress", "127.0.0.1:0")
        assert status == 1
        assert "Counter is a VIRTUAL_OBJECT and cannot become a SERVICE" in err
        assert "RT0604" in err
    finally:
        other.kill()
