"""Journal entries: commands (what the handler asked) and notifications (results, in the order they became durable).

Kinds, fields and ids follow Restate's service protocol V6, and the tags are its message types. Entries are stored as MessagePack
arrays: fields may be appended with a default, never removed or reordered, so that every later version reads them. They hold no way back
to whoever holds them, so the garbage collector need not look at them (`gc=False`).
"""

from __future__ import annotations

import msgspec

from ..serde import Value

__all__ = [
    "CANCEL",
    "CANCELLED",
    "CANCEL_INDEX",
    "VOID",
    "Attach",
    "Call",
    "ClearAllState",
    "ClearState",
    "Command",
    "CompleteAwakeable",
    "CompletePromise",
    "Completion",
    "Failure",
    "GetInvocationOutput",
    "GetLazyState",
    "GetLazyStateKeys",
    "GetPromise",
    "GetState",
    "GetStateKeys",
    "Input",
    "KnownAs",
    "Notification",
    "OneWayCall",
    "Outcome",
    "Output",
    "PeekPromise",
    "Ref",
    "Run",
    "SendSignal",
    "SetState",
    "Signal",
    "Sleep",
    "Success",
    "Target",
    "decode_command",
    "decode_notification",
    "decode_outcome",
    "encode_entry",
]


class Target(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


class Success(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0):
    """A result. Responses of calls are untagged protobuf: the method's descriptor says what they are."""

    value: Value


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A terminal error; `code` is gRPC's number.

    Attributes:
        metadata: what an endpoint gave along with it.
        status: the HTTP status that an endpoint gave, 0 where the code came first.
    """

    code: int
    message: str
    metadata: dict[str, str] | None = None
    status: int = 0


Outcome = Success | Failure

VOID = Success(Value("void", b""))
"""A result that there is none: a promise or an invocation without one, a state value that is not set, a bare signal."""

CANCELLED = Failure(1, "cancelled")
"""How an invocation ends that is cancelled before it begins; else what its await raises."""

Ref = int | str
"""Where a result arrives: completions count upwards from 1, signals downwards, signals with a name arrive under it."""

CANCEL_INDEX = 1
CANCEL: Ref = -CANCEL_INDEX
"""Where cancellations arrive. Each counts, where of other results only the first does."""

# `at` is the user's source line that asked: "file.py:12". It is shown, never compared.
# `label` is what an endpoint calls the entry. It is given back as it was: SDKs compare it when they replay.


class Input(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0400):
    """The request; always the first command."""

    payload: bytes
    headers: dict[str, str]
    at: str = ""


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0401):
    """The end; always the last command."""

    outcome: Outcome
    at: str = ""


class GetLazyState(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0402):
    """A state value is asked for; it comes as a completion."""

    completion_id: int
    name: str
    at: str = ""
    label: str = ""


class GetState(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0407):
    """A state value was read; the value is kept, so that a replay reads the same."""

    name: str
    value: Value | None
    at: str = ""
    label: str = ""


class SetState(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0403):
    """A state value was set."""

    name: str
    value: Value
    at: str = ""
    label: str = ""


class ClearState(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0404):
    """A state value was cleared."""

    name: str
    at: str = ""
    label: str = ""


class ClearAllState(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0405):
    """All state of the key was cleared."""

    at: str = ""
    label: str = ""


class GetLazyStateKeys(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0406):
    """The names of the state are asked for; they come as a completion: a JSON list."""

    completion_id: int
    at: str = ""
    label: str = ""


class GetStateKeys(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0408):
    """The names of the state were read."""

    names: tuple[str, ...]
    at: str = ""
    label: str = ""


class GetPromise(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0409):
    """Waits for a named promise of the own key."""

    completion_id: int
    name: str
    at: str = ""
    label: str = ""


class PeekPromise(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x040A):
    """Looks at a named promise of the own key, without waiting."""

    completion_id: int
    name: str
    at: str = ""
    label: str = ""


class CompletePromise(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x040B):
    """Settles a named promise of the own key; the completion says whether it was the first to do so."""

    completion_id: int
    name: str
    outcome: Outcome
    at: str = ""
    label: str = ""


class Sleep(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x040C):
    """A durable timer; `due_ms` is in milliseconds since 1970."""

    completion_id: int
    due_ms: int
    at: str = ""
    name: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x040D):
    """An awaited call.

    Attributes:
        callee: id of the invocation that it made or attached to.
        id_completion_id: the completion that brings that id, 0 for none.
        name: what the handler calls this entry.
        given_key: the key as an endpoint gave it, where the target's is another: it is what the endpoint compares on a replay.
    """

    completion_id: int
    target: Target
    payload: bytes
    callee: bytes
    headers: dict[str, str] | None = None
    idempotency_key: str | None = None
    at: str = ""
    id_completion_id: int = 0
    name: str = ""
    given_key: str | None = None


class OneWayCall(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x040E):
    """A background call; `due_ms` is 0 for one without a delay, the rest is as in `Call`."""

    target: Target
    payload: bytes
    callee: bytes
    due_ms: int = 0
    headers: dict[str, str] | None = None
    idempotency_key: str | None = None
    at: str = ""
    id_completion_id: int = 0
    name: str = ""
    given_key: str | None = None


class SendSignal(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0410):
    """Sends a signal to another invocation: by its name, or by its index where that is empty. Index 1 cancels.

    Attributes:
        awaited: the caller's own await was cancelled, and this call with it: it goes on where others wait for it as well.
    """

    invocation: bytes
    index: int
    outcome: Outcome
    name: str = ""
    at: str = ""
    awaited: bool = False
    label: str = ""


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0411):
    """A side effect."""

    completion_id: int
    name: str
    at: str = ""


class KnownAs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An invocation that is known by its idempotency key, or, where that is empty, as the run of a workflow."""

    service: str
    method: str
    key: str | None
    idempotency_key: str = ""


class Attach(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0412):
    """Waits for the result of another invocation."""

    completion_id: int
    invocation: bytes
    at: str = ""
    known_as: KnownAs | None = None
    label: str = ""


class GetInvocationOutput(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0413):
    """Looks at the result of another invocation, without waiting."""

    completion_id: int
    invocation: bytes
    at: str = ""
    known_as: KnownAs | None = None
    label: str = ""


class CompleteAwakeable(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x0414):
    """Settles an awakeable of another invocation."""

    invocation: bytes
    index: int
    outcome: Outcome
    at: str = ""
    label: str = ""


Command = (
    Input
    | Output
    | GetLazyState
    | SetState
    | ClearState
    | ClearAllState
    | GetLazyStateKeys
    | GetState
    | GetStateKeys
    | GetPromise
    | PeekPromise
    | CompletePromise
    | Sleep
    | Call
    | OneWayCall
    | SendSignal
    | Run
    | Attach
    | GetInvocationOutput
    | CompleteAwakeable
)


class Completion(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0x8000):
    """The result of the command with that completion id."""

    completion_id: int
    outcome: Outcome

    @property
    def ref(self) -> Ref:
        """Where it arrives."""
        return self.completion_id


class Signal(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0xFBFF):
    """A signal from outside: an awakeable was settled (by index), or somebody sent one by name."""

    index: int
    outcome: Outcome
    name: str = ""

    @property
    def ref(self) -> Ref:
        """Where it arrives."""
        return self.name or -self.index


Notification = Completion | Signal

encode_entry = msgspec.msgpack.Encoder().encode
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_notification_decoder: msgspec.msgpack.Decoder[Notification] = msgspec.msgpack.Decoder(Notification)
_outcome_decoder: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)
decode_command = _command_decoder.decode
decode_notification = _notification_decoder.decode
decode_outcome = _outcome_decoder.decode
