"""Deployments at the admin API: paths and verbs are Restate's."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from ..engine.protocol import Engine, settled
from ..errors import Code, RuntimeFault, TerminalError
from ..web.errors import CallError, json_response
from ..web.server import read_body

__all__ = ["deployment", "deployments"]

_LARGEST_BODY = 64 * 1024


class _Registration(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a registration."""

    uri: str | None = None
    arn: str | None = None
    force: bool = False
    use_http_11: bool = False


async def deployments(engine: Engine, request: web.BaseRequest) -> web.Response:
    """GET lists all, POST registers one: 201 where it is new or has changed, 200 where all is as before."""
    if request.method == "GET":
        return json_response(await settled(engine.inspector.deployments()))
    try:
        wanted = msgspec.json.decode(await read_body(request, _LARGEST_BODY), type=_Registration)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallError(
            f'the body is no registration, such as {{"uri": "http://127.0.0.1:9080"}}: {error}', Code.INVALID_ARGUMENT
        ) from None
    target = wanted.uri or wanted.arn
    if not target or (wanted.uri and wanted.arn):
        raise CallError("the body names one deployment: uri, an endpoint's URL, or arn, a function's version", Code.INVALID_ARGUMENT)
    work = engine.register_deployment(target, force=wanted.force, http1=wanted.use_http_11)
    try:
        row = await asyncio.shield(asyncio.ensure_future(work))
    except RuntimeFault as fault:
        raise CallError(str(fault), Code.INVALID_ARGUMENT) from None
    return json_response(row, 201 if row["created"] else 200)


async def deployment(engine: Engine, request: web.BaseRequest, id: str) -> web.Response:
    """GET describes one, DELETE forgets it, with `?force=true` although invocations began on it."""
    row = next((row for row in await settled(engine.inspector.deployments()) if row["id"] == id), None)
    if row is None:
        raise TerminalError(f"there is no deployment '{id[:100]}'", Code.NOT_FOUND)
    if request.method == "GET":
        return json_response(row)
    force = request.query.get("force", "false")
    if force not in ("true", "false") or set(request.query) - {"force"}:
        raise CallError("the only query parameter is force: true or false", Code.INVALID_ARGUMENT)
    await asyncio.shield(asyncio.ensure_future(engine.remove_deployment(id, force=force == "true")))
    return json_response({})
