"""The HTTP ingress: unary calls of the Connect protocol, background calls, results, awakeables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from google.protobuf.message import Message

from ..durations import parse_duration
from ..engine.builtin import BuiltinCall, BuiltinMethod, Builtins
from ..engine.protocol import Engine, Submission
from ..engine.registry import BoundMethod
from ..errors import Code, TerminalError
from ..handler.client import OutgoingCall, delay_milliseconds
from ..transcode import from_json, to_json
from ..web.errors import CallError, error_response, json_response
from ..web.order import ORDER, Turns
from ..web.server import Server, listen, path_parts, read_body
from ..web.values import media_type, read_reason, read_value
from .headers import forwarded, idempotency_key_of, retention_of, timeout_of

__all__ = ["start_ingress"]

T = TypeVar("T")

INVOCATION_ID = "x-restate-id"
METHOD = "x-restate-method"
"""Response header of attach and output: SERVICE/METHOD, so that a caller who knows the id only can decode the result."""

_JSON = "application/json"
_PROTO = "application/proto"
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


@dataclass(frozen=True, slots=True)
class _Route:
    """What a path stands for, resolved once."""

    method: BoundMethod | BuiltinMethod
    background: bool


class _Ingress:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit = engine.options.max_message_size
        self._builtins = Builtins()
        self._turns = Turns()
        self._routes: dict[str, _Route] = {}
        for builtin in self._builtins.methods.values():
            self._routes[f"/{builtin.descriptor.full_name}"] = _Route(builtin, background=False)
        for service in engine.registry.services.values():
            for bound in service.methods.values():
                self._routes[f"/{bound.descriptor.full_name}"] = _Route(bound, background=False)
                self._routes[f"/{bound.descriptor.full_name}/send"] = _Route(bound, background=True)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        route = self._routes.get(request.raw_path)
        if route is None:
            route = self._routes.get(request.path)
            if route is None:
                return await self._other(request)
        if request.method != "POST":
            raise _wrong_verb(request, "POST")
        if isinstance(route.method, BuiltinMethod):
            return await self._call_builtin(request, route.method)
        if route.background:
            return await self._send(request, route.method)
        return await self._call(request, route.method)

    # Calls

    async def _call(self, request: web.BaseRequest, bound: BoundMethod) -> web.Response:
        if "?" in request.raw_path:
            _check_query(request, ())
        kind = _content_type(request)
        timeout_s = timeout_of(request.headers)
        submission = await self._submit(request, bound, kind, background=False)
        headers = {INVOCATION_ID: submission.invocation_id}
        assert submission.result is not None
        return await _answer(lambda payload: _encoded(payload, bound, kind, headers), submission.result, timeout_s, headers)

    async def _send(self, request: web.BaseRequest, bound: BoundMethod) -> web.Response:
        delay_ms = 0
        if "?" in request.raw_path:
            _check_query(request, ("delay",))
            delay_ms = _delay(request)
        kind = _content_type(request)
        timeout_s = timeout_of(request.headers)
        submission = await self._submit(request, bound, kind, background=True, delay_ms=delay_ms)
        await _wait(submission.on_disk, timeout_s)
        return json_response({"invocationId": submission.invocation_id}, 202, {INVOCATION_ID: submission.invocation_id})

    async def _submit(self, request: web.BaseRequest, bound: BoundMethod, kind: str, *, background: bool, delay_ms: int = 0) -> Submission:
        order = request.headers.get(ORDER)
        if order is None:
            call, retention_s = await self._outgoing(request, bound, kind, delay_ms)
            return self._engine.submit(call, background=background, retention_s=retention_s)
        async with self._turns.turn(order) as turn:
            call, retention_s = await self._outgoing(request, bound, kind, delay_ms)
            await turn.wait()
            return self._engine.submit(call, background=background, retention_s=retention_s)

    async def _outgoing(self, request: web.BaseRequest, bound: BoundMethod, kind: str, delay_ms: int) -> tuple[OutgoingCall, float | None]:
        headers = request.headers
        idempotency_key = idempotency_key_of(headers)
        body = await read_body(request, self._limit)
        call = bound.outgoing(_message(body, kind, bound))
        call.idempotency_key = idempotency_key
        call.headers = forwarded(headers)
        call.delay_ms = delay_ms
        return call, retention_of(headers)

    async def _call_builtin(self, request: web.BaseRequest, method: BuiltinMethod) -> web.Response:
        kind = _content_type(request)
        timeout_s = timeout_of(request.headers)
        body = await read_body(request, self._limit)
        message = _message(body, kind, method)
        given = BuiltinCall(
            idempotency_key=idempotency_key_of(request.headers),
            headers=forwarded(request.headers),
            retention_s=retention_of(request.headers),
        )
        # A task, so that a client that goes away does not interrupt it half-way.
        answer = asyncio.ensure_future(self._builtins.call(self._engine, method, message, given))
        response = await _wait(answer, timeout_s)
        return web.Response(body=to_json(response) if kind == _JSON else response.SerializeToString(), content_type=kind)

    # Everything else

    async def _other(self, request: web.BaseRequest) -> web.Response:
        match path_parts(request):
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
                return json_response({"status": self._engine.status(invocation_id)}, headers={INVOCATION_ID: invocation_id})
            case ["restate", "invocation", invocation_id, "kill"]:  # whoever holds the id may: it cannot be guessed
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
            case [service, method] | [service, method, "send"] if service and method and service != "restate":
                if self._builtins.resolve(service, method) is not None:
                    raise CallError(f"the built-in method {service}/{method} has no /send", Code.NOT_FOUND)
                self._engine.registry.resolve(service, method)
        raise CallError(
            f"nothing is served at '{request.path[:200]}': call a method with POST /SERVICE/METHOD, or in the background with .../send",
            Code.NOT_FOUND,
        )

    async def _attach(self, request: web.BaseRequest, invocation_id: str) -> web.Response:
        headers, encode = self._decoder(request, invocation_id)
        return await _answer(encode, self._engine.attach(invocation_id), timeout_of(request.headers), headers)

    async def _output(self, request: web.BaseRequest, invocation_id: str) -> web.Response:
        headers, encode = self._decoder(request, invocation_id)
        try:
            payload = self._engine.output(invocation_id)
        except TerminalError as error:
            return error_response(error.message, error.code, headers=headers, source="invocation")
        if payload is None:
            status = self._engine.status(invocation_id)
            message = f"the invocation {invocation_id} has no result yet: it is {status}"
            return error_response(message, Code.UNAVAILABLE, status=_NOT_READY, headers=headers)
        return encode(payload)

    def _decoder(self, request: web.BaseRequest, invocation_id: str) -> tuple[dict[str, str], Callable[[bytes], web.Response]]:
        service, method = self._engine.method_of(invocation_id)
        headers = {INVOCATION_ID: invocation_id, METHOD: f"{service}/{method}"}
        if _PROTO in request.headers.get("Accept", ""):
            return headers, lambda payload: web.Response(body=payload, content_type=_PROTO, headers=headers)
        bound = self._engine.registry.resolve(service, method)
        return headers, lambda payload: _encoded(payload, bound, _JSON, headers)


async def _wait(future: asyncio.Future[T], timeout_s: float | None) -> T:
    """The future's result; the future goes on when its client has gone or the time is over."""
    if timeout_s is None:
        return await asyncio.shield(future)
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(future)
    except TimeoutError:
        raise CallError(f"no result within {round(timeout_s * 1000)} ms; the invocation goes on", Code.DEADLINE_EXCEEDED) from None


