"""The frames of the service protocol: an eight byte header, then a protobuf message.

The header is a type (16 bits), flags (16 bits, of which the highest asks for an acknowledgement) and the message's length (32 bits), big
endian. Nothing here does I/O: `Frame.encode` gives bytes, `FrameReader` takes them in pieces of any size.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.message import DecodeError, Message

from dev.restate import wire_pb2 as wire

__all__ = [
    "FROM_ENDPOINT",
    "FROM_RUNTIME",
    "JOURNAL_MISMATCH",
    "PROTOCOL_VIOLATION",
    "Frame",
    "FrameReader",
    "MessageType",
    "ProtocolError",
    "TooLargeError",
    "Version",
    "awaiting_on",
]

JOURNAL_MISMATCH = 570
"""Code of an `Error` message: the handler asked for something else than its journal says."""

PROTOCOL_VIOLATION = 571
"""Code of an `Error` message: a message that was not expected."""

_HEADER = struct.Struct(">HHI")
_REQUESTED_ACK = 0x8000
_COMMANDS = range(0x0400, 0x8000)
_NOTIFICATIONS = range(0x8000, 0xFC00)
_CUSTOM = range(0xFC00, 0x10000)


class ProtocolError(Exception):
    """What arrived is not the service protocol."""


class TooLargeError(ProtocolError):
    """A message is longer than messages may be."""


class Version(enum.IntEnum):
    """Versions of the protocol that are spoken.

    V5 has no random seed and no metadata of failures. V7 has acknowledgements of side effects instead of their results, trees of what is
    waited for (`awaiting_on` reads both forms), `AwaitingOn`, scopes and `Error.behavior`. Fields that a version does not know may be
    set all the same: the other side skips them.
    """

    V5 = 5
    V6 = 6
    V7 = 7

    @property
    def content_type(self) -> str:
        """The content type of request and response."""
        return f"application/vnd.restate.invocation.v{self.value}"


class MessageType(enum.IntEnum):
    """Types of messages. Commands begin at 0x0400, notifications at 0x8000."""

    START = 0x0000
    SUSPENSION = 0x0001
    ERROR = 0x0002
    END = 0x0003
    COMMAND_ACK = 0x0004
    PROPOSE_RUN_COMPLETION = 0x0005
    AWAITING_ON = 0x0006
    PROPOSE_RUN_COMPLETION_ACK = 0x0007

    INPUT = 0x0400
    OUTPUT = 0x0401
    GET_LAZY_STATE = 0x0402
    SET_STATE = 0x0403
    CLEAR_STATE = 0x0404
    CLEAR_ALL_STATE = 0x0405
    GET_LAZY_STATE_KEYS = 0x0406
    GET_EAGER_STATE = 0x0407
    GET_EAGER_STATE_KEYS = 0x0408
    GET_PROMISE = 0x0409
    PEEK_PROMISE = 0x040A
    COMPLETE_PROMISE = 0x040B
    SLEEP = 0x040C
    CALL = 0x040D
    ONE_WAY_CALL = 0x040E
    SEND_SIGNAL = 0x0410
    RUN = 0x0411
    ATTACH_INVOCATION = 0x0412
    GET_INVOCATION_OUTPUT = 0x0413
    COMPLETE_AWAKEABLE = 0x0414

    GET_LAZY_STATE_COMPLETION = 0x8002
    GET_LAZY_STATE_KEYS_COMPLETION = 0x8006
    GET_PROMISE_COMPLETION = 0x8009
    PEEK_PROMISE_COMPLETION = 0x800A
    COMPLETE_PROMISE_COMPLETION = 0x800B
    SLEEP_COMPLETION = 0x800C
    CALL_COMPLETION = 0x800D
    CALL_INVOCATION_ID_COMPLETION = 0x800E
    RUN_COMPLETION = 0x8011
    ATTACH_INVOCATION_COMPLETION = 0x8012
    GET_INVOCATION_OUTPUT_COMPLETION = 0x8013
    SIGNAL = 0xFBFF

    @property
    def is_command(self) -> bool:
        """It is an entry of the journal that the handler asked for."""
        return self in _COMMANDS

    @property
    def is_notification(self) -> bool:
        """It is an entry of the journal that arrived: its message is a `Notification`."""
        return self in _NOTIFICATIONS


_CONTROL: Mapping[MessageType, type[Message]] = {
    MessageType.START: wire.Start,
    MessageType.SUSPENSION: wire.Suspension,
    MessageType.ERROR: wire.Error,
    MessageType.END: wire.End,
    MessageType.COMMAND_ACK: wire.CommandAck,
    MessageType.PROPOSE_RUN_COMPLETION: wire.ProposeRunCompletion,
    MessageType.AWAITING_ON: wire.AwaitingOn,
    MessageType.PROPOSE_RUN_COMPLETION_ACK: wire.ProposeRunCompletionAck,
}
_COMMAND_MESSAGES: Mapping[MessageType, type[Message]] = {
    MessageType.INPUT: wire.InputCommand,
    MessageType.OUTPUT: wire.OutputCommand,
    MessageType.GET_LAZY_STATE: wire.GetLazyStateCommand,
    MessageType.SET_STATE: wire.SetStateCommand,
    MessageType.CLEAR_STATE: wire.ClearStateCommand,
    MessageType.CLEAR_ALL_STATE: wire.ClearAllStateCommand,
    MessageType.GET_LAZY_STATE_KEYS: wire.GetLazyStateKeysCommand,
    MessageType.GET_EAGER_STATE: wire.GetEagerStateCommand,
    MessageType.GET_EAGER_STATE_KEYS: wire.GetEagerStateKeysCommand,
    MessageType.GET_PROMISE: wire.GetPromiseCommand,
    MessageType.PEEK_PROMISE: wire.PeekPromiseCommand,
    MessageType.COMPLETE_PROMISE: wire.CompletePromiseCommand,
    MessageType.SLEEP: wire.SleepCommand,
    MessageType.CALL: wire.CallCommand,
    MessageType.ONE_WAY_CALL: wire.OneWayCallCommand,
    MessageType.SEND_SIGNAL: wire.SendSignalCommand,
    MessageType.RUN: wire.RunCommand,
    MessageType.ATTACH_INVOCATION: wire.AttachInvocationCommand,
    MessageType.GET_INVOCATION_OUTPUT: wire.GetInvocationOutputCommand,
    MessageType.COMPLETE_AWAKEABLE: wire.CompleteAwakeableCommand,
}
MESSAGES: Mapping[MessageType, type[Message]] = MappingProxyType(
    {**_CONTROL, **_COMMAND_MESSAGES, **{type: wire.Notification for type in MessageType if type.is_notification}}
)
"""The message of each type."""

FROM_ENDPOINT: frozenset[MessageType] = frozenset(
    {
        MessageType.SUSPENSION,
        MessageType.ERROR,
        MessageType.END,
        MessageType.PROPOSE_RUN_COMPLETION,
        MessageType.AWAITING_ON,
        *(type for type in MessageType if type.is_command and type is not MessageType.INPUT),
    }
)
"""What an endpoint may send."""

FROM_RUNTIME: frozenset[MessageType] = frozenset(
    {
        MessageType.START,
        MessageType.COMMAND_ACK,
        MessageType.PROPOSE_RUN_COMPLETION_ACK,
        *(type for type in MessageType if type.is_command or type.is_notification),
    }
)
"""What a runtime may send."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message with its type.

    Attributes:
        type: says which message it is.
        message: of the class that `MESSAGES` has for the type.
        requested_ack: the sender wants to know when it is stored.
        size: bytes on the wire, header included; 0 for one that was not read from there.
    """

    type: MessageType
    message: Message
    requested_ack: bool = False
    size: int = 0

    def encode(self) -> bytes:
        """Header and message.

        Raises:
            ValueError: the message is larger than protobuf can be.
        """
        body = self.message.SerializeToString()
        return _HEADER.pack(self.type, _REQUESTED_ACK if self.requested_ack else 0, len(body)) + body


class FrameReader:
    """Takes the bytes of one direction of a stream, and gives frames.

    Args:
        accepts: the types that the other side may send.
        max_message_size: longest message in bytes; a longer one is refused when its header arrives.
    """

    def __init__(self, accepts: Collection[MessageType], max_message_size: int) -> None:
        self._accepts = accepts
        self._limit = max_message_size
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes of a frame that has not arrived in full."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete with these bytes.

        Raises:
            ProtocolError: a type that is not known or not the other side's to send, a message that is too large or cannot be decoded.
                The reader cannot be used after that.
        """
        buffer = self._buffer
        buffer += data
        frames = []
        position = 0
        while len(buffer) - position >= _HEADER.size:
            number, flags, length = _HEADER.unpack_from(buffer, position)
            type = self._type(number, length)
            end = position + _HEADER.size + length
            if len(buffer) < end:
                break
            body = bytes(memoryview(buffer)[position + _HEADER.size : end])
            frames.append(Frame(type, _parse(type, body), bool(flags & _REQUESTED_ACK), end - position))
            position = end
        del buffer[:position]
        return frames

    def eof(self) -> None:
        """The stream has ended.

        Raises:
            ProtocolError: in the middle of a frame.
        """
        if self._buffer:
            raise ProtocolError(f"the stream ended in the middle of a message, after {len(self._buffer)} of its bytes")

    def _type(self, number: int, length: int) -> MessageType:
        if number in _CUSTOM:
            raise ProtocolError(f"a custom command (type {number:#06x}): this runtime takes none")
        try:
            type = MessageType(number)
        except ValueError:
            raise ProtocolError(f"a message of type {number:#06x}, which is none of the service protocol's") from None
        if type not in self._accepts:
            raise ProtocolError(f"a message {type.name} from the wrong side")
        if length > self._limit:
            raise TooLargeError(f"a message {type.name} of {length} bytes: the limit is {self._limit} (option max_message_size)")
        return type


def _parse(type: MessageType, body: bytes) -> Message:
    try:
        return MESSAGES[type].FromString(body)
    except DecodeError as error:
        raise ProtocolError(f"a message {type.name} that cannot be decoded: {error}") from None


def awaiting_on(suspension: wire.Suspension) -> wire.Future:
    """What a suspended handler waits for, in the form of V7 whichever version it came in."""
    if suspension.HasField("awaiting_on"):
        return suspension.awaiting_on
    return wire.Future(
        waiting_completions=suspension.waiting_completions,
        waiting_signals=suspension.waiting_signals,
        waiting_named_signals=suspension.waiting_named_signals,
        combinator_type=wire.FIRST_COMPLETED,
    )
