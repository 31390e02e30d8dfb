"""A real endpoint on a real server, in its own process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.transport import Address

FOLDER = Path(__file__).parent


class Endpoint:
    """A running endpoint."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
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

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(*options: str, bind: str = "127.0.0.1:0", **environment: str) -> Iterator[Endpoint]:
    """Runs endpoint.py on hypercorn until the block ends."""
    process = subprocess.Popen(
        # Without worker processes, which would outlive the one that is killed.
        [sys.executable, "-m", "hypercorn", "--workers", "0", "--bind", bind, *options, "endpoint:app"],
        cwd=FOLDER,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Endpoint(process, announced(process))
    finally:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> str:
    """The URL that hypercorn prints once it serves."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"Running on (https?://[\d.]+:\d+)", line):
            return found[1]
    raise AssertionError("the endpoint did not start: " + "".join(lines))


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    """One for all tests that leave it alive."""
    with serving() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[EndpointClient]:
    client = EndpointClient(32 << 20)
    yield client
    await client.close()
