"""What the rest of the pipeline knows of a contract: frozen values, free of protobuf's own types.

They are named tuples, as the generator's other values are: dataclasses take longer to load and to make than a small contract takes in all.
Where they are many, no `from __future__ import annotations` leaves their types as strings, each of which would be compiled.
`contract._replace(files=...)` is how a plugin changes one.
"""

import enum
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

__all__ = [
    "CallOptions",
    "Contract",
    "FieldRole",
    "File",
    "Finding",
    "InputField",
    "Level",
    "Location",
    "Message",
    "Method",
    "Retry",
    "Scalar",
    "Service",
    "ServiceKind",
    "StateEntry",
]


class ServiceKind(enum.Enum):
    """`dev.restate.ext.ServiceType`; the numbers are the contract's."""

    UNKEYED = 0
    KEYED = 1
    SINGLETON = 2


class FieldRole(enum.Enum):
    """`dev.restate.ext.FieldType`; the numbers are the contract's."""

    KEY = 0
    EVENT_PAYLOAD = 1
    EVENT_METADATA = 2


class Location(NamedTuple):
    """A place in a .proto file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Level(enum.Enum):
    """What a finding means for generation."""

    FATAL = "always an error"
    """No code can be generated that would work."""
    ERROR = "an error unless `lint=warn` or `lint=off`"
    WARNING = "a warning"


class Finding(NamedTuple):
    """One violated rule."""

    location: Location
    code: str
    message: str
    level: Level = Level.ERROR

    def __str__(self) -> str:
        return f"{self.location}: {self.message} [{self.code}]"


class InputField(NamedTuple):
    """A top-level field of an input message that carries a role.

    Attributes:
        name: the field's name in the .proto.
        type: its type as a .proto spells it, `repeated string`, `map<string, string>`.
        role: what it is annotated as.
        in_oneof: it is a member of a oneof (`optional` does not count).
        location: where it is declared.
    """

    name: str
    type: str
    role: FieldRole
    in_oneof: bool
    location: Location


class Message(NamedTuple):
    """A message that is some rpc's input or output.

    Attributes:
        full_name: `tour.v1.Cart.Item`.
        file: the .proto file that defines it, `tour/v1/tour.proto`.
        path: its name inside the file, outermost first: `("Cart", "Item")`.
        fields: the annotated fields.
        deprecated: the contract says so of it, of what it is nested in, or of its file.
    """

    full_name: str
    file: str
    path: tuple[str, ...]
    fields: tuple[InputField, ...] = ()
    deprecated: bool = False

    @property
    def is_empty(self) -> bool:
        """It is `google.protobuf.Empty`."""
        return self.full_name == "google.protobuf.Empty"

    def having(self, role: FieldRole) -> tuple[InputField, ...]:
        """The fields with that role."""
        return tuple(item for item in self.fields if item.role is role)


class Scalar(enum.Enum):
    """A state's type that is no message: its name in a .proto, and Python's."""

    STRING = "string", "str"
    INT64 = "int64", "int"
    DOUBLE = "double", "float"
    BOOL = "bool", "bool"
    BYTES = "bytes", "bytes"

    def __init__(self, proto: str, python: str) -> None:
        self.proto = proto
        self.python = python


class Retry(NamedTuple):
    """What a contract fixes of a retry policy; `None` for what it leaves out.

    Attributes:
        max_attempts: 0 for no bound.
        fails: `on_exhausted` is FAIL.
    """

    initial_interval: timedelta | None = None
    max_interval: timedelta | None = None
    factor: float | None = None
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    fails: bool | None = None


class CallOptions(NamedTuple):
    """What a contract says of the invocations of a service or an rpc; `None` for what it leaves out.

    Attributes:
        locations: where each option is set, by the name of its field here.
    """

    private: bool | None = None
    retry: Retry | None = None
    inactivity_timeout: timedelta | None = None
    retention: timedelta | None = None
    locations: Mapping[str, Location] = MappingProxyType({})


class StateEntry(NamedTuple):
    """One declared state of a service.

    Attributes:
        name: the name that it is stored under.
        python_name: the accessor's name.
        type: the type as the contract spells it.
        value: the message or scalar of that name, `None` where there is none.
        hint: the full name of a message that may be meant, where there is none.
        location: where it is declared.
    """

    name: str
    python_name: str
    type: str
    value: Message | Scalar | None
    hint: str
    location: Location


class Method(NamedTuple):
    """One rpc.

    Attributes:
        name: `MarkAsSold`.
        python_name: `mark_as_sold`.
        input: its input message.
        output: its output message.
        streaming: a stream on either side.
        comments: the comments above and behind it, without comment marks.
        location: where the rpc is declared.
        input_location: where its input type is named.
        shared: it only reads state, and runs beside the others.
        handler_type: what Restate's Go plugin would take it for, `SHARED`; empty where that is not said.
        options: what the contract says of its invocations.
        deprecated: the contract says that it should not be called any more.
    """

    name: str
    python_name: str
    input: Message
    output: Message
    streaming: bool
    comments: str
    location: Location
    input_location: Location
    shared: bool = False
    handler_type: str = ""
    options: CallOptions = CallOptions()
    deprecated: bool = False


class Service(NamedTuple):
    """One service to generate for.

    Attributes:
        name: `TicketService`.
        full_name: `tour.v1.TicketService`.
        python_name: what generated classes are called after, `TicketService`.
        constant: name of its descriptor, `TICKET_SERVICE`.
        kind: `None` for a type that no kind has.
        kind_name: the service type as the contract spells it, `KEYED` or `VIRTUAL_OBJECT`.
        methods: the rpcs in the order of the .proto.
        comments: the comments above and behind it, without comment marks.
        location: where it is declared.
        shipped: it is one of ours in `dev/restate/services.proto`, not merely one of that name.
        contradiction: the type that another annotation gives it, where that is a different one.
        states: its declared states.
        options: what the contract says of the invocations of all its rpcs.
        deprecated: the contract says so of it, or of its file.
        annotated: it carries a service type; otherwise it is of the default one.
        left_out: rpcs that no code is generated for, with their places: those that stream, of a service that is not annotated.
    """

    name: str
    full_name: str
    python_name: str
    constant: str
    kind: ServiceKind | None
    kind_name: str
    methods: tuple[Method, ...]
    comments: str
    location: Location
    shipped: bool = False
    contradiction: str = ""
    states: tuple[StateEntry, ...] = ()
    options: CallOptions = CallOptions()
    deprecated: bool = False
    annotated: bool = True
    left_out: tuple[tuple[str, Location], ...] = ()

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its requests, responses and states, as often as they come."""
        stored = [entry.value for entry in self.states if isinstance(entry.value, Message)]
        return (*(message for method in self.methods for message in (method.input, method.output)), *stored)

    @property
    def has_shared(self) -> bool:
        """Some rpc of it is shared."""
        return any(method.shared for method in self.methods)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that can be made of it, in the order in which they stand."""
        stem = self.python_name
        own = (f"{stem}State", f"{stem}Context") if self.states else ()
        shared = (f"Shared{stem}State", f"Shared{stem}Context") if self.states and self.has_shared else ()
        return (*own, *shared, f"{stem}Base", f"{stem}Client", f"{stem}SyncClient")


class File(NamedTuple):
    """One .proto file to generate for.

    Attributes:
        name: `tour/v1/tour.proto`.
        comments: the comment at its top, without comment marks.
        services: those to generate for.
        types: the names of its messages and enums, nested ones aside.
        definitions: all names that protoc's module for it has: of those, of extensions and of enum values.
        keyed: its messages that have a KEY, nested ones too.
        deprecated: the contract says so of the whole file.
    """

    name: str
    comments: str = ""
    services: tuple[Service, ...] = ()
    types: tuple[str, ...] = ()
    definitions: frozenset[str] = frozenset()
    keyed: tuple[Message, ...] = ()
    deprecated: bool = False


class Contract(NamedTuple):
    """Everything that one request asks for.

    Attributes:
        sync_clients: there are clients for code without an event loop.
        rooted: the .proto files whose modules are imported from the output folder itself, not from a package that it is.
        copies: where shipped files are declared under other names than theirs.
    """

    files: tuple[File, ...]
    sync_clients: bool = True
    rooted: frozenset[str] = frozenset()
    copies: tuple[Location, ...] = ()
