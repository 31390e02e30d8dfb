"""The embedded runtime without services of its own, and the suite's App at an endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from restate_runtime.app import Started, bare_app
from restate_runtime.engine.options import load_options

from .endpoints import Served
from .engines import FAST, PORTS, Engine, Outer, Running
from .services import make_app

__all__ = ["remote"]


class _Remote:
    interrupted = False

    def __init__(self, folder: Path, options: dict[str, Any], http1: bool) -> None:
        self._options = {"data_dir": folder / "data"} | FAST | PORTS | options
        self._http1 = http1
        self._served = [Served()]
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
        for served in self._served:
            await served.start()
        self._runtime = await self._stack.enter_async_context(Started(bare_app().registry, load_options(self._options, environ={})))

    async def register(self) -> None:
        await self._runtime.register_deployment(self._served[-1].url, http1=self._http1)

    async def stop(self) -> None:
        await self._stack.aclose()
        for served in self._served:
            await served.stop()

    async def restart(self) -> None:
        """Everything: the endpoints that run the handlers, and the runtime that keeps their journals."""
        await self.stop()
        await self.start()

    async def release(self, name: str) -> None:
        self._served.append(Served(partial(make_app, name)))
        await self._served[-1].start()
        await self.register()


class _RemoteEngine:
    def __init__(self, name: str, options: dict[str, Any], http1: bool = False) -> None:
        self.name = name
        self._options = options
        self._http1 = http1

    def missing(self) -> str | None:
        return None

    @contextlib.asynccontextmanager
    async def start(self, folder: Path) -> AsyncIterator[Running]:
        running = _Remote(folder, self._options, self._http1)
        await running.start()
        await running.register()
        try:
            yield running
        finally:
            await running.stop()


# A cycle of calls is found once those that wait are suspended.
_SOON = timedelta(seconds=3)

remote: tuple[Engine, ...] = (
    _RemoteEngine("remote", {"inactivity_timeout": _SOON}),
    _RemoteEngine("remote-always-suspend", {"always_suspend": True}),
    _RemoteEngine("remote-request-response", {}, http1=True),
)
