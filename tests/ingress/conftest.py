"""A runtime with ports in this process, and a client that sends what a test says, mistakes included."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        return self.status, self.json["code"], self.json["message"]


class Http:
    """Raw requests to one URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def request(self, verb: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        given = dict(headers or {})
        if body is not None and not any(name.lower() == "content-type" for name in given):
            given["content-type"] = "application/json"
        async with self._session.request(
            verb, URL(self.url + path, encoded=True), data=body, headers=given, skip_auto_headers=["content-type"]
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        """A request whose body is text or bytes, or else becomes JSON; `_` in a header's name stands for `-`."""
        content = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        return await self.request("POST", path, content, {name.replace("_", "-"): value for name, value in headers.items()})

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.request("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass(frozen=True)
class Served:
    """A runtime that serves; `http` is its ingress, `admin` its admin API."""

    runtime: Any
    http: Http
    admin: Http

    async def state(self, service: str, key: str, name: str) -> Any:
        """A state value, once the handler has written it."""
        while True:
            reply = await self.admin.get(f"/services/{service}/state/{quote(key, safe='')}/{name}")
            if reply.status == 200:
                return reply.json["value_json"]
            await asyncio.sleep(0.01)


@pytest.fixture
async def served(tmp_path: Path, runtime_options: dict[str, Any]) -> AsyncIterator[Served]:
    import hosted

    ports = {"ingress": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    async with (
        hosted.app.start(data_dir=tmp_path / "data", max_message_size=100_000, **ports, **runtime_options) as runtime,
        aiohttp.ClientSession() as session,
    ):
        yield Served(runtime, Http(session, runtime.ingress_url), Http(session, runtime.admin_url))
