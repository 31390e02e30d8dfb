"""Requests and responses of handlers whose endpoint knows its contract by other means than ours."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from ...descriptors import MethodDescriptor
from ...errors import Code, TerminalError
from ...journal.entries import Failure, Outcome, Success
from ...serde import Value
from ...transcode import from_json, to_json

__all__ = ["Messages"]


class Messages:
    """Request and response of a handler: binary protobuf in the journal, at some endpoints JSON.

    Args:
        descriptor: the rpc, where either is JSON there.
        json_request, json_response: whether it is.
    """

    def __init__(self, descriptor: MethodDescriptor[Any, Any] | None, *, json_request: bool, json_response: bool) -> None:
        self._request = descriptor.request_codec.wire if descriptor is not None and json_request else None
        self._response = descriptor.response_codec.wire if descriptor is not None and json_response else None

    def request(self, payload: bytes) -> bytes:
        """What the endpoint takes.

        Raises:
            TerminalError: INVALID_ARGUMENT, it is no such message, or one that JSON has no words for.
        """
        if self._request is None:
            return payload
        name = self._request.DESCRIPTOR.full_name
        try:
            return to_json(self._request.FromString(payload))
        except DecodeError as error:
            raise TerminalError(f"the request is no {name}: {error}", Code.INVALID_ARGUMENT) from None
        except TerminalError as error:
            raise TerminalError(f"the endpoint takes JSON: {error.message}", Code.INVALID_ARGUMENT) from None

    def response(self, data: bytes) -> Outcome:
        """What an endpoint gave. JSON that is not the contract's is a failure: another attempt would give the same."""
        if self._response is None:
            return Success(Value("", data))
        try:
            return Success(Value("", from_json(data, self._response).SerializeToString()))
        except TerminalError as error:
            return Failure(Code.INTERNAL.value, f"the response does not fit the contract: {error.message}")
