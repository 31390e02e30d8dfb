"""The services that every engine serves beside the ones that it hosts: `dev.restate.Ingress` and `dev.restate.Awakeables`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message

from dev.restate.services_pb2 import InvokeRequest, InvokeResponse, RejectAwakeableRequest, ResolveAwakeableRequest
from dev.restate.services_restate import AWAKEABLES, INGRESS

from ..descriptors import MethodDescriptor
from ..errors import Code, TerminalError
from ..handler.client import OutgoingCall
from ..serde import RAW, Value, encode
from ..transcode import from_json
from .protocol import Engine, find_method, settled
from .registry import HostedMethod

__all__ = ["BuiltinCall", "BuiltinMethod", "Builtins"]

DEFAULT_REASON = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinCall:
    """What a caller gives beside the request.

    Attributes:
        idempotency_key: for the invocation that `Ingress/Invoke` starts.
        headers: for its handler.
        retention_s: how long its result answers repeats of the key.
    """

    idempotency_key: str | None = None
    headers: Mapping[str, str] | None = None
    retention_s: float | None = None


@dataclass(frozen=True, slots=True)
class BuiltinMethod:
    """One rpc of a built-in service."""

    descriptor: MethodDescriptor[Any, Any]
    run: Callable[[Engine, Any, BuiltinCall], Awaitable[Message]]

    def parse(self, payload: bytes) -> Message:
        """The request message.

        Raises:
            TerminalError: INVALID_ARGUMENT, the bytes are no such message.
        """
        try:
            message: Message = self.descriptor.request.FromString(payload)
        except DecodeError as error:
            raise TerminalError(f"{self.descriptor.full_name}: the request is malformed: {error}", Code.INVALID_ARGUMENT) from None
        return message


class Builtins:
    """All built-in methods, by service and name."""

    def __init__(self) -> None:
        self.methods = {
            (method.service_name, method.name): BuiltinMethod(method, run)
            for method, run in (
                (INGRESS.method("Invoke"), _invoke),
                (AWAKEABLES.method("Resolve"), _resolve),
                (AWAKEABLES.method("Reject"), _reject),
            )
        }
        self._services = frozenset(service for service, _ in self.methods)

    def resolve(self, service: str, method: str) -> BuiltinMethod | None:
        """The method of that name; `None` where it is no built-in one.

        Raises:
            TerminalError: NOT_FOUND, the service is built in and has no such method.
        """
        if service not in self._services:
            return None
        found = self.methods.get((service, method))
        if found is None:
            raise TerminalError(f"the service '{service}' has no method '{method}'", Code.NOT_FOUND)
        return found

    async def call(self, engine: Engine, method: BuiltinMethod, message: Message, given: BuiltinCall | None = None) -> Message:
        """Performs a call and returns the response once what it did is on disk.

        Args:
            engine: where it is performed.
            method: what `resolve` gave.
            message: the request.
            given: what the caller gave beside it.

        Raises:
            TerminalError: the call was refused.
            ConnectionError: the engine is stopping.
        """
        return await method.run(engine, message, given or BuiltinCall())

    async def call_bytes(self, engine: Engine, method: BuiltinMethod, call: OutgoingCall) -> bytes:
        """`call`, binary in and binary out."""
        given = BuiltinCall(idempotency_key=call.idempotency_key, headers=call.headers, retention_s=call.retention_s)
        return (await self.call(engine, method, method.parse(call.payload), given)).SerializeToString()


async def _invoke(engine: Engine, request: InvokeRequest, given: BuiltinCall) -> Message:
    method = await find_method(engine, request.service, request.method)
    method.check_public()
    call = _carrying(method, request)
    call.idempotency_key = given.idempotency_key
    call.headers = given.headers
    call.retention_s = given.retention_s
    submission = await settled(engine.submit(call, background=True))
    await submission.on_disk
    return InvokeResponse(id=submission.invocation_id)


def _carrying(method: HostedMethod, request: InvokeRequest) -> OutgoingCall:
    in_json = request.WhichOneof("body") == "json"
    body = json.dumps(_json_of(request.json, "argument")).encode() if in_json else None
    if method.descriptor is None:
        return OutgoingCall(service=method.service, method=method.name, key=None, payload=request.pb if body is None else body)
    return method.outgoing(method.parse(request.pb) if body is None else from_json(body, method.descriptor.request_codec.wire))


async def _resolve(engine: Engine, request: ResolveAwakeableRequest, given: BuiltinCall) -> Message:
    match request.WhichOneof("result"):
        case "json_result":
            value = encode(_whole(_json_of(request.json_result, "json_result")))
        case "bytes_result":
            value = Value(RAW, request.bytes_result)
        case _:
            raise TerminalError("no result is given: set json_result or bytes_result", Code.INVALID_ARGUMENT)
    await engine.settle_awakeable(_id(request.id), value)
    return Empty()


async def _reject(engine: Engine, request: RejectAwakeableRequest, given: BuiltinCall) -> Message:
    await engine.settle_awakeable(_id(request.id), None, request.reason or DEFAULT_REASON)
    return Empty()


def _json_of(message: Message, field: str) -> Any:
    try:
        return json_format.MessageToDict(message)
    except (json_format.SerializeToJsonError, ValueError):
        raise TerminalError(f"{field}: JSON has neither NaN nor infinity", Code.INVALID_ARGUMENT) from None


def _whole(value: Any) -> Any:
    """JSON's numbers are doubles in `google.protobuf.Value`: whole ones are whole numbers again."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(item) for name, item in value.items()}
        case list():
            return [_whole(item) for item in value]
        case _:
            return value


def _id(text: str) -> str:
    if not text:
        raise TerminalError("the awakeable's id is empty", Code.INVALID_ARGUMENT)
    return text
