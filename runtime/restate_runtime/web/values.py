"""Awakeable settlements as HTTP requests carry them, at the ingress and at the admin API."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ..errors import Code
from ..serde import RAW, SerdeError, Value, check, storable
from .errors import CallError
from .server import read_body

__all__ = ["VALUE_TAG", "media_type", "read_reason", "read_value"]

VALUE_TAG = "x-restate-value-tag"
"""Request header: what the bytes of an `application/octet-stream` body are (`message:tour.v1.Ticket`, `serde:NAME`, `json`, `bytes`)."""

DEFAULT_REASON = "rejected"


def media_type(request: web.BaseRequest) -> str:
    """The content type without its parameters, in lower case; empty where there is none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def read_value(request: web.BaseRequest, limit: int) -> Value:
    """The value that an awakeable shall get.

    JSON is taken as it is. `application/octet-stream` takes bytes whose kind the header `x-restate-value-tag` says; without the header
    the handler reads them as the type that it asked for.

    Raises:
        CallError: the value is no JSON, no such message, or too large; 415 for any other content type.
    """
    match media_type(request):
        case "application/json":
            return json_value(await read_body(request, limit))
        case "application/octet-stream":
            tag = request.headers.get(VALUE_TAG, RAW)
            return _tagged(tag, await read_body(request, limit))
        case other:
            raise CallError(
                f"content-type '{other}' is not supported: send application/json, or application/octet-stream with {VALUE_TAG}",
                Code.INVALID_ARGUMENT,
                status=415,
            )


def json_value(text: bytes) -> Value:
    """JSON text as a value, without the white space in it.

    Raises:
        CallError: it is no JSON.
    """
    try:
        text.decode()
        msgspec.json.decode(text)  # numbers that are none for whoever reads it, too
        return Value("json", msgspec.json.format(text, indent=-1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError(f"the body is no JSON: {error}", Code.INVALID_ARGUMENT) from None


def _tagged(tag: str, data: bytes) -> Value:
    if storable(tag) != tag:
        raise CallError(f"the header {VALUE_TAG} is not UTF-8", Code.INVALID_ARGUMENT)
    if tag == "json":
        return json_value(data)
    kind, _, name = tag.partition(":")
    if tag != RAW and (kind not in ("message", "serde") or not name or storable(tag) != tag):
        raise CallError(f"{VALUE_TAG} '{tag}' is unknown: write message:FULL.NAME, serde:NAME, json or {RAW}", Code.INVALID_ARGUMENT)
    value = Value(tag, data)
    try:
        check(value)
    except SerdeError as error:
        raise CallError(f"the body is not what {VALUE_TAG} says: {error}", Code.INVALID_ARGUMENT) from None
    return value


async def read_reason(request: web.BaseRequest, limit: int) -> str:
    """The reason for a rejection: plain text, or JSON's `{"reason": ...}`.

    Raises:
        CallError: the body is neither.
    """
    kind = media_type(request)
    body = await read_body(request, limit)
    if not body:
        return DEFAULT_REASON
    try:
        match kind:
            case "text/plain":
                return body.decode()
            case "application/json":
                return msgspec.json.decode(body, type=_Rejection).reason
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallError(f"the body gives no reason: {error}", Code.INVALID_ARGUMENT) from None
    raise CallError(f"content-type '{kind}' is not supported: send text/plain or application/json", Code.INVALID_ARGUMENT, status=415)


class _Rejection(msgspec.Struct):
    reason: str
