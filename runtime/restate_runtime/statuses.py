"""The status codes of gRPC as the numbers that Restate's failures carry, and back.

A failure of Restate has a number, which its ingress answers as HTTP status, a message, and from version 6 of its protocol on metadata.
Each status code has a number of its own here, so that it survives where the metadata does not; the metadata settles it where it is
there, since Restate itself and services written with its SDKs use the same numbers in their own sense.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import Code

__all__ = ["METADATA", "code_of", "metadata_of", "status_of"]

METADATA = "restate-runtime-code"
"""Key of the metadata that holds the name of the status code."""

_STATUS: Mapping[Code, int] = {
    Code.CANCELLED: 499,
    Code.UNKNOWN: 520,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412,
    Code.ABORTED: 423,
    Code.OUT_OF_RANGE: 416,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 521,
    Code.UNAUTHENTICATED: 401,
}
_CODES = {status: code for code, status in _STATUS.items()}
_CONFLICT = 409
_OWN_CONFLICTS = {"killed": Code.ABORTED, "cancelled": Code.CANCELLED, "canceled": Code.CANCELLED}
"""Failures of Restate and its SDKs with the number of ALREADY_EXISTS; TypeScript's has a capital letter."""


def status_of(code: Code) -> int:
    """The number of a code: where HTTP has a status of that meaning, that one."""
    return _STATUS[code]


def metadata_of(code: Code) -> dict[str, str]:
    """The metadata that settles the code."""
    return {METADATA: code.name}


def code_of(status: int, message: str, metadata: Mapping[str, str] | None) -> Code:
    """The code of a failure, whoever raised it."""
    name = (metadata or {}).get(METADATA, "")
    if name in Code.__members__ and name != Code.OK.name:
        return Code[name]
    if status == _CONFLICT and message.lower() in _OWN_CONFLICTS:
        return _OWN_CONFLICTS[message.lower()]
    if status in _CODES:
        return _CODES[status]
    return Code.INVALID_ARGUMENT if 400 <= status < 500 else Code.INTERNAL
