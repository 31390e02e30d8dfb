"""Calls of hosted methods over HTTP: awaited, in the background, and events; JSON, protobuf, and bytes as they are."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from google.protobuf.message import Message

from ..durations import parse_duration
from ..engine.builtin import BuiltinMethod
from ..engine.protocol import Engine, Submission
from ..engine.registry import HostedMethod
from ..errors import Code, TerminalError
from ..handler.client import OutgoingCall, delay_milliseconds
from ..transcode import from_json, to_json
from ..web.errors import CallError, error_response, json_response
from ..web.order import ORDER, Turns
from ..web.server import read_body
from ..web.values import media_type
from .events import event_call, is_event_header
from .headers import check_utf8, forwarded, idempotency_key_of, retention_of, timeout_of

__all__ = ["INVOCATION_ID", "JSON", "PROTO", "Address", "Calls", "Form", "answer", "content_type", "encoder", "message_of", "wait"]

T = TypeVar("T")

INVOCATION_ID = "x-restate-id"
JSON = "application/json"
PROTO = "application/proto"
_BYTES = "application/octet-stream"


class Form(enum.Enum):
    """What a request wants of a method."""

    CALL = "call"
    """Its response."""
    SEND = "send"
    """A background call."""
    EVENT = "event"
    """A background call whose input is an event."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a path stands for.

    Attributes:
        method: who is called.
        form: how.
        by_name: the path is Restate's, `/restate/call/SERVICE/KEY/METHOD`: a key stands in it, and bytes are taken as well.
        key: that key.
    """

    method: HostedMethod
    form: Form
    by_name: bool = False
    key: str | None = None


class Calls:
    """Makes the calls that requests ask for.

    Args:
        engine: takes them.
        turns: in which order it gets those of a connection.
    """

    def __init__(self, engine: Engine, turns: Turns) -> None:
        self._engine = engine
        self._limit = engine.options.max_message_size
        self._turns = turns

    async def answer(self, request: web.BaseRequest, address: Address) -> web.Response:
        """The response to a request.

        Raises:
            TerminalError: the call was refused.
            CallError: the request is none.
        """
        address.method.check_public()
        if address.form is Form.CALL:
            return await self._call(request, address)
        return await self._send(request, address)

    async def _call(self, request: web.BaseRequest, address: Address) -> web.Response:
        if "?" in request.raw_path:
            _check_query(request, ())
        kind = _kind(request, address)
        timeout_s = timeout_of(request.headers)
        submission = await self._submit(request, address, kind, timeout_s, background=False)
        headers = {INVOCATION_ID: submission.invocation_id}
        result = submission.result
        assert result is not None
        try:
            if submission.attached:
                await wait(submission.on_disk, timeout_s)  # where the repeat is refused, that is no outcome of the invocation
            return await answer(encoder(address.method, kind, headers), result, timeout_s, headers)
        finally:
            result.cancel()  # whether it has come or not, nobody waits for it any more

    async def _send(self, request: web.BaseRequest, address: Address) -> web.Response:
        delay_ms = 0
        if "?" in request.raw_path:
            _check_query(request, ("delay",) if address.form is Form.SEND else ())
            delay_ms = _delay(request)
        kind = _kind(request, address)
        timeout_s = timeout_of(request.headers)
        submission = await self._submit(request, address, kind, timeout_s, background=True, delay_ms=delay_ms)
        await wait(submission.on_disk, timeout_s)
        accepted = {"invocationId": submission.invocation_id}
        if address.by_name:
            accepted["status"] = "PreviouslyAccepted" if submission.attached else "Accepted"
        return json_response(accepted, 202, {INVOCATION_ID: submission.invocation_id})

    async def _submit(
        self, request: web.BaseRequest, address: Address, kind: str, timeout_s: float | None, *, background: bool, delay_ms: int = 0
    ) -> Submission:
        with self._turns.turn(request.headers.get(ORDER)) as turn:
            call = await self._outgoing(request, address, kind, delay_ms)
            await turn.wait()
            taken = self._engine.submit(call, background=background)
        return await wait(taken, timeout_s) if isinstance(taken, asyncio.Future) else taken

    async def _outgoing(self, request: web.BaseRequest, address: Address, kind: str, delay_ms: int) -> OutgoingCall:
        headers = request.headers
        idempotency_key = idempotency_key_of(headers)
        body = await read_body(request, self._limit)
        call = self._carrying(request, address, kind, body)
        call.idempotency_key = idempotency_key
        call.delay_ms = delay_ms
        call.retention_s = retention_of(headers)
        return call

    def _carrying(self, request: web.BaseRequest, address: Address, kind: str, body: bytes) -> OutgoingCall:
        """The call with its request, its key and its headers."""
        method = address.method
        headers = forwarded(request.headers)
        if address.form is Form.EVENT:
            call = event_call(method, body, request.headers)
            rest = {name: value for name, value in (headers or {}).items() if not is_event_header(name)}
            call.headers = rest or None
            return call
        if method.descriptor is None:
            call = OutgoingCall(service=method.service, method=method.name, key=address.key, payload=body)
            given = request.headers.get("Content-Type")
            if given is not None:
                check_utf8("content-type", given)
                headers = {**(headers or {}), "content-type": given}
            call.headers = headers
            return call
        message = message_of(body, kind, method)
        if address.key is not None:
            method.take_key(message, address.key)
        call = method.outgoing(message)
        call.headers = headers
        return call


async def wait(future: asyncio.Future[T], timeout_s: float | None) -> T:
    """The future's result; the future goes on when its client has gone or the time is over."""
    if timeout_s is None:
        return await asyncio.shield(future)
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(future)
    except TimeoutError:
        raise CallError(f"no result within {round(timeout_s * 1000)} ms; the invocation goes on", Code.DEADLINE_EXCEEDED) from None


