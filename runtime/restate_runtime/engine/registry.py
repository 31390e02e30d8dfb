"""The services that a runtime hosts: names to methods, bytes to messages, messages to keys."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from google.protobuf.message import DecodeError, Message

from ..descriptors import MethodDescriptor, ServiceDescriptor, ServiceKind, find_service, wanted_not_given
from ..errors import Code, RuntimeFault, TerminalError
from ..handler.client import OutgoingCall
from ..handler.context import Context, KeyedContext, SharedKeyedContext, SharedSingletonContext, SingletonContext, UnkeyedContext
from ..handler.service import Service
from ..journal.entries import Target
from ..retry import RetryOptions, RetryPolicy
from .idempotency import bytes_digest, request_digest

__all__ = [
    "SINGLETON_KEY",
    "BoundMethod",
    "HostedMethod",
    "HostedService",
    "Privacy",
    "PrivateService",
    "Registry",
    "imported_method",
    "is_private",
]

SINGLETON_KEY = "_"
"""The key of a SINGLETON where every service that takes turns has keys: on the wire, and in services without a .proto."""

PrivateService = str | type[Service] | Service
"""A service as `App(private=[...])` names it: by its full name, by its class, or by the instance that is bound."""


class Privacy(enum.Enum):
    """Who closed a method to callers outside, as code and contract say."""

    OPEN = "open"
    """Nobody."""
    SERVICE = "service"
    """The service: its contract, or the App. What is stored in the data directory can open it."""
    METHOD = "method"
    """The rpc's own option in the contract, which stays."""


