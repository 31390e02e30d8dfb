"""The ingress' HTTP as its clients speak it, whichever library carries it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.empty_pb2 import Empty

from ..descriptors import find_service
from ..errors import Code, TerminalError
from ..handler.client import RETENTION, OutgoingCall
from ..urls import split_url

__all__ = [
    "BYTES",
    "CONNECT_TIMEOUT_S",
    "PROTO",
    "accepted_id",
    "call_path",
    "check_url",
    "decoder_of",
    "headers_of",
    "path",
    "path_part",
    "status_of",
]

PROTO = "application/proto"
BYTES = "application/octet-stream"
"""What a call by name carries, unless it says otherwise in a header."""
CONNECT_TIMEOUT_S = 10
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_LONGEST_HEADER = 7_500  # servers take some 8 kB for a header with its name, and for a path
_RESERVED = ("accept", "connect-", "content-", "idempotency-", "proxy-", "sec-", "x-restate-")
_RESERVED_NAMES = frozenset(
    {"connection", "cookie", "expect", "host", "keep-alive", "origin", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)


class _Accepted(msgspec.Struct):
    invocation_id: str = msgspec.field(name="invocationId")


class _Status(msgspec.Struct):
    status: str


def check_url(url: str) -> str:
    """The ingress' address without a slash at its end.

    Raises:
        TypeError: it is no text.
        ValueError: it is none of http or https.
    """
    if not isinstance(url, str):
        raise TypeError(f"a connection takes the ingress' URL as a str such as 'http://127.0.0.1:8080', not a {type(url).__name__}")
    parts = split_url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"'{url}' is no ingress: write a URL such as http://127.0.0.1:8080")
    return url.rstrip("/")


def call_path(call: OutgoingCall, *, background: bool) -> str:
    """Where a call is posted to.

    Raises:
        TerminalError: INVALID_ARGUMENT, a key that stands there does not fit into a URL.
    """
    delay = f"?delay={call.delay_ms / 1000:.3f}" if background and call.delay_ms else ""
    if call.descriptor is not None:
        return f"/{quote(call.service)}/{quote(call.method)}" + (f"/send{delay}" if background else "")
    # By name; the runtime knows whether there is a .proto, and a key stands in the path.
    parts = (call.service, call.method) if call.key is None else (call.service, call.key, call.method)
    path = f"/restate/{'send' if background else 'call'}/{'/'.join(map(path_part, parts))}{delay}"
    if len(path) > _LONGEST_HEADER:
        raise TerminalError(f"{call.service}/{call.method}: the key is too long for a URL: {len(path)} bytes", Code.INVALID_ARGUMENT)
    return path


def path_part(text: str) -> str:
    """One part of a path. Dots alone would be taken for a way up or down."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def status_of(body: bytes) -> str:
    """The status in the answer to that question."""
    return msgspec.json.decode(body, type=_Status).status


def accepted_id(body: bytes) -> str:
    """The id in the answer to a background call."""
    return msgspec.json.decode(body, type=_Accepted).invocation_id


def path(kind: str, id: str, verb: str) -> str:
    """Where something about an invocation or an awakeable is asked."""
    return f"/restate/{kind}/{path_part(id)}/{verb}"


def headers_of(call: OutgoingCall) -> dict[str, str]:
    """The headers of a call.

    Raises:
        TerminalError: INVALID_ARGUMENT, the call has one that HTTP cannot carry.
    """
    headers = {"Content-Type": PROTO if call.descriptor is not None else BYTES}
    if call.idempotency_key is not None:
        headers["Idempotency-Key"] = _header_value("the idempotency key", call.idempotency_key)
    if call.retention_s is not None:
        headers[RETENTION] = f"{call.retention_s:.3f}"
    for name, value in (call.headers or {}).items():
        if not _TOKEN.fullmatch(name):
            raise TerminalError(f"the header {name!r} cannot be sent over HTTP: its name is letters, digits and '-'", Code.INVALID_ARGUMENT)
        lower = name.lower()
        if lower == "content-type" and call.descriptor is None:  # what the bytes are: a service without a .proto may ask
            headers["Content-Type"] = _header_value("the header 'content-type'", value)
            continue
        if lower in _RESERVED_NAMES or lower.startswith(_RESERVED):
            raise TerminalError(f"the header '{name}' belongs to HTTP: choose another name", Code.INVALID_ARGUMENT)
        headers[name] = _header_value(f"the header '{name}'", value)
    return headers


def _header_value(what: str, value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value) or value != value.strip():
        raise TerminalError(f"{what} cannot be sent over HTTP: it has control characters, or blanks at an end", Code.INVALID_ARGUMENT)
    if len(value.encode()) > _LONGEST_HEADER:
        raise TerminalError(f"{what} cannot be sent over HTTP: it has more than {_LONGEST_HEADER} bytes", Code.INVALID_ARGUMENT)
    return value


def decoder_of(name: str) -> Callable[[bytes], Any]:
    """How the result of a method is decoded, where its module is imported; else it stays bytes."""
    service, _, method = name.partition("/")
    known = find_service(service)
    if known is not None and any(item.name == method for item in known.methods):
        descriptor = known.method(method)
        return (lambda _: None) if descriptor.empty_response else descriptor.response_codec.decode
    try:
        output = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method].output_type
    except KeyError:
        return bytes
    if output.full_name == Empty.DESCRIPTOR.full_name:
        return lambda _: None
    decode: Callable[[bytes], Any] = message_factory.GetMessageClass(output).FromString
    return decode
