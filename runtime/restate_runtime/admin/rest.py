"""The admin API: what a runtime hosts and does, as JSON, and the ways to help an invocation along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from aiohttp import web

from ..engine.protocol import Engine, settled
from ..errors import Code, TerminalError
from ..web.errors import CallError, json_response
from ..web.server import Server, listen, path_parts, read_body
from ..web.values import read_reason, read_value
from .deployments import deployment, deployments

__all__ = ["start_admin"]

_FILTERS = ("service", "key", "status", "limit")
_DEFAULT_LIMIT = 100
_LARGEST_LIMIT = 100_000
STATUSES = ("scheduled", "inboxed", "ready", "running", "suspended", "backing-off", "paused", "completed")


async def start_admin(engine: Engine, address: str) -> Server:
    """Serves the admin API of an engine. What it shows is committed.

    Args:
        engine: the engine to look at.
        address: `HOST:PORT`; port 0 takes a free one.

    Raises:
        RuntimeFault: RT0002 for a malformed address, RT0004 for one that cannot be listened on.
    """
    return await listen(_Admin(engine).handle, address, "admin")


class _Admin:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inspector = engine.inspector
        self._limit = engine.options.max_message_size
        self._verbs: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "cancel": engine.cancel,
            "kill": engine.kill,
            "pause": engine.pause,
            "resume": engine.resume,
            "purge": engine.purge,
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        match path_parts(request):
            case ["health"]:
                _expect(request, "GET")
                return json_response({"status": "ok"})
            case ["services"]:
                _expect(request, "GET")
                return json_response(await settled(self._inspector.services()))
            case ["services", name]:
                if request.method == "PATCH":
                    return await self._modify(request, name)
                _expect(request, "GET", "PATCH")
                return json_response(await self._service(name))
            case ["services", service, "state"]:
                _expect(request, "GET")
                return json_response(await self._state(service, None))
            case ["services", service, "state", key]:
                _expect(request, "GET")
                return json_response(await self._state(service, key))
            case ["services", service, "state", key, name]:
                _expect(request, "GET")
                return json_response(await self._state_value(service, key, name))
            case ["deployments"]:
                _expect(request, "GET", "POST")
                return await deployments(self._engine, request)
            case ["deployments", id]:
                _expect(request, "GET", "DELETE")
                return await deployment(self._engine, request, id)
            case ["invocations"]:
                _expect(request, "GET")
                return json_response(await self._invocations(request))
            case ["invocations", invocation_id]:
                _expect(request, "GET")
                return json_response(await self._describe(invocation_id))
            case ["invocations", invocation_id, "restart-as-new"]:
                _expect(request, "PATCH")
                new_id = await asyncio.shield(asyncio.ensure_future(self._engine.restart(invocation_id)))
                return json_response({"new_invocation_id": new_id})
            case ["invocations", invocation_id, verb] if verb in self._verbs:
                _expect(request, "PATCH")
                return await _done(self._verbs[verb](invocation_id))
            case ["awakeables", awakeable_id, "resolve"]:
                _expect(request, "POST")
                return await _done(self._engine.settle_awakeable(awakeable_id, await read_value(request, self._limit)))
            case ["awakeables", awakeable_id, "reject"]:
                _expect(request, "POST")
                return await _done(self._engine.settle_awakeable(awakeable_id, None, await read_reason(request, self._limit)))
        raise CallError(f"the admin API has nothing at '{request.path[:200]}'", Code.NOT_FOUND)

    async def _service(self, name: str) -> dict[str, Any]:
        for row in await settled(self._inspector.services()):
            if row["name"] == name:
                return row
        self._engine.registry.resolve(name, "")  # says that there is no such service, with the nearest name
        raise TerminalError(f"there is no service '{name[:100]}'", Code.NOT_FOUND)

    async def _modify(self, request: web.BaseRequest, name: str) -> web.Response:
        try:
            change = msgspec.json.decode(await read_body(request, self._limit), type=_Change)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CallError(f'the body is no change of a service, such as {{"public": false}}: {error}', Code.INVALID_ARGUMENT) from None
        await self._service(name)
        await asyncio.shield(asyncio.ensure_future(self._engine.set_public(name, change.public)))
        return json_response(await self._service(name))

    async def _state(self, service: str, key: str | None) -> list[dict[str, Any]]:
        rows = await settled(self._inspector.state(service, key))
        if not rows:  # a service that is no longer bound may have state all the same
            await self._service(service)
        return rows

    async def _state_value(self, service: str, key: str, name: str) -> dict[str, Any]:
        rows = await settled(self._inspector.state(service, key, name))
        if not rows:
            await self._service(service)
            raise TerminalError(f"{service} has no state '{name}' for the key '{key}'", Code.NOT_FOUND)
        return rows[0]

    async def _invocations(self, request: web.BaseRequest) -> list[dict[str, Any]]:
        query = request.query
        for name in query:
            if name not in _FILTERS:
                raise CallError(f"unknown query parameter '{name}': known are {', '.join(_FILTERS)}", Code.INVALID_ARGUMENT)
        statuses = query.getall("status", [])
        for status in statuses:
            if status not in STATUSES:
                raise CallError(f"status: '{status}' is not one of {', '.join(STATUSES)}", Code.INVALID_ARGUMENT)
        limit = query.get("limit", str(_DEFAULT_LIMIT))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and 1 <= int(limit) <= _LARGEST_LIMIT):
            raise CallError(f"limit: '{limit[:20]}' is no number from 1 to {_LARGEST_LIMIT}", Code.INVALID_ARGUMENT)
        found = self._inspector.invocations(service=query.get("service"), key=query.get("key"), statuses=statuses, limit=int(limit))
        return await settled(found)

    async def _describe(self, invocation_id: str) -> dict[str, Any]:
        row = await settled(self._inspector.describe(invocation_id))
        if row is None:
            raise TerminalError(f"there is no invocation '{invocation_id[:100]}'", Code.NOT_FOUND)
        return row


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    """What can be changed of a service: whether callers outside reach it; `null` lets code and contract decide again."""

    public: bool | None


async def _done(work: Coroutine[Any, Any, None]) -> web.Response:
    # A task, so that a client that goes away does not interrupt it half-way.
    await asyncio.shield(asyncio.ensure_future(work))
    return json_response({})


def _expect(request: web.BaseRequest, *verbs: str) -> None:
    if request.method not in verbs:
        raise CallError(
            f"{request.method} is not allowed at '{request.path[:200]}': use {' or '.join(verbs)}",
            Code.UNIMPLEMENTED,
            status=405,
            headers={"Allow": ", ".join(verbs)},
        )
