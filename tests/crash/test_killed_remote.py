"""The tour with its services at an endpoint: a kill -9 of the runtime, and of the endpoint, at the runtime's crash points."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from restate_runtime.app import Started, bare_app
from restate_runtime.engine.options import load_options

from ..ports import free_port
from .conftest import EXAMPLE
from .points import at_each, sample
from .programs import Program, Start
from .scenario import End, InProcess, Scenario, end_of
from .server import Server
from .test_killed import dies_and_goes_on

SAMPLE = 5
AT_ONCE = 6

HTTP1 = pytest.mark.parametrize("http1", [False, True], ids=["bidirectional", "request-response"])


@dataclass
class Endpoint:
    """The shop's services in a process of their own."""

    outside: Path
    port: int
    begin: Start
    process: Program | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {"TICKET_SHOP_OUTSIDE": str(self.outside), "PYTHONPATH": str(EXAMPLE)}
        arguments = ["endpoint", "served_shop:app", "--bind", f"127.0.0.1:{self.port}", "--json"]
        self.process = self.begin(arguments, Path(__file__).parent, environment, self.outside.with_name("endpoint.log"))

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


@contextlib.contextmanager
def serving(folder: Path, start: Start) -> Iterator[Endpoint]:
    """An endpoint with an outside world of its own; nothing is left of either."""
    outside = folder / "outside"
    outside.mkdir(parents=True)
    endpoint = Endpoint(outside, free_port(), start)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.kill()
        shutil.rmtree(folder)


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
async def test_the_runtime_is_killed(memory_folder: Path, start: Start, http1: bool, full: bool) -> None:
    def runtime(endpoint: Endpoint, environment: Mapping[str, str], *options: str) -> Server:
        return Server(None, Path(__file__).parent, endpoint.outside.with_name("data"), environment, *options, start=start)

    async def killed_at(point: int) -> bool:
        with serving(memory_folder / str(point), start) as endpoint:
            await endpoint.ready()
            async with runtime(endpoint, {}) as server, aiohttp.ClientSession() as session:
                body = json.dumps({"uri": endpoint.url, "use_http_11": http1})
                async with session.post(f"{server.admin}/deployments", data=body, headers={"content-type": "application/json"}) as answer:
                    assert answer.status == 201
                assert await server.stop() == 0
            return await dies_and_goes_on(partial(runtime, endpoint), point, endpoint.outside, expected)

    with serving(memory_folder / "counted", start) as endpoint:
        points, expected = await counted(endpoint, http1)
    chosen = sample(points, None if full else SAMPLE)
    await at_each(chosen, killed_at, alive=max(1, len(chosen) // 5), at_once=AT_ONCE if full else 2)


@HTTP1
@pytest.mark.timeout(600)
@pytest.mark.rule("R41")
async def test_the_endpoint_is_killed(memory_folder: Path, start: Start, http1: bool, full: bool) -> None:
    async def killed_at(point: int) -> bool:
        left = point

        def probe(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                endpoint.kill()
                endpoint.start()

        with serving(memory_folder / str(point), start) as endpoint:
            assert await run_with(endpoint, probe, http1) == expected
        return left <= 0

    with serving(memory_folder / "counted", start) as endpoint:
        points, expected = await counted(endpoint, http1)
    chosen = sample(points, None if full else SAMPLE)
    await at_each(chosen, killed_at, alive=max(1, len(chosen) // 5), at_once=AT_ONCE if full else 2)
