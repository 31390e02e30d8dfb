"""What the generator knows of a service, as values that the runtime reads.

A generated module holds one `ServiceDescriptor` for each service. It carries resolved facts (kind, key field) as literals, so that
no generated or runtime code has to import a copy of `dev/restate/ext_pb2`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

from google.protobuf import descriptor as _pb

from .codecs import Codec, pair
from .retry import RetryOptions

__all__ = ["GENERATOR_ABI", "MethodDescriptor", "ServiceDescriptor", "ServiceKind", "StateDescriptor", "find_service", "wanted_not_given"]

GENERATOR_ABI = 1
"""Version of the agreement between generated modules and this runtime; raised when a module made before would break."""

Request = TypeVar("Request")
Response = TypeVar("Response")
T = TypeVar("T")


class ServiceKind(enum.Enum):
    """How many invocations of a service run at once (`dev.restate.ext.ServiceType`)."""

    UNKEYED = "unkeyed"
    """Any number at once."""
    KEYED = "keyed"
    """At most one for each key, first in, first out."""
    SINGLETON = "singleton"
    """At most one of the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDescriptor(Generic[T]):
    """One declared state of a service (`dev.restate.options.state`).

    Attributes:
        name: the name that it is stored under.
        python_name: its name in generated code.
        type: a message class, or `str`, `int`, `float`, `bool` or `bytes`.
    """

    name: str
    python_name: str
    type: type[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodDescriptor(Generic[Request, Response]):
    """One rpc.

    Attributes:
        name: the rpc's name in the .proto, `MarkAsSold`.
        python_name: its name in generated code, `mark_as_sold`.
        request: message class of the input.
        response: message class of the output.
        key_field: name of the input's KEY field; `None` where the service is not KEYED.
        event_payload_field: name of the input's field for the body of an event, a string or bytes; `None` where it takes no events.
        event_metadata_field: name of the input's `map<string, string>` for the attributes of an event; `None` where it has none.
        comments: the comment above the rpc, without comment marks.
        empty_request: the parameter is left out, the input is `google.protobuf.Empty`.
        empty_response: the result is `None`, the output is `google.protobuf.Empty`.
        options: further options of the rpc, by full name of the option.
        shared: it only reads state, and runs beside the others.
        private: it cannot be called from outside; `None` where only the service's own option counts.
        retry: what the rpc fixes of its retry policy.
        inactivity_timeout: how long a waiting handler stays in memory; `None` for the service's, then the runtime's.
        retention: how long a completed invocation is kept; `None` for the service's, then the runtime's.
        descriptor: the rpc's own protobuf descriptor.
        deprecated: what callers are told; empty where the rpc and its service are not deprecated.
        service_name: full name of the service, `tour.v1.TicketService`.
        full_name: `tour.v1.TicketService/MarkAsSold`, as in a request's path.
        request_codec: how the request is encoded.
        response_codec: how the response is encoded.
    """

    name: str
    python_name: str
    request: type[Request]
    response: type[Response]
    descriptor: _pb.MethodDescriptor
    key_field: str | None = None
    event_payload_field: str | None = None
    event_metadata_field: str | None = None
    comments: str = ""
    empty_request: bool = False
    empty_response: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    shared: bool = False
    private: bool | None = None
    retry: RetryOptions | None = None
    inactivity_timeout: timedelta | None = None
    retention: timedelta | None = None
    deprecated: str = ""
    # Once, not at every call.
    service_name: str = field(init=False, repr=False, compare=False)
    full_name: str = field(init=False, repr=False, compare=False)
    request_codec: Codec = field(init=False, repr=False, compare=False)
    response_codec: Codec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "service_name", str(self.descriptor.containing_service.full_name))
        object.__setattr__(self, "full_name", f"{self.service_name}/{self.name}")
        object.__setattr__(self, "request_codec", pair(self.request, self.descriptor.input_type))
        object.__setattr__(self, "response_codec", pair(self.response, self.descriptor.output_type))


@dataclass(frozen=True, kw_only=True)
class ServiceDescriptor:
    """One annotated service.

    Attributes:
        abi: the generator ABI that the module was made for.
        name: full name, `tour.v1.TicketService`.
        kind: UNKEYED, KEYED or SINGLETON.
        methods: the rpcs in the order of the .proto.
        descriptor: the service's own protobuf descriptor.
        comments: the comment above the service, without comment marks.
        options: further options of the service, by full name of the option.
        states: the declared states in the order of the .proto.
        private: its rpcs cannot be called from outside, unless their own option says otherwise.
        retry: what the service fixes of the retry policy of its rpcs.
        inactivity_timeout: how long waiting handlers stay in memory; `None` for the runtime's.
        retention: how long completed invocations are kept; `None` for the runtime's.
        generated: a module that is imported holds it: `find_service` finds it.

    Raises:
        ImportError: the module was made by a generator whose ABI this runtime does not know.
    """

    abi: int
    name: str
    kind: ServiceKind
    methods: tuple[MethodDescriptor[Any, Any], ...]
    descriptor: _pb.ServiceDescriptor
    comments: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    states: tuple[StateDescriptor[Any], ...] = ()
    private: bool = False
    retry: RetryOptions | None = None
    inactivity_timeout: timedelta | None = None
    retention: timedelta | None = None
    generated: bool = True

    def __post_init__(self) -> None:
        if self.abi != GENERATOR_ABI:
            raise ImportError(
                f"the generated module for {self.name} was made for generator ABI {self.abi}, this restate_runtime has {GENERATOR_ABI}: "
                f"generate it again with the protoc-gen-restate that is installed beside this runtime [RT0101]"
            )
        if self.generated:
            _loaded[self.name] = self

    @cached_property
    def _by_name(self) -> dict[str, MethodDescriptor[Any, Any]]:
        return {method.name: method for method in self.methods}

    def method(self, name: str) -> MethodDescriptor[Any, Any]:
        """The rpc with that name in the .proto.

        Raises:
            KeyError: there is none.
        """
        return self._by_name[name]


_loaded: dict[str, ServiceDescriptor] = {}


def find_service(name: str) -> ServiceDescriptor | None:
    """The service of that full name, where a generated module that describes it is imported."""
    return _loaded.get(name)


def wanted_not_given(wanted: type[Any], given: object) -> str:
    """For error messages: "a Text, not a Number"."""
    other = type(given)
    if wanted.__name__ != other.__name__:
        return f"a {wanted.__name__}, not a {other.__name__}"
    # Two message libraries have classes for it, or a contract was generated twice.
    return f"the {wanted.__name__} of {wanted.__module__}, not that of {other.__module__}"
