"""The tour with its services at an endpoint: a kill -9 of the runtime, and of the endpoint, at the runtime's crash points."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from restate_runtime import connect
from restate_runtime.app import Started, bare_app
from restate_runtime.engine.options import load_options

from .conftest import EXAMPLE
from .points import at_each, sample
from .scenario import End, InProcess, Scenario, end_of
from .server import Server, looking

SAMPLE = 5
_COMMAND = Path(sys.executable).with_name("restate-runtime")

HTTP1 = pytest.mark.parametrize("http1", [False, True], ids=["bidirectional", "request-response"])


@dataclass
class Endpoint:
    """The shop's services in a process of their own."""

    outside: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {
            **os.environ,
            "TICKET_SHOP_OUTSIDE": str(self.outside),
            "PYTHONPATH": os.pathsep.join([str(EXAMPLE), os.environ.get("PYTHONPATH", "")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.outside.with_name("endpoint.log").open("ab") as log:
            self.process = subprocess.Popen(
                [_COMMAND, "endpoint", "served_shop:app", "--bind", f"127.0.0.1:{self.port}", "--json"],
                cwd=Path(__file__).parent,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    async def ready(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def endpoints(memory_folder: Path) -> Iterator[Callable[[str], Endpoint]]:
    """Starts endpoints, each with an outside world of its own."""
    started: list[Endpoint] = []

    def start(name: str) -> Endpoint:
        outside = memory_folder / name / "outside"
        outside.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            endpoint = Endpoint(outside, probe.getsockname()[1])
        started.append(endpoint)
        endpoint.start()
        return endpoint

    yield start
    for endpoint in started:
        endpoint.kill()


async def run_with(endpoint: Endpoint, probe: Callable[[str], None], http1: bool) -> End:
    """The tour with the runtime in this process, which no one kills."""
    data_dir = endpoint.outside.with_name("data")
    options = load_options({"data_dir": data_dir, "batch_size": 1}, environ={})
    await endpoint.ready()
    async with Started(bare_app().registry, options, probe=probe) as runtime:
        await runtime.register_deployment(endpoint.url, http1=http1)
        scenario = Scenario(runtime, InProcess(runtime), endpoint.outside, {}, between=lambda: None)
        await scenario.run()
        return await end_of(scenario)


async def counted(endpoint: Endpoint, http1: bool) -> tuple[int, End]:
    """How many points the run has that does not crash, and where it ends."""
    points = 0

    def count(_: str) -> None:
        nonlocal points
        points += 1

    end = await run_with(endpoint, count, http1)
    return points, end


@HTTP1
@pytest.mark.timeout(600)
@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_the_runtime_is_killed(endpoints: Callable[[str], Endpoint], memory_folder: Path, http1: bool, full: bool) -> None:
    points, expected = await counted(endpoints("counted"), http1)

    async def killed_at(point: int) -> bool:
        endpoint = endpoints(str(point))
        data_dir = memory_folder / str(point) / "data"
        answers: dict[str, str] = {}

        async def drive(server: Server, *, serial: bool) -> End:
            async with connect(server.ingress) as connection, looking(server) as look:
                scenario = Scenario(connection, look, endpoint.outside, answers, between=(lambda: None) if serial else None)
                await scenario.run()
                return await end_of(scenario)

        await endpoint.ready()
        async with Server(None, Path(__file__).parent, data_dir, {}) as server, aiohttp.ClientSession() as session:
            body = json.dumps({"uri": endpoint.url, "use_http_11": http1})
            async with session.post(f"{server.admin}/deployments", data=body, headers={"content-type": "application/json"}) as answer:
                assert answer.status == 201
            assert await server.stop() == 0
        crashing = {"RESTATE_RUNTIME_CRASH_AT": str(point)}
        async with Server(None, Path(__file__).parent, data_dir, crashing, "--batch-size", "1") as server:
            try:
                await drive(server, serial=True)
            except ConnectionError:
                await server.ended()
            died = server.died
        async with Server(None, Path(__file__).parent, data_dir, {}) as server:
            assert await drive(server, serial=False) == expected
        return died

    chosen = sample(points, None if full else SAMPLE)
    await at_each(chosen, killed_at, alive=max(1, len(chosen) // 5))


@HTTP1
@pytest.mark.timeout(600)
@pytest.mark.rule("R41")
async def test_the_endpoint_is_killed(endpoints: Callable[[str], Endpoint], http1: bool, full: bool) -> None:
    points, expected = await counted(endpoints("counted"), http1)

    async def killed_at(point: int) -> bool:
        endpoint = endpoints(str(point))
        left = point

        def probe(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                endpoint.kill()
                endpoint.start()

        assert await run_with(endpoint, probe, http1) == expected
        return left <= 0

    chosen = sample(points, None if full else SAMPLE)
    await at_each(chosen, killed_at, alive=max(1, len(chosen) // 5))