def is_private(privacy: Privacy, public: bool | None) -> bool:
    """Whether callers outside are refused.

    Args:
        privacy: what code and contract say.
        public: what is stored for the service; `None` where nothing is.
    """
    return privacy is Privacy.METHOD or (privacy is Privacy.SERVICE if public is None else not public)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedMethod:
    """One method of a hosted service, whoever runs its handler.

    Attributes:
        service: full name of the service.
        name: the method's.
        kind: of the service.
        shared: it only reads state, and takes no turn.
        privacy: who closed it, as code and contract say.
        private: whether callers outside are refused, what is stored included; the registry sets it.
        descriptor: `None` for a service without a .proto: requests and responses are bytes as they are.
        content_type: what the bytes of a response are, where there is no descriptor.
        retry: the App's retry policy.
        options: what the contract fixes of it, of the service first.
        inactivity_timeout: the contract's, `None` for the runtime's.
        retention: the contract's, `None` for the runtime's.
        run_once: it is the run of a workflow: one invocation for each key.
    """

    service: str
    name: str
    kind: ServiceKind
    shared: bool = False
    privacy: Privacy = Privacy.OPEN
    private: bool = False
    descriptor: MethodDescriptor[Any, Any] | None = None
    content_type: str = "application/octet-stream"
    retry: RetryPolicy | None = None
    options: tuple[RetryOptions, ...] = ()
    inactivity_timeout: timedelta | None = None
    retention: timedelta | None = None
    run_once: bool = False

    @property
    def full_name(self) -> str:
        """`tour.v1.TicketService/MarkAsSold`, as in a request's path."""
        return f"{self.service}/{self.name}"

    def policy(self, default: RetryPolicy) -> RetryPolicy:
        """The retry policy of its invocations: the contract's, over the App's, or else this one."""
        policy = self.retry or default
        for options in self.options:
            policy = options.over(policy)
        return policy

    def retention_ms(self, default_ms: int) -> int:
        """How long a completed call answers repeats of its idempotency key: the contract's, or else this one."""
        return default_ms if self.retention is None else round(self.retention.total_seconds() * 1000)

    def fits(self, target: Target) -> bool:
        """Whether a target has a key just where the service has keys."""
        match self.kind:
            case ServiceKind.UNKEYED:
                return target.key is None
            case ServiceKind.KEYED:
                return bool(target.key)
            case ServiceKind.SINGLETON:
                return target.key == ""

    def own_key(self, target: Target, payload: bytes) -> str | None:
        """The key of an invocation that was made before anybody knew the service, and does not fit it.

        Raises:
            TerminalError: INVALID_ARGUMENT, there is none.
        """
        if self.kind is ServiceKind.SINGLETON and target.key in (None, SINGLETON_KEY):
            return ""
        if self.kind is ServiceKind.KEYED and self.descriptor is not None:
            return self.key_of(self.parse(payload))
        self._check_key(target.key)
        return target.key

    def check_public(self) -> None:
        """Refuses callers outside where it is private.

        Raises:
            TerminalError: PERMISSION_DENIED.
        """
        if self.private:
            raise TerminalError(f"{self.full_name} is private: only services can call it", Code.PERMISSION_DENIED)

    def parse(self, payload: bytes) -> Message:
        """The request as protobuf's own message, whatever library the handler's is of. Only with a descriptor.

        Raises:
            TerminalError: INVALID_ARGUMENT, the bytes are no such message.
        """
        codec = self._described().request_codec
        try:
            return codec.parse(payload)
        except DecodeError as error:
            raise TerminalError(f"{self.full_name}: the request is no {codec.full_name}: {error}", Code.INVALID_ARGUMENT) from None

    def digest(self, payload: bytes) -> bytes:
        """What a repeated request is compared by.

        Raises:
            TerminalError: INVALID_ARGUMENT, the bytes are no request.
        """
        return bytes_digest(payload) if self.descriptor is None else request_digest(self.parse(payload))

    def key_of(self, message: Message) -> str | None:
        """The key of a request: the KEY field where the service is KEYED, else `None`.

        Raises:
            TerminalError: INVALID_ARGUMENT, the key is empty.
        """
        name = self._described().key_field
        if name is None:
            return None
        key = getattr(message, name)
        if not key:
            raise TerminalError(f"{self.full_name}: the key field '{name}' is empty", Code.INVALID_ARGUMENT)
        return str(key)

    def take_key(self, message: Message, key: str) -> None:
        """Puts a key that stands beside the request into its KEY field, where that is absent.

        Raises:
            TerminalError: INVALID_ARGUMENT, the field holds another key, or the service has none.
        """
        self._check_key(key)
        name = self._described().key_field
        assert name is not None  # _check_key: it is KEYED
        held = getattr(message, name)
        if not held:
            setattr(message, name, key)
        elif held != key:
            raise TerminalError(f"{self.full_name}: the key field '{name}' is '{held}', the call's key is '{key}'", Code.INVALID_ARGUMENT)

    def addressed(self, payload: bytes, key: str | None) -> tuple[str | None, bytes]:
        """Key and request of a call by name.

        Args:
            payload: the request's bytes; they stay as they are, unless the key has to be filled in.
            key: the key that was given beside them.

        Raises:
            TerminalError: INVALID_ARGUMENT, the bytes are no request, or the key is none.
        """
        if self.descriptor is None:
            if key is not None or self.kind is ServiceKind.KEYED:
                self._check_key(key)
            return key, payload
        message = self.parse(payload)
        if key is None:
            return self.key_of(message), payload
        self.take_key(message, key)
        return key, message.SerializeToString()

    def outgoing(self, message: Message) -> OutgoingCall:
        """The call that carries this request; options are filled in by the caller. Only with a descriptor."""
        return OutgoingCall(
            service=self.service,
            method=self.name,
            key=self.key_of(message),
            payload=message.SerializeToString(),
            descriptor=self.descriptor,
        )

    def _check_key(self, key: str | None) -> None:
        if self.kind is not ServiceKind.KEYED:
            raise TerminalError(f"{self.full_name} takes no key: the service is {self.kind.name}", Code.INVALID_ARGUMENT)
        if not key:
            problem = "a call needs a key" if key is None else "the key is empty"
            raise TerminalError(f"{self.full_name}: {problem}: the service is KEYED", Code.INVALID_ARGUMENT)

    def _described(self) -> MethodDescriptor[Any, Any]:
        if self.descriptor is None:
            raise TerminalError(f"{self.full_name} has no .proto here: its requests are bytes as they are", Code.INVALID_ARGUMENT)
        return self.descriptor


