"""An App at an endpoint of this process, registered at a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from restate_runtime import App
from restate_runtime.cluster import endpoint
from restate_runtime.cluster.serving import serve_until

from ..contract.server import Server

JSON = {"content-type": "application/json"}
PROTO = {"content-type": "application/proto"}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Hosted:
    """What a test asks server and services."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, deployment: Any) -> None:
        self.server = server
        self.deployment = deployment
        self._session = session

    async def call(self, path: str, body: bytes = b"", headers: Mapping[str, str] = JSON) -> Answer:
        """At the cluster's own ingress: SERVICE[/KEY]/METHOD."""
        return await self.ask("POST", f"{self.server.ingress}/restate/call/{path}", body, headers)

    async def send(self, path: str, body: bytes = b"", headers: Mapping[str, str] = JSON) -> str:
        """In the background: the invocation's id."""
        answer = await self.ask("POST", f"{self.server.ingress}/restate/send/{path}", body, headers)
        return str(answer.json["invocationId"])

    async def sql(self, query: str) -> list[dict[str, Any]]:
        answer = await self.ask(
            "POST", f"{self.server.admin}/query", json.dumps({"query": query}).encode(), JSON | {"accept": "application/json"}
        )
        assert answer.status == 200, answer.body
        rows: list[dict[str, Any]] = answer.json["rows"]
        return rows

    async def reached(self, id: str, *statuses: str) -> dict[str, Any]:
        """Waits until the invocation is where it should be."""
        while True:
            for row in await self.sql(f"select * from sys_invocation where id = '{id}'"):
                if row["status"] in statuses:
                    return row
            await asyncio.sleep(0.02)

    async def ask(self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        async with self._session.request(method, URL(url, encoded=True), data=body, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.read())


@contextlib.asynccontextmanager
async def serving(app: App, *, port: int = 0, dev: bool = False) -> AsyncIterator[str]:
    """The App at an endpoint in this process, at its URL."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)
    stop = asyncio.Event()
    task = asyncio.create_task(serve_until(endpoint(app, dev=dev), listener, stop, 2))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        with contextlib.suppress(Exception):
            await task


@contextlib.asynccontextmanager
async def hosting(server: Server, app: App, *, dev: bool = False) -> AsyncIterator[Hosted]:
    """The App at the server, for as long as the block lasts."""
    async with serving(app, dev=dev) as url, aiohttp.ClientSession() as session:
        found = Hosted(server, session, None)
        answer = await found.ask("POST", f"{server.admin}/deployments", json.dumps({"uri": url, "force": True}).encode(), JSON)
        assert answer.status in (200, 201), answer.body
        found.deployment = answer.json
        try:
            yield found
        finally:
            for row in await found.sql("select id from sys_invocation where status <> 'completed'"):
                await found.ask("PATCH", f"{server.admin}/invocations/{row['id']}/kill")
