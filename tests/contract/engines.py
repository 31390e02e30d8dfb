"""Engines under test: what the suite needs of one, and the embedded ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest

from restate_runtime import Caller, InvocationHandle, connect

from .services import FIRST, make_app

__all__ = [
    "WITH_ADMIN",
    "WITH_INGRESS",
    "Engine",
    "Outer",
    "Running",
    "check_effects",
    "check_times",
    "embedded",
    "reached",
    "resume",
    "until",
]

WITH_INGRESS = WITH_ADMIN = pytest.mark.not_on("cluster", "cluster-http1", reason="a cluster has it with the gateway in front")
PORTS: dict[str, Any] = {"ingress": "127.0.0.1:0", "admin": "127.0.0.1:0"}

FAST: dict[str, Any] = {"retry_initial_interval": timedelta(milliseconds=2), "retry_max_attempts": 4}


class Outer(Caller, Protocol):
    """A caller outside handlers: a runtime, a connection, or what stands for one."""

    def invocation(self, id: str) -> InvocationHandle[Any]: ...
    async def resolve_awakeable(self, id: str, value: object) -> None: ...
    async def reject_awakeable(self, id: str, reason: str) -> None: ...


class Running(Protocol):
    """The suite's App, running."""

    @property
    def caller(self) -> Outer:
        """Makes calls; after a restart another one."""
        ...

    @property
    def ingress_url(self) -> str | None:
        """The contract's ingress; after a restart another one. A cluster has it only with the gateway in front."""
        ...

    @property
    def admin_url(self) -> str | None:
        """The admin API; likewise."""
        ...

    @property
    def interrupted(self) -> bool:
        """What keeps the journals is killed in the middle of the test."""
        ...

    async def restart(self) -> None:
        """Stops what runs the handlers, in order, and starts it again on the same data."""
        ...

    async def release(self, name: str) -> None:
        """Brings a new release of the App: a new deployment, or a restart with the new code where one process is all."""
        ...


class Engine(Protocol):
    """One way to run an App."""

    name: str

    def missing(self) -> str | None:
        """Why it cannot run on this machine."""
        ...

    def start(self, folder: Path) -> AbstractAsyncContextManager[Running]:
        """Starts the suite's App; `folder` is the test's own."""
        ...


class _Embedded:
    """The embedded runtime, in this process; its caller is the runtime itself, or a connection to its ingress."""

    interrupted = False

    def __init__(self, folder: Path, options: dict[str, Any], served: bool) -> None:
        self._options = {"data_dir": folder / "data"} | FAST | PORTS | options
        self._served = served
        self._release = FIRST
        self._runtime: Any = None
        self._stack = contextlib.AsyncExitStack()
        self._caller: Any = None

    @property
    def caller(self) -> Outer:
        caller: Outer = self._caller
        return caller

    @property
    def ingress_url(self) -> str:
        return str(self._runtime.ingress_url)

    @property
    def admin_url(self) -> str:
        return str(self._runtime.admin_url)

    async def start(self) -> None:
        self._runtime = await self._stack.enter_async_context(make_app(self._release).start(**self._options))
        self._caller = await self._stack.enter_async_context(connect(self.ingress_url)) if self._served else self._runtime

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def release(self, name: str) -> None:
        self._release = name
        await self.restart()


class _EmbeddedEngine:
    def __init__(self, name: str, options: dict[str, Any], served: bool = False) -> None:
        self.name = name
        self._options = options
        self._served = served

    def missing(self) -> str | None:
        return None

    @contextlib.asynccontextmanager
    async def start(self, folder: Path) -> AsyncIterator[Running]:
        running = _Embedded(folder, self._options, self._served)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()


embedded: tuple[Engine, ...] = (
    _EmbeddedEngine("in-process", {}),
    _EmbeddedEngine("always-suspend", {"always_suspend": True}),
    _EmbeddedEngine("served", {}, served=True),
)


async def reached(handle: InvocationHandle[Any], *statuses: str) -> str:
    """Waits until the invocation is where it should be; the test's own timeout bounds it."""
    while (status := await handle.status()) not in statuses:
        assert status != "completed", f"it has ended, and will not be {' or '.join(statuses)}"
        await asyncio.sleep(0.005)
    return status


def check_effects(running: Running, seen: list[str], expected: list[str]) -> None:
    """What handlers left outside. An attempt that is cut off does again what was not recorded yet (R41), and only that."""
    if running.interrupted:
        seen, expected = list(dict.fromkeys(seen)), list(dict.fromkeys(expected))
    assert seen == expected


def check_times(running: Running, seen: int, expected: int) -> None:
    """How often something was done outside; likewise."""
    assert seen == expected or (running.interrupted and seen > expected)


async def resume(running: Running, id: str) -> None:
    """Lets a paused invocation try again, as `restate-runtime invocations resume` does."""
    async with aiohttp.ClientSession() as session, session.patch(f"{running.admin_url}/invocations/{id}/resume") as response:
        assert response.status == 200, await response.text()


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is so."""
    while not condition():
        await asyncio.sleep(0.005)