async def answer(
    encode: Callable[[bytes], web.Response], result: asyncio.Future[bytes], timeout_s: float | None, headers: Mapping[str, str]
) -> web.Response:
    """The response that carries an invocation's outcome, once there is one."""
    try:
        return encode(await wait(result, timeout_s))
    except TerminalError as error:
        return error_response(error.message, error.code, headers=headers, source="invocation")
    except CallError as error:
        error.headers = headers
        raise
    except ConnectionError as error:
        return error_response(str(error) or "the runtime is stopping", Code.UNAVAILABLE, headers=headers)


def encoder(method: HostedMethod, kind: str, headers: Mapping[str, str]) -> Callable[[bytes], web.Response]:
    """What makes a response of that content type out of a result; a service without a .proto has its own."""
    if method.descriptor is None:
        typed = {**headers, "content-type": method.content_type}  # with its parameters, where it has any
        return lambda payload: web.Response(body=payload, headers=typed)
    if kind != JSON:
        return lambda payload: web.Response(body=payload, content_type=kind, headers=headers)
    wire = method.descriptor.response_codec.wire
    return lambda payload: web.Response(body=to_json(wire.FromString(payload)), content_type=JSON, headers=headers)


def message_of(body: bytes, kind: str, method: HostedMethod | BuiltinMethod) -> Message:
    """The request message in a body.

    Raises:
        TerminalError: INVALID_ARGUMENT, it is none; with the path of the field that does not fit where the body is JSON.
    """
    if kind != JSON:
        return method.parse(body)
    assert method.descriptor is not None
    return from_json(body, method.descriptor.request_codec.wire)


def _kind(request: web.BaseRequest, address: Address) -> str:
    """The content type that a call is made with; an event and a service without a .proto take any."""
    if address.form is Form.EVENT or address.method.descriptor is None:
        return _BYTES
    return content_type(request, bytes_too=address.by_name)


def content_type(request: web.BaseRequest, *, bytes_too: bool = False) -> str:
    """JSON or protobuf.

    Args:
        request: the request.
        bytes_too: binary protobuf may also come as what has no name, or another one's.

    Raises:
        CallError: 415, it is neither.
    """
    kind = request.headers.get("Content-Type", "")
    if kind in (PROTO, JSON):
        return kind
    kind = media_type(request)
    if kind in (PROTO, JSON):
        return kind
    if bytes_too and kind in ("", _BYTES):
        return _BYTES
    given = f"content-type '{kind[:100]}' is not supported" if kind else "the content-type is missing"
    raise CallError(f"{given}: send {JSON} or {PROTO}", Code.INVALID_ARGUMENT, status=415, headers={"Accept-Post": f"{JSON}, {PROTO}"})


def _check_query(request: web.BaseRequest, known: tuple[str, ...]) -> None:
    for name in request.query:
        if name not in known:
            hint = "a delay needs .../send" if name == "delay" else f"known is {known[0]}" if known else "there are none"
            raise CallError(f"unknown query parameter '{name}': {hint}", Code.INVALID_ARGUMENT)
        if len(request.query.getall(name)) > 1:
            raise CallError(f"the query parameter '{name}' stands there more than once", Code.INVALID_ARGUMENT)


def _delay(request: web.BaseRequest) -> int:
    text = request.query.get("delay")
    if text is None:
        return 0
    try:
        return delay_milliseconds(parse_duration(text), "delay")
    except ValueError as error:
        raise CallError(f"delay: {error}", Code.INVALID_ARGUMENT) from None
