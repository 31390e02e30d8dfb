"""A real endpoint on a real server, in its own process."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.transport import Address

FOLDER = Path(__file__).parent


class Endpoint:
    """A running endpoint."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url

    @property
    def address(self) -> Address:
        """Over HTTP/2."""
        return Address.parse(self.url)

    @property
    def http1(self) -> Address:
        """Over HTTP/1.1."""
        return Address.parse(self.url, http1=True)


@asynccontextmanager
async def serving(*options: str, bind: str = "127.0.0.1:0", **environment: str) -> AsyncIterator[Endpoint]:
    """Runs endpoint.py on hypercorn until the block ends."""
    process = await asyncio.create_subprocess_exec(
        # Without worker processes, which would outlive the one that is killed.
        *(sys.executable, "-m", "hypercorn", "--workers", "0", "--bind", bind, *options, "endpoint:app"),
        cwd=FOLDER,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stderr=PIPE,
    )
    try:
        yield Endpoint(process, await announced(process))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def announced(process: Process) -> str:
    """The URL that hypercorn prints once it serves."""
    assert process.stderr is not None
    lines = []
    while line := await process.stderr.readline():
        lines.append(line.decode())
        if found := re.search(r"Running on (https?://[\d.]+:\d+)", lines[-1]):
            return found[1]
    raise AssertionError("the endpoint did not start: " + "".join(lines))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with serving() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[EndpointClient]:
    client = EndpointClient(32 << 20)
    yield client
    await client.close()
