"""Endpoints in processes of their own, and runtimes that know them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..durability.harness import app, fast_retry
from ..ports import free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


OPTIONS: dict[str, Any] = {**fast_retry}


async def nothing(_: Any, __: str) -> None:
    """A script for services of this process that does nothing."""


@dataclass
class Endpoint:
    """An endpoint in its own process."""

    log: Path
    port: int = field(default_factory=free_port)
    http1: bool = False
    variant: str = ""
    program: str = "foreign_endpoint.py"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = [sys.executable, str(HERE / self.program), str(self.port), *(["http1"] if self.http1 else [])]
        environment = {**os.environ, "FOREIGN_LOG": str(self.log), "FOREIGN_VARIANT": self.variant, "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def ready(self) -> None:
        for _ in range(400):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            assert self.process is not None
            assert self.process.poll() is None, "the endpoint did not start"
            await asyncio.sleep(0.025)
        raise AssertionError("the endpoint does not listen")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    async def logged(self, start: str) -> str:
        """The first line that begins so."""
        for _ in range(400):
            for line in self.lines():
                if line.startswith(start):
                    return line
            await asyncio.sleep(0.025)
        raise AssertionError(f"no line '{start}' in {self.lines()}")


@pytest.fixture(params=["bidi", "http1"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def endpoint(tmp_path: Path, mode: str) -> Iterator[Endpoint]:
    endpoint = Endpoint(tmp_path / "foreign.log", http1=mode == "http1")
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.kill()


@pytest.fixture(scope="module", params=["bidi", "http1"])
def scripted_endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One for all tests of a module: each has its own runtime and its own keys."""
    endpoint = Endpoint(tmp_path_factory.mktemp("scripted") / "log", http1=request.param == "http1", program="scripted_endpoint.py")
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.kill()


class Foreign:
    """Calls foreign services with JSON, as their own clients do."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    async def __call__(self, name: str, request: Any = None, *, key: str | None = None, **options: Any) -> Any:
        body = b"" if request is None else json.dumps(request).encode()
        reply = await self._runtime.method(name, key=key)(body, **options)
        return json.loads(reply) if reply else None

    def send(self, name: str, request: Any = None, *, key: str | None = None, **options: Any) -> Any:
        body = b"" if request is None else json.dumps(request).encode()
        return self._runtime.method(name, key=key).in_background(body, **options)


@pytest.fixture
async def runtime(endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[Any]:
    async with app(nothing).start(data_dir=tmp_path / "data", **OPTIONS) as runtime:
        await endpoint.ready()
        await runtime.register_deployment(endpoint.url, http1=endpoint.http1)
        yield runtime


@pytest.fixture
def foreign(runtime: Any) -> Foreign:
    return Foreign(runtime)


@pytest.fixture(scope="session")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What protoc writes of the contract."""
    file = tmp_path_factory.mktemp("descriptors") / "sample.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", "--include_imports", f"--descriptor_set_out={file}"]
    subprocess.run([*command, "sample/v1/sample.proto"], check=True)
    return file
