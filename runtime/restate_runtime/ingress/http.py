"""The HTTP ingress: unary calls of the Connect protocol, background calls, results, awakeables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from ..engine.builtin import BuiltinCall, BuiltinMethod, Builtins
from ..engine.protocol import Engine, find_method, settled
from ..engine.registry import imported_method
from ..errors import Code, TerminalError
from ..transcode import to_json
from ..web.errors import CallError, error_response, json_response
from ..web.order import ORDER, Turns
from ..web.server import Server, listen, path_parts, read_body
from ..web.values import read_reason, read_value
from .calls import INVOCATION_ID, JSON, PROTO, Address, Calls, Form, answer, content_type, encoder, message_of, wait
from .headers import forwarded, idempotency_key_of, retention_of, timeout_of

__all__ = ["start_ingress"]

METHOD = "x-restate-method"
"""Response header of attach and output: SERVICE/METHOD, so that a caller who knows the id only can decode the result."""

_NOT_READY = 470


async def start_ingress(engine: Engine, address: str) -> Server:
    """Serves an engine over HTTP.

    Args:
        engine: takes the calls.
        address: `HOST:PORT`; port 0 takes a free one.

    Raises:
        RuntimeFault: RT0002 for a malformed address, RT0004 for one that cannot be listened on.
    """
    return await listen(_Ingress(engine).handle, address, "ingress")


class _Ingress:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit = engine.options.max_message_size
        self._builtins = Builtins()
        self._turns = Turns()
        self._calls = Calls(engine, self._turns)
        self._builtin_paths = {f"/{builtin.descriptor.full_name}": builtin for builtin in self._builtins.methods.values()}
        self._routes: dict[str, Address] = {}
        self._revision = -1

    async def handle(self, request: web.BaseRequest) -> web.Response:
        # A call passes its turn on as soon as the engine has it. This is for what becomes none: it is refused, or built in.
        with self._turns.turn(request.headers.get(ORDER)):
            return await self._answer(request)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if self._revision != self._engine.registry.revision:
            self._find_routes()
        route = self._routes.get(request.raw_path) or self._routes.get(request.path)
        if route is None:
            return await self._other(request)
        _expect(request, "POST")
        return await self._calls.answer(request, route)

    def _find_routes(self) -> None:
        """Every path of every hosted method, resolved once."""
        registry = self._engine.registry
        self._revision = registry.revision
        self._routes = {}
        for service in registry.services.values():
            for method in service.methods.values():
                self._routes[f"/{method.full_name}"] = Address(method, Form.CALL)
                self._routes[f"/{method.full_name}/send"] = Address(method, Form.SEND)
                self._routes[f"/{method.full_name}/event"] = Address(method, Form.EVENT)

    async def _call_builtin(self, request: web.BaseRequest, method: BuiltinMethod, *, by_name: bool = False) -> web.Response:
        kind = content_type(request, bytes_too=by_name)
        timeout_s = timeout_of(request.headers)
        idempotency_key = idempotency_key_of(request.headers)
        body = await read_body(request, self._limit)
        message = message_of(body, kind, method)
        given = BuiltinCall(
            idempotency_key=idempotency_key,
            headers=forwarded(request.headers),
            retention_s=retention_of(request.headers),
        )
        await self._turns.turn(request.headers.get(ORDER)).wait()
        # A task, so that a client that goes away does not interrupt it half-way.
        answering = asyncio.ensure_future(self._builtins.call(self._engine, method, message, given))
        response = await wait(answering, timeout_s)
        return web.Response(body=to_json(response) if kind == JSON else response.SerializeToString(), content_type=kind)

    # Everything else

    async def _other(self, request: web.BaseRequest) -> web.Response:
        builtin = self._builtin_paths.get(request.path)
        if builtin is not None:
            _expect(request, "POST")
            return await self._call_builtin(request, builtin)
        match path_parts(request):
            case ["restate", "call" | "send" as form, service, method]:
                return await self._by_name(request, Form(form), service, None, method)
            case ["restate", "call" | "send" as form, service, key, method]:
                return await self._by_name(request, Form(form), service, key, method)
            case ["restate", "health"]:
                _expect(request, "GET")
                return json_response({"status": "ok"})
            case ["restate", "invocation", invocation_id, "attach"]:
                _expect(request, "GET")
                return await self._attach(request, invocation_id)
            case ["restate", "invocation", invocation_id, "output"]:
                _expect(request, "GET")
                return await self._output(request, invocation_id)
            case ["restate", "invocation", invocation_id, "status"]:
                _expect(request, "GET")
                return json_response({"status": await settled(self._engine.status(invocation_id))}, headers={INVOCATION_ID: invocation_id})
            case ["restate", "invocation", invocation_id, "cancel"]:  # whoever holds the id may: it cannot be guessed
                _expect(request, "POST")
                await asyncio.shield(asyncio.ensure_future(self._engine.cancel(invocation_id)))
                return json_response({}, headers={INVOCATION_ID: invocation_id})
            case ["restate", "invocation", invocation_id, "kill"]:
                _expect(request, "POST")
                await asyncio.shield(asyncio.ensure_future(self._engine.kill(invocation_id)))
                return json_response({}, headers={INVOCATION_ID: invocation_id})
            case ["restate", "awakeables", awakeable_id, "resolve"]:
                _expect(request, "POST")
                value = await read_value(request, self._limit)
                await asyncio.shield(asyncio.ensure_future(self._engine.settle_awakeable(awakeable_id, value)))
                return json_response({})
            case ["restate", "awakeables", awakeable_id, "reject"]:
                _expect(request, "POST")
                reason = await read_reason(request, self._limit)
                await asyncio.shield(asyncio.ensure_future(self._engine.settle_awakeable(awakeable_id, None, reason)))
                return json_response({})
            case [service, method] | [service, method, "send" | "event"] if service and method and service != "restate":
                if self._builtins.resolve(service, method) is not None:
                    raise CallError(f"the built-in method {service}/{method} has neither /send nor /event", Code.NOT_FOUND)
                await find_method(self._engine, service, method)
                if self._revision != self._engine.registry.revision:
                    return await self._answer(request)  # it has just come
            case ["restate", "call" | "send" as form, *_]:
                raise CallError(
                    f"nothing is served at '{request.path[:200]}': call by name with POST /restate/{form}/SERVICE/METHOD, or where there "
                    f"is a key /restate/{form}/SERVICE/KEY/METHOD, with each slash in the key as %2F",
                    Code.NOT_FOUND,
                )
        raise CallError(
            f"nothing is served at '{request.path[:200]}': call a method with POST /SERVICE/METHOD, or in the background with .../send",
            Code.NOT_FOUND,
        )

    async def _by_name(self, request: web.BaseRequest, form: Form, service: str, key: str | None, method: str) -> web.Response:
        _expect(request, "POST")
        builtin = self._builtins.resolve(service, method)
        if builtin is None:
            found = await find_method(self._engine, service, method)
            return await self._calls.answer(request, Address(found, form, by_name=True, key=key))
        if key is not None or form is not Form.CALL:
            raise CallError(f"the built-in method {service}/{method} takes no key, and is only called", Code.INVALID_ARGUMENT)
        return await self._call_builtin(request, builtin, by_name=True)

    async def _attach(self, request: web.BaseRequest, invocation_id: str) -> web.Response:
        headers, encode = await self._decoder(request, invocation_id)
        result = self._engine.attach(invocation_id)
        try:
            return await answer(encode, result, timeout_of(request.headers), headers)
        finally:
            result.cancel()  # nobody waits for it any more

    async def _output(self, request: web.BaseRequest, invocation_id: str) -> web.Response:
        headers, encode = await self._decoder(request, invocation_id)
        try:
            payload = await settled(self._engine.output(invocation_id))
        except TerminalError as error:
            return error_response(error.message, error.code, headers=headers, source="invocation")
        if payload is None:
            status = await settled(self._engine.status(invocation_id))
            message = f"the invocation {invocation_id} has no result yet: it is {status}"
            return error_response(message, Code.UNAVAILABLE, status=_NOT_READY, headers=headers)
        return encode(payload)

    async def _decoder(self, request: web.BaseRequest, invocation_id: str) -> tuple[dict[str, str], Callable[[bytes], web.Response]]:
        service, method = await settled(self._engine.method_of(invocation_id))
        headers = {INVOCATION_ID: invocation_id, METHOD: f"{service}/{method}"}
        if PROTO in request.headers.get("Accept", ""):
            return headers, lambda payload: web.Response(body=payload, content_type=PROTO, headers=headers)
        try:
            found = await find_method(self._engine, service, method)
        except TerminalError:  # nothing hosts it any longer, or not yet: its invocations are there all the same
            found = imported_method(service, method)
        return headers, encoder(found, JSON, headers)


def _wrong_verb(request: web.BaseRequest, allowed: str) -> CallError:
    return CallError(
        f"{request.method} is not allowed at '{request.path[:200]}': use {allowed}",
        Code.UNIMPLEMENTED,
        status=405,
        headers={"Allow": allowed},
    )


def _expect(request: web.BaseRequest, verb: str) -> None:
    if request.method != verb:
        raise _wrong_verb(request, verb)