async def _answer(
    encode: Callable[[bytes], web.Response], result: asyncio.Future[bytes], timeout_s: float | None, headers: Mapping[str, str]
) -> web.Response:
    try:
        return encode(await _wait(result, timeout_s))
    except TerminalError as error:
        return error_response(error.message, error.code, headers=headers, source="invocation")
    except CallError as error:
        error.headers = headers
        raise
    except ConnectionError as error:
        return error_response(str(error) or "the runtime is stopping", Code.UNAVAILABLE, headers=headers)


def _encoded(payload: bytes, bound: BoundMethod, kind: str, headers: Mapping[str, str]) -> web.Response:
    if kind == _JSON:
        payload = to_json(bound.descriptor.response_codec.wire.FromString(payload))
    return web.Response(body=payload, content_type=kind, headers=headers)


def _message(body: bytes, kind: str, method: BoundMethod | BuiltinMethod) -> Message:
    return from_json(body, method.descriptor.request_codec.wire) if kind == _JSON else method.parse(body)


def _content_type(request: web.BaseRequest) -> str:
    kind = request.headers.get("Content-Type", "")
    if kind in (_PROTO, _JSON):
        return kind
    kind = media_type(request)
    if kind in (_PROTO, _JSON):
        return kind
    given = f"content-type '{kind[:100]}' is not supported" if kind else "the content-type is missing"
    raise CallError(f"{given}: send {_JSON} or {_PROTO}", Code.INVALID_ARGUMENT, status=415, headers={"Accept-Post": f"{_JSON}, {_PROTO}"})


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


def _check_query(request: web.BaseRequest, known: tuple[str, ...]) -> None:
    for name in request.query:
        if name not in known:
            hint = "a delay needs /SERVICE/METHOD/send" if name == "delay" else f"known is {known[0]}" if known else "a call takes none"
            raise CallError(f"unknown query parameter '{name}': {hint}", Code.INVALID_ARGUMENT)


def _delay(request: web.BaseRequest) -> int:
    text = request.query.get("delay")
    if text is None:
        return 0
    try:
        return delay_milliseconds(parse_duration(text), "delay")
    except ValueError as error:
        raise CallError(f"delay: {error}", Code.INVALID_ARGUMENT) from None