def imported_method(service: str, name: str) -> HostedMethod:
    """A method as far as an imported module describes it, hosted or not: results that it left can be read."""
    known = find_service(service)
    descriptor = None if known is None else next((method for method in known.methods if method.name == name), None)
    kind = ServiceKind.UNKEYED if known is None else known.kind
    return HostedMethod(service=service, name=name, kind=kind, descriptor=descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundMethod(HostedMethod):
    """One rpc that an object in this process implements, resolved once.

    Attributes:
        handler: the coroutine function that implements it.
        context: the class of its context.
    """

    descriptor: MethodDescriptor[Any, Any]  # pyright: ignore[reportGeneralTypeIssues]  # here it is always given
    handler: Callable[..., Coroutine[Any, Any, Any]]
    context: type[Context]

    def encode_response(self, response: object) -> bytes:
        """What a handler returned as binary protobuf.

        Raises:
            TypeError: it is of another type than the rpc's.
        """
        descriptor = self.descriptor
        if descriptor.empty_response:
            if response is not None and not isinstance(response, descriptor.response):
                raise TypeError(f"{descriptor.full_name} returns nothing, not a {type(response).__name__}")
            return b""
        if not isinstance(response, descriptor.response):
            raise TypeError(f"{descriptor.full_name} must return {wanted_not_given(descriptor.response, response)}")
        return descriptor.response_codec.encode(response)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedService:
    """One hosted service.

    Attributes:
        name: full name.
        kind: UNKEYED, KEYED or SINGLETON.
        methods: by name.
        descriptor: `None` for a service without a .proto, of which only these names are known.
    """

    name: str
    kind: ServiceKind
    methods: Mapping[str, HostedMethod]
    descriptor: ServiceDescriptor | None = None


class Registry:
    """The services that are hosted: those of an App, and those that are added while it runs.

    Args:
        services: implementations; each an instance of a generated base.
        retry: an invocation retry policy for all of them, before the runtime's.
        private: those that callers outside cannot reach.
        may_be_empty: everything may be hosted elsewhere.

    Attributes:
        services: by full name; `add`, `remove` and `set_public` replace entries.
        revision: counts those changes: whoever keeps an entry looks again when it has moved on.

    Raises:
        RuntimeFault: RT0102 without services, RT0103 for an object that implements none, RT0104 for two of the same name, RT0106 for
            a private one that is not among them.
    """

    def __init__(
        self,
        services: Iterable[Service],
        retry: RetryPolicy | None = None,
        private: Iterable[PrivateService] = (),
        *,
        may_be_empty: bool = False,
    ) -> None:
        self.services: dict[str, HostedService] = {}
        self.revision = 0
        self._public: dict[str, bool] = {}
        bound: dict[str, Service] = {}
        for service in services:
            descriptor = _descriptor_of(service)
            if descriptor.name in bound:
                raise RuntimeFault("RT0104", f"the service {descriptor.name} is bound twice")
            bound[descriptor.name] = service
        if not bound and not may_be_empty:
            raise RuntimeFault("RT0102", "the App has no services: pass instances of your implementations, App(TicketService(), ...)")
        closed = _names(private, bound)
        for name, service in bound.items():
            descriptor = _descriptor_of(service)
            methods = {method.name: _bind(service, descriptor, method, retry, name in closed) for method in descriptor.methods}
            self.add(HostedService(name=name, kind=descriptor.kind, methods=methods, descriptor=descriptor))

    def copy(self) -> Registry:
        """One to change without changing this one: runtimes of one App have one each."""
        copied = object.__new__(Registry)
        copied.services = dict(self.services)
        copied.revision = 0
        copied._public = dict(self._public)
        return copied

    def add(self, service: HostedService) -> None:
        """Adds a service, or replaces the one of that name. What is stored for it applies."""
        public = self._public.get(service.name)
        methods = {name: replace(method, private=is_private(method.privacy, public)) for name, method in service.methods.items()}
        self.services[service.name] = replace(service, methods=methods)
        self.revision += 1

    def remove(self, name: str) -> None:
        """The service of that name is no longer hosted."""
        if self.services.pop(name, None) is not None:
            self.revision += 1

    def set_public(self, name: str, public: bool | None) -> None:
        """Opens or closes a service to callers outside, whatever code and contract say; with `None` they decide again."""
        if public is None:
            self._public.pop(name, None)
        else:
            self._public[name] = public
        if name in self.services:
            self.add(self.services[name])

    def resolve(self, service: str, method: str) -> HostedMethod:
        """The method of that name.

        Raises:
            TerminalError: NOT_FOUND, with the nearest name.
        """
        hosted = self.services.get(service)
        if hosted is None:
            raise TerminalError(f"there is no service '{service}'{_hint(service, self.services)}", Code.NOT_FOUND)
        found = hosted.methods.get(method)
        if found is None:
            raise TerminalError(f"the service '{service}' has no method '{method}'{_hint(method, hosted.methods)}", Code.NOT_FOUND)
        return found


_CONTEXTS: Mapping[tuple[ServiceKind, bool], type[Context]] = {
    (ServiceKind.UNKEYED, False): UnkeyedContext,
    (ServiceKind.KEYED, False): KeyedContext,
    (ServiceKind.KEYED, True): SharedKeyedContext,
    (ServiceKind.SINGLETON, False): SingletonContext,
    (ServiceKind.SINGLETON, True): SharedSingletonContext,
}


def _descriptor_of(service: object) -> ServiceDescriptor:
    descriptor = getattr(type(service), "__restate_service__", None)
    if not isinstance(descriptor, ServiceDescriptor):
        raise RuntimeFault("RT0103", f"{service!r} implements no service: bind instances of a class that extends a generated ...Base")
    return descriptor


def _names(private: Iterable[PrivateService], bound: Mapping[str, Service]) -> set[str]:
    if isinstance(private, str):
        raise RuntimeFault("RT0106", f"private= is a list of services: write private=['{private}']")
    names = set()
    for item in private:
        descriptor = getattr(item, "__restate_service__", None)
        name = descriptor.name if isinstance(descriptor, ServiceDescriptor) else item
        if not isinstance(name, str) or name not in bound:
            hint = _hint(name, bound) if isinstance(name, str) else ""
            raise RuntimeFault("RT0106", f"private= names {name!r}, which is no service of this App{hint}")
        names.add(name)
    return names


def _bind(
    service: Service, descriptor: ServiceDescriptor, method: MethodDescriptor[Any, Any], retry: RetryPolicy | None, closed: bool
) -> BoundMethod:
    own = service.__restate_shared_context__ if method.shared else service.__restate_context__
    timeout = method.inactivity_timeout
    retention = method.retention
    return BoundMethod(
        service=descriptor.name,
        name=method.name,
        kind=descriptor.kind,
        shared=method.shared,
        privacy=_privacy(descriptor, method, closed),
        descriptor=method,
        handler=getattr(service, method.python_name),
        retry=retry,
        options=tuple(options for options in (descriptor.retry, method.retry) if options is not None),
        context=own or _CONTEXTS[descriptor.kind, method.shared],
        inactivity_timeout=descriptor.inactivity_timeout if timeout is None else timeout,
        retention=descriptor.retention if retention is None else retention,
    )


def _privacy(service: ServiceDescriptor, method: MethodDescriptor[Any, Any], closed: bool) -> Privacy:
    if method.private:
        return Privacy.METHOD
    # The App closes all of a service; the contract's option for a service leaves out an rpc whose own one says so.
    return Privacy.SERVICE if closed or (service.private and method.private is None) else Privacy.OPEN


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
