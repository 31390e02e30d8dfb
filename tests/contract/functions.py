"""The embedded runtime without services of its own, and the suite's App as a function of AWS Lambda.

The function runs under AWS's own runtime client, frozen between invocations and thrown away after some (tests/awslambda).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from restate_runtime.app import Started, bare_app
from restate_runtime.engine.options import load_options

from ..awslambda.local_platform import Platform
from .engines import FAST, PORTS, Outer, Running
from .services import RELEASE

__all__ = ["LambdaEngine"]

ROOT = Path(__file__).parents[2]
FUNCTION = """
import importlib, os, pathlib, sys
sys.path.insert(0, {root!r})
for path in sorted(pathlib.Path({root!r}, "tests", "contract").glob("test_*.py")):  # they hold the scripts
    importlib.import_module("tests.contract." + path.stem)
from restate_runtime.cluster import lambda_handler
from tests.contract.services import FIRST, RELEASE, make_app
handler = lambda_handler(make_app(os.environ.get(RELEASE, FIRST)))
"""
# As long as they live, so that most tests meet a process that was frozen, and some a new one.
INVOCATIONS = 20
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}


class LambdaEngine:
    """One function for all tests, in a loop and a thread of its own."""

    name = "lambda"

    def __init__(self) -> None:
        self._platform: Platform | None = None
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread: threading.Thread | None = None

    def missing(self) -> str | None:
        return None

    def open(self, folder: Path) -> None:
        """Makes the function available; `close` ends its processes."""
        (folder / "suite_function.py").write_text(FUNCTION.format(root=str(ROOT)))
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(folder, ready)), daemon=True)
        self._thread.start()
        assert ready.wait(30)
        assert self._platform is not None
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        os.environ.update(credentials | {"AWS_ENDPOINT_URL_LAMBDA": self._platform.url})

    def close(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    async def _serve(self, folder: Path, ready: threading.Event) -> None:
        async with Platform(folder, "suite_function.handler", lives=INVOCATIONS, environment=ENVIRONMENT).running() as platform:
            self._platform = platform
            ready.set()
            await self._over.wait()

    @contextlib.asynccontextmanager
    async def start(self, folder: Path) -> AsyncIterator[Running]:
        assert self._platform is not None
        running = _Running(folder, self._platform)
        await running.start()
        await running.register(self._platform.arn)
        try:
            yield running
        finally:
            await running.stop()


class _Running:
    interrupted = False

    def __init__(self, folder: Path, platform: Platform) -> None:
        self._options: dict[str, Any] = {"data_dir": folder / "data"} | FAST | PORTS
        self._platform = platform
        self._stack = contextlib.AsyncExitStack()
        self._runtime: Any = None

    @property
    def caller(self) -> Outer:
        caller: Outer = self._runtime
        return caller

    @property
    def ingress_url(self) -> str:
        return str(self._runtime.ingress_url)

    @property
    def admin_url(self) -> str:
        return str(self._runtime.admin_url)

    async def start(self) -> None:
        self._runtime = await self._stack.enter_async_context(Started(bare_app().registry, load_options(self._options, environ={})))

    async def register(self, arn: str) -> None:
        await self._runtime.register_deployment(arn)

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self) -> None:
        """The runtime that keeps the journals: functions come and go by themselves."""
        await self.stop()
        await self.start()

    async def release(self, name: str) -> None:
        await self.register(self._platform.publish({**ENVIRONMENT, RELEASE: name}))
