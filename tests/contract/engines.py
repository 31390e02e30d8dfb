"""Engines under test: what the suite needs of one, and the embedded ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from restate_runtime import Caller, Code, InvocationHandle, TerminalError, connect

from .services import make_app

__all__ = ["Engine", "Outer", "Running", "embedded", "over", "reached", "until"]

FAST: dict[str, Any] = {"retry_initial_interval": timedelta(milliseconds=2), "retry_max_attempts": 4, "retry_on_exhausted": "fail"}


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

    async def restart(self) -> None:
        """Stops what runs the handlers, in order, and starts it again on the same data."""
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

    def __init__(self, folder: Path, options: dict[str, Any], served: bool) -> None:
        self._options = {"data_dir": folder / "data"} | FAST | options | ({"ingress": "127.0.0.1:0"} if served else {})
        self._served = served
        self._stack = contextlib.AsyncExitStack()
        self._caller: Any = None

    @property
    def caller(self) -> Outer:
        caller: Outer = self._caller
        return caller

    async def start(self) -> None:
        runtime = await self._stack.enter_async_context(make_app().start(**self._options))
        self._caller = runtime
        if self._served:
            assert runtime.ingress_url is not None
            # The same port after a restart: a connection is told an address once.
            self._caller = await self._stack.enter_async_context(connect(runtime.ingress_url))

    async def stop(self) -> None:
        await self._stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()


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
        await asyncio.sleep(0.005)
    return status


async def over(handle: InvocationHandle[Any]) -> None:
    """Waits until the invocation has ended. A cluster keeps nothing of one that it never began."""
    try:
        await reached(handle, "completed")
    except TerminalError as error:
        if error.code is not Code.NOT_FOUND:
            raise


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is so."""
    while not condition():
        await asyncio.sleep(0.005)
