"""The bytes of a cluster for people: opened and decoded by the contract of the service that they belong to."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError, Message

from ...envelope import open_envelope
from ...serde import RAW, Value
from .discovery import Directory

__all__ = ["Values"]


class Values:
    """Decodes values of the services in a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def stored(self, service: str, data: bytes) -> Value:
        """State or another value that a handler gave; a service of another SDK has JSON, or bytes of its own."""
        if self._directory.sealed(service):
            return open_envelope(data)
        return Value("json" if _is_json(data) else RAW, data)

    def shown(self, service: str, value: Value) -> Any:
        """The value as JSON can say it."""
        if value.tag == "json":
            return _json_or_bytes(value.data)
        if value.tag.startswith("message:"):
            return self._message(service, value.tag.removeprefix("message:"), value.data)
        return _bytes(value.data)

    def payload(self, service: str, method: str, side: str, data: bytes) -> Any:
        """A request or a response (`side`) of a method."""
        hosted = self._directory.registry.services.get(service)
        known = None if hosted is None else hosted.methods.get(method)
        if known is None or known.descriptor is None:
            return _json_or_bytes(data)
        codec = known.descriptor.request_codec if side == "request" else known.descriptor.response_codec
        return _decoded(codec.wire, data)

    def _message(self, service: str, full_name: str, data: bytes) -> Any:
        hosted = self._directory.registry.services.get(service)
        if hosted is None or hosted.descriptor is None:
            return _bytes(data)
        try:
            descriptor = hosted.descriptor.descriptor.file.pool.FindMessageTypeByName(full_name)
        except KeyError:
            return _bytes(data)
        return _decoded(message_factory.GetMessageClass(descriptor), data)


def _decoded(kind: type[Message], data: bytes) -> Any:
    try:
        message = kind.FromString(data)
        pool: Any = message.DESCRIPTOR.file.pool
        return json_format.MessageToDict(message, descriptor_pool=pool)
    except (DecodeError, TypeError):
        return _bytes(data)


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _json_or_bytes(data: bytes) -> Any:
    return msgspec.json.decode(data) if _is_json(data) else _bytes(data)


def _bytes(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}
