"""The embedded runtime without services of its own, and the suite's App at an endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from restate_runtime.app import Started, bare_app
from restate_runtime.cluster import Endpoint, endpoint
from restate_runtime.cluster.serving import serve_until
from restate_runtime.engine.options import load_options

from .engines import FAST, Engine, Outer, Running
from .services import make_app

__all__ = ["Served", "remote"]


class Served:
    """The suite's App at an endpoint, in this process."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._endpoint: Endpoint | None = None
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._stop = asyncio.Event()
        self._endpoint = endpoint(make_app())
        listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        listener.setblocking(False)
        serving = serve_until(self._endpoint, listener, self._stop, 2)
        self._serving = asyncio.get_running_loop().create_task(serving)

    async def stop(self) -> None:
        assert self._endpoint is not None
        assert self._serving is not None
        self._stop.set()
        with contextlib.suppress(Exception):
            await self._serving


class _Remote:
    def __init__(self, folder: Path, options: dict[str, Any], http1: bool) -> None:
        self._options = {"data_dir": folder / "data"} | FAST | options
        self._http1 = http1
        self._served = Served()
        self._stack = contextlib.AsyncExitStack()
        self._runtime: Any = None

    @property
    def caller(self) -> Outer:
        caller: Outer = self._runtime
        return caller

    async def start(self) -> None:
        await self._served.start()
        self._runtime = await self._stack.enter_async_context(Started(bare_app().registry, load_options(self._options, environ={})))
        await self._runtime.register_deployment(self._served.url, http1=self._http1)

    async def stop(self) -> None:
        await self._stack.aclose()
        await self._served.stop()

    async def restart(self) -> None:
        """Everything: the endpoint that runs the handlers, and the runtime that keeps their journals."""
        await self.stop()
        await self.start()


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
        try:
            yield running
        finally:
            await running.stop()


remote: tuple[Engine, ...] = (
    _RemoteEngine("remote", {}),
    _RemoteEngine("remote-always-suspend", {"always_suspend": True}),
    _RemoteEngine("remote-request-response", {}, http1=True),
)
