"""A runtime as a process of its own, which can be killed, and looked into over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from .programs import Program, Start, fresh

Row = Mapping[str, Any]

_POLL_S = 0.005


class Server:
    """`restate-runtime serve`, from entering to leaving; leaving kills it where it still runs.

    Args:
        target: MODULE:APP; `None` where deployments host everything.
        folder: working directory, in which the module lies.
        data_dir: the data directory.
        environment: variables beside those of this process.
        options: further options of `serve`.
        ingress: its address.
        start: starts the process.
    """

    def __init__(
        self,
        target: str | None,
        folder: Path,
        data_dir: Path,
        environment: Mapping[str, str],
        *options: str,
        ingress: str = "127.0.0.1:0",
        start: Start = fresh,
    ) -> None:
        named = () if target is None else (target,)
        self._arguments = ("serve", *named, "--data-dir", str(data_dir), "--ingress", ingress, "--admin", "127.0.0.1:0", "--json")
        self._options = options
        self._folder = folder
        self._environment = environment
        self._start = start
        self._process: Program
        self._log = data_dir.with_name("server.log")
        self.ingress = self.admin = ""

    async def __aenter__(self) -> Server:
        self._process = self._start([*self._arguments, *self._options], self._folder, self._environment, self._log)
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        if not line:
            await self.ended()
            raise RuntimeError(f"the runtime did not start: {self._log.read_text()[-2000:]}")
        addresses = json.loads(line)
        self.ingress, self.admin = addresses["ingress"], addresses["admin"]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.kill()

    @property
    def died(self) -> bool:
        """Whether it has come to its end."""
        return self._process.poll() is not None

    async def ended(self) -> int:
        """Waits for its end and returns its status."""
        while self._process.poll() is None:
            await asyncio.sleep(_POLL_S)
        return self._process.wait()

    async def kill(self) -> None:
        """kill -9."""
        self._process.send_signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM; returns the status."""
        self._process.send_signal(signal.SIGTERM)
        return await self.ended()


class OverHttp:
    """Looks into a runtime through its admin API."""

    def __init__(self, session: aiohttp.ClientSession, admin: str) -> None:
        self._session = session
        self._admin = admin

    async def _get(self, path: str) -> Any:
        try:
            async with self._session.get(self._admin + path) as response:
                return await response.json()
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from None

    async def invocations(self, status: str = "") -> Sequence[Row]:
        rows: Sequence[Row] = await self._get("/invocations?limit=10000" + (f"&status={status}" if status else ""))
        return rows

    async def describe(self, id: str) -> Row:
        row: Row = await self._get(f"/invocations/{id}")
        return row

    async def state(self, service: str) -> Sequence[Row]:
        rows: Sequence[Row] = await self._get(f"/services/{service}/state")
        return rows


@contextlib.asynccontextmanager
async def looking(server: Server) -> AsyncIterator[OverHttp]:
    """A look into a server."""
    async with aiohttp.ClientSession() as session:
        yield OverHttp(session, server.admin)
