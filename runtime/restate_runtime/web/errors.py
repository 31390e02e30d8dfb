"""Outcomes as HTTP: status and JSON of the Connect protocol, in both directions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from ..errors import Code, TerminalError
from ..serde import storable

__all__ = ["ERROR_SOURCE", "CallError", "error_response", "json_response", "read_error"]

ERROR_SOURCE = "x-restate-error-source"
"""Response header of an error: `invocation` for an outcome, `ingress` for what happened on the way."""

_STATUS = {
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
_NAMES = {code: "canceled" if code is Code.CANCELLED else code.name.lower() for code in Code}  # Connect spells it with one l
_CODES = {name: code for code, name in _NAMES.items()}
_JSON = "application/json"


class CallError(Exception):
    """A request that does not become a call, with the HTTP status where it is not the code's own."""

    def __init__(self, message: str, code: Code, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.headers = headers


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A value as a JSON response."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=_JSON, headers=headers)


def error_response(
    message: str, code: Code, *, status: int | None = None, headers: Mapping[str, str] | None = None, source: str = "ingress"
) -> web.Response:
    """An error as Connect's JSON."""
    body = {"code": _NAMES[code], "message": storable(message)}  # it may quote what a client sent
    return json_response(body, status or _STATUS[code], {ERROR_SOURCE: source, **(headers or {})})


def read_error(status: int, headers: Mapping[str, str], body: bytes, where: str) -> Exception:
    """The exception that an error response stands for, at a client.

    Args:
        status: HTTP status.
        headers: the response's headers.
        body: its body.
        where: the server's address, for messages.

    Returns:
        `TerminalError` for an outcome or a refusal, `TimeoutError` where the wait was bounded, `ConnectionError` for everything that is
        no answer of a runtime.
    """
    try:
        error = msgspec.json.decode(body)
        message, code = str(error["message"]), _CODES[error["code"]]
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
        return ConnectionError(f"{where} answered {status}, but not as a runtime does: is it an ingress?")
    if headers.get(ERROR_SOURCE) != "invocation":
        if code is Code.UNAVAILABLE:
            return ConnectionError(f"{where}: {message}")
        if code is Code.DEADLINE_EXCEEDED:
            return TimeoutError(message)
    if code is Code.OK:
        return ConnectionError(f"{where} answered an error without a code: {message}")
    return TerminalError(message, code)
