"""Journal entries: commands (what the handler asked) and notifications (results, in the order they became durable).

Kinds, fields and ids follow Restate's service protocol V6, and the tags are its message types. Entries are stored as MessagePack
arrays: fields may be appended with a default, never removed or reordered, so that every later version reads them.
"""

from __future__ import annotations

import msgspec

from ..serde import Value

__all__ = [
    "Attach",
    "Call",
    "ClearAllState",
    "ClearState",
    "Command",
    "CompleteAwakeable",
    "Completion",
    "Failure",
    "GetState",
    "GetStateKeys",
    "Input",
    "Notification",
    "OneWayCall",
    "Outcome",
    "Output",
    "Run",
    "SetState",
    "Signal",
    "Sleep",
    "Success",
    "Target",
    "decode_command",
    "decode_notification",
    "encode_entry",
]


class Target(msgspec.Struct, frozen=True, array_like=True):
    """What is invoked.

    Attributes:
        key: the key of a KEYED service, empty for a SINGLETON, `None` for an UNKEYED one.
        shared: it takes no turn, and only reads the state of its key.
    """

    service: str
    method: str
    key: str | None
    shared: bool = False

    def __str__(self) -> str:
        return f"{self.service}/{self.method}" + (f" of '{self.key}'" if self.key else "")


class Success(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A result. Responses of calls are untagged protobuf: the method's descriptor says what they are."""

    value: Value


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A terminal error; `code` is gRPC's number."""

    code: int
    message: str


Outcome = Success | Failure

# `at` is the user's source line that asked: "file.py:12". It is shown, never compared.


class Input(msgspec.Struct, frozen=True, array_like=True, tag=0x0400):
    """The request; always the first command."""

    payload: bytes
    headers: dict[str, str]
    at: str = ""


class Output(msgspec.Struct, frozen=True, array_like=True, tag=0x0401):
    """The end; always the last command."""

    outcome: Outcome
    at: str = ""


class GetState(msgspec.Struct, frozen=True, array_like=True, tag=0x0407):
    """A state value was read; the value is kept, so that a replay reads the same."""

    name: str
    value: Value | None
    at: str = ""


class SetState(msgspec.Struct, frozen=True, array_like=True, tag=0x0403):
    """A state value was set."""

    name: str
    value: Value
    at: str = ""


class ClearState(msgspec.Struct, frozen=True, array_like=True, tag=0x0404):
    """A state value was cleared."""

    name: str
    at: str = ""


class ClearAllState(msgspec.Struct, frozen=True, array_like=True, tag=0x0405):
    """All state of the key was cleared."""

    at: str = ""


class GetStateKeys(msgspec.Struct, frozen=True, array_like=True, tag=0x0408):
    """The names of the state were read."""

    names: tuple[str, ...]
    at: str = ""


class Sleep(msgspec.Struct, frozen=True, array_like=True, tag=0x040C):
    """A durable timer; `due_ms` is in milliseconds since 1970."""

    completion_id: int
    due_ms: int
    at: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True, tag=0x040D):
    """An awaited call; `callee` is the id of the invocation that it made or attached to."""

    completion_id: int
    target: Target
    payload: bytes
    callee: bytes
    headers: dict[str, str] | None = None
    idempotency_key: str | None = None
    at: str = ""


class OneWayCall(msgspec.Struct, frozen=True, array_like=True, tag=0x040E):
    """A background call; `due_ms` is 0 for one without a delay."""

    target: Target
    payload: bytes
    callee: bytes
    due_ms: int = 0
    headers: dict[str, str] | None = None
    idempotency_key: str | None = None
    at: str = ""


class Run(msgspec.Struct, frozen=True, array_like=True, tag=0x0411):
    """A side effect."""

    completion_id: int
    name: str
    at: str = ""


class Attach(msgspec.Struct, frozen=True, array_like=True, tag=0x0412):
    """Waits for the result of another invocation."""

    completion_id: int
    invocation: bytes
    at: str = ""


class CompleteAwakeable(msgspec.Struct, frozen=True, array_like=True, tag=0x0414):
    """Settles an awakeable of another invocation."""

    invocation: bytes
    index: int
    outcome: Outcome
    at: str = ""


Command = (
    Input
    | Output
    | GetState
    | SetState
    | ClearState
    | ClearAllState
    | GetStateKeys
    | Sleep
    | Call
    | OneWayCall
    | Run
    | Attach
    | CompleteAwakeable
)


class Completion(msgspec.Struct, frozen=True, array_like=True, tag=0x8000):
    """The result of the command with that completion id."""

    completion_id: int
    outcome: Outcome

    @property
    def ref(self) -> int:
        """Where it arrives: completions count upwards from 1."""
        return self.completion_id


class Signal(msgspec.Struct, frozen=True, array_like=True, tag=0xFBFF):
    """A signal from outside: an awakeable was settled."""

    index: int
    outcome: Outcome

    @property
    def ref(self) -> int:
        """Where it arrives: signals count downwards, so that they never meet a completion."""
        return -self.index


Notification = Completion | Signal

encode_entry = msgspec.msgpack.Encoder().encode
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_notification_decoder: msgspec.msgpack.Decoder[Notification] = msgspec.msgpack.Decoder(Notification)
decode_command = _command_decoder.decode
decode_notification = _notification_decoder.decode
