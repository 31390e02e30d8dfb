"""Events as an event source posts them: a raw body, a key, and attributes in headers."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError
from multidict import CIMultiDictProxy

from ..descriptors import ServiceKind
from ..engine.registry import HostedMethod
from ..errors import Code, TerminalError
from ..handler.client import OutgoingCall

__all__ = ["event_call", "is_event_header"]

_KEY = "key"
_ATTRIBUTE = "attribute-"
# The shipped message carries the key twice: as the string that a KEYED service orders by, and as the source has it.
_EVENT = "dev.restate.Event"


def is_event_header(name: str) -> bool:
    """Whether a header, in lower case, is a part of the event."""
    return name == _KEY or name.startswith(_ATTRIBUTE)


def event_call(method: HostedMethod, body: bytes, headers: CIMultiDictProxy[str]) -> OutgoingCall:
    """The call that an event becomes.

    Args:
        method: who handles it.
        body: the payload.
        headers: of the request, in UTF-8; `key` and `attribute-*` belong to the event.

    Raises:
        TerminalError: FAILED_PRECONDITION, the method takes no events; INVALID_ARGUMENT, the event does not fit its input.
    """
    descriptor = method.descriptor
    if descriptor is None or descriptor.event_payload_field is None:
        taken = "it has no .proto here" if descriptor is None else f"{descriptor.request_codec.full_name} has no EVENT_PAYLOAD field"
        raise TerminalError(f"{method.full_name} takes no events: {taken}", Code.FAILED_PRECONDITION)
    message: Any = descriptor.request_codec.wire()
    key = _key(method, headers)
    if key is not None:
        if descriptor.key_field is not None:
            setattr(message, descriptor.key_field, key)
        if descriptor.request_codec.full_name == _EVENT:
            message.ordering_key = key
            message.key = key.encode()
    setattr(message, descriptor.event_payload_field, _payload(method, message.DESCRIPTOR, descriptor.event_payload_field, body))
    if descriptor.event_metadata_field is not None:
        getattr(message, descriptor.event_metadata_field).update(_attributes(headers))
    try:
        return method.outgoing(message)
    except EncodeError as error:  # proto2: a required field that no event fills
        raise TerminalError(f"{method.full_name} takes no events: {error}", Code.FAILED_PRECONDITION) from None


def _key(method: HostedMethod, headers: CIMultiDictProxy[str]) -> str | None:
    keys = headers.getall(_KEY, [])
    if len(keys) > 1:
        raise TerminalError("the header key stands more than once", Code.INVALID_ARGUMENT)
    if method.kind is ServiceKind.KEYED and not any(keys):
        raise TerminalError(f"{method.full_name}: the event has no key: send it in the header key", Code.INVALID_ARGUMENT)
    return keys[0] if keys else None


def _payload(method: HostedMethod, message: Any, name: str, body: bytes) -> str | bytes:
    if message.fields_by_name[name].type == FieldDescriptor.TYPE_BYTES:
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise TerminalError(
            f"{method.full_name}: the body is no UTF-8 at byte {error.start}, and the field '{name}' is a string", Code.INVALID_ARGUMENT
        ) from None


def _attributes(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """The attributes by name, in lower case; the values of one that stands several times are joined with a comma, as HTTP reads them."""
    found: dict[str, str] = {}
    for header, value in headers.items():
        lower = header.lower()
        if lower.startswith(_ATTRIBUTE):
            name = lower.removeprefix(_ATTRIBUTE)
            if not name:
                raise TerminalError(f"the header {lower} names no attribute", Code.INVALID_ARGUMENT)
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found
