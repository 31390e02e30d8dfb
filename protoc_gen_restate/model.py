"""What the rest of the pipeline knows of a contract: frozen values, free of protobuf's own types."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Contract", "FieldRole", "File", "Finding", "InputField", "Location", "Message", "Method", "Service", "ServiceKind"]


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


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a .proto file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One violated rule."""

    location: Location
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message} [{self.code}]"


@dataclass(frozen=True, slots=True)
class InputField:
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


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is some rpc's input or output.

    Attributes:
        full_name: `tour.v1.Cart.Item`.
        file: the .proto file that defines it, `tour/v1/tour.proto`.
        path: its name inside the file, outermost first: `("Cart", "Item")`.
        fields: the annotated fields.
    """

    full_name: str
    file: str
    path: tuple[str, ...]
    fields: tuple[InputField, ...] = ()

    @property
    def is_empty(self) -> bool:
        """It is `google.protobuf.Empty`."""
        return self.full_name == "google.protobuf.Empty"

    def having(self, role: FieldRole) -> tuple[InputField, ...]:
        """The fields with that role."""
        return tuple(item for item in self.fields if item.role is role)


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc.

    Attributes:
        name: `MarkAsSold`.
        python_name: `mark_as_sold`.
        input: its input message.
        output: its output message.
        streaming: a stream on either side.
        comments: the comment above it, without comment marks.
        location: where the rpc is declared.
        input_location: where its input type is named.
    """

    name: str
    python_name: str
    input: Message
    output: Message
    streaming: bool
    comments: str
    location: Location
    input_location: Location


@dataclass(frozen=True, slots=True)
class Service:
    """One annotated service.

    Attributes:
        name: `TicketService`.
        full_name: `tour.v1.TicketService`.
        python_name: what generated classes are called after, `TicketService`.
        constant: name of its descriptor, `TICKET_SERVICE`.
        kind: `None` for a number that no kind has.
        methods: the rpcs in the order of the .proto.
        comments: the comment above it, without comment marks.
        location: where it is declared.
        shipped: it is one of ours in `dev/restate/services.proto`, not merely one of that name.
    """

    name: str
    full_name: str
    python_name: str
    constant: str
    kind: ServiceKind | None
    methods: tuple[Method, ...]
    comments: str
    location: Location
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """One .proto file to generate for.

    Attributes:
        name: `tour/v1/tour.proto`.
        comments: the comment at its top, without comment marks.
        services: the annotated ones only.
        definitions: names of everything defined at its top level.
    """

    name: str
    comments: str = ""
    services: tuple[Service, ...] = ()
    definitions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything that one request asks for."""

    files: tuple[File, ...]
