"""What an attempt says at its end, on its way to the cluster: a journal that does not match pauses its invocation."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any

from dev.restate import wire_pb2 as wire

from ..engine.remote.frames import JOURNAL_MISMATCH, Frame, MessageType

__all__ = ["Closing"]

_HEADER = struct.Struct(">HHI")
_PROTOCOL = b"application/vnd.restate.invocation."


class Closing:
    """Looks on while the messages of an attempt leave.

    The SDK asks for another attempt after every failure, and a cluster makes them until the retry policy is spent, and then pauses the
    invocation or fails it. Where the journal does not match, another attempt of the same code would be no better and a failure would be
    wrong, so the cluster is told to pause at once. The field for it, `Error.behavior`, is new in version 7 of the protocol; Restate 1.7
    heeds it in every version.
    """

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self._send = send
        self._messages = False

    async def send(self, event: Any) -> None:
        """Passes an event of the connection on."""
        match event:
            case {"type": "http.response.start"}:
                self._messages = any(
                    name.lower() == b"content-type" and value.startswith(_PROTOCOL) for name, value in event.get("headers", ())
                )
            case {"type": "http.response.body", "body": bytes(data)} if self._messages and data:
                event = {**event, "body": _paused_where_it_does_not_match(data)}
        await self._send(event)


def _paused_where_it_does_not_match(data: bytes) -> bytes:
    """The same messages. The SDK gives whole ones, and an `Error` is the last."""
    position = 0
    while position + _HEADER.size <= len(data):
        type, _, length = _HEADER.unpack_from(data, position)
        begin, position = position, position + _HEADER.size + length
        if type == MessageType.ERROR and position <= len(data):
            error = wire.Error.FromString(data[begin + _HEADER.size : position])
            if error.code == JOURNAL_MISMATCH:
                error.behavior = wire.PAUSE
                return data[:begin] + Frame(MessageType.ERROR, error).encode() + data[position:]
    return data
