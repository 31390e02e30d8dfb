"""The services that a runtime hosts: names to bound methods, bytes to messages, messages to keys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf.message import DecodeError, Message

from ..descriptors import MethodDescriptor, ServiceDescriptor, ServiceKind
from ..errors import Code, RuntimeFault, TerminalError
from ..handler.client import OutgoingCall
from ..handler.context import Context, KeyedContext, SharedKeyedContext, SharedSingletonContext, SingletonContext, UnkeyedContext
from ..handler.service import Service
from ..retry import RetryOptions, RetryPolicy

__all__ = ["BoundMethod", "BoundService", "Registry"]


@dataclass(frozen=True, slots=True)
class BoundMethod:
    """One rpc with the coroutine function that implements it, resolved once.

    Attributes:
        retry: the App's retry policy.
        options: what the contract fixes of it, of the service first.
        context: the class of its context.
        inactivity_timeout: the contract's, `None` for the runtime's.
    """

    descriptor: MethodDescriptor[Any, Any]
    kind: ServiceKind
    handler: Callable[..., Coroutine[Any, Any, Any]]
    retry: RetryPolicy | None
    options: tuple[RetryOptions, ...]
    context: type[Context]
    inactivity_timeout: timedelta | None

    def policy(self, default: RetryPolicy) -> RetryPolicy:
        """The retry policy of its invocations: the contract's, over the App's, or else this one."""
        policy = self.retry or default
        for options in self.options:
            policy = options.over(policy)
        return policy

    def parse(self, payload: bytes) -> Message:
        """The request as protobuf's own message, whatever library the handler's is of.

        Raises:
            TerminalError: INVALID_ARGUMENT, the bytes are no such message.
        """
        try:
            return self.descriptor.request_codec.parse(payload)
        except DecodeError as error:
            raise TerminalError(
                f"{self.descriptor.full_name}: the request is no {self.descriptor.request_codec.full_name}: {error}",
                Code.INVALID_ARGUMENT,
            ) from None

    def key_of(self, message: Message) -> str | None:
        """The key of a request: the KEY field where the service is KEYED, else `None`.

        Raises:
            TerminalError: INVALID_ARGUMENT, the key is empty.
        """
        name = self.descriptor.key_field
        if name is None:
            return None
        key = getattr(message, name)
        if not key:
            raise TerminalError(f"{self.descriptor.full_name}: the key field '{name}' is empty", Code.INVALID_ARGUMENT)
        return str(key)

    def outgoing(self, message: Message) -> OutgoingCall:
        """The call that carries this request; options are filled in by the caller."""
        return OutgoingCall(
            service=self.descriptor.service_name,
            method=self.descriptor.name,
            key=self.key_of(message),
            payload=message.SerializeToString(),
            descriptor=self.descriptor,
        )


@dataclass(frozen=True, slots=True)
class BoundService:
    """One hosted service."""

    descriptor: ServiceDescriptor
    methods: dict[str, BoundMethod]


class Registry:
    """All services of an App.

    Args:
        services: implementations; each an instance of a generated base.
        retry: an invocation retry policy for all of them, before the runtime's.

    Raises:
        RuntimeFault: RT0102 without services, RT0103 for an object that implements none, RT0104 for two of the same name.
    """

    def __init__(self, services: Iterable[Service], retry: RetryPolicy | None = None) -> None:
        self.services: dict[str, BoundService] = {}
        for service in services:
            descriptor = getattr(type(service), "__restate_service__", None)
            if not isinstance(descriptor, ServiceDescriptor):
                raise RuntimeFault(
                    "RT0103", f"{service!r} implements no service: bind instances of a class that extends a generated ...Base"
                )
            if descriptor.name in self.services:
                raise RuntimeFault("RT0104", f"the service {descriptor.name} is bound twice")
            self.services[descriptor.name] = BoundService(
                descriptor,
                {method.name: _bind(service, descriptor, method, retry) for method in descriptor.methods},
            )
        if not self.services:
            raise RuntimeFault("RT0102", "the App has no services: pass instances of your implementations, App(TicketService(), ...)")

    def resolve(self, service: str, method: str) -> BoundMethod:
        """The bound method of that name.

        Raises:
            TerminalError: NOT_FOUND, with the nearest name.
        """
        bound = self.services.get(service)
        if bound is None:
            raise TerminalError(f"there is no service '{service}'{_hint(service, self.services)}", Code.NOT_FOUND)
        found = bound.methods.get(method)
        if found is None:
            raise TerminalError(f"the service '{service}' has no method '{method}'{_hint(method, bound.methods)}", Code.NOT_FOUND)
        return found


_CONTEXTS: Mapping[tuple[ServiceKind, bool], type[Context]] = {
    (ServiceKind.UNKEYED, False): UnkeyedContext,
    (ServiceKind.KEYED, False): KeyedContext,
    (ServiceKind.KEYED, True): SharedKeyedContext,
    (ServiceKind.SINGLETON, False): SingletonContext,
    (ServiceKind.SINGLETON, True): SharedSingletonContext,
}


def _bind(service: Service, descriptor: ServiceDescriptor, method: MethodDescriptor[Any, Any], retry: RetryPolicy | None) -> BoundMethod:
    own = service.__restate_shared_context__ if method.shared else service.__restate_context__
    timeout = method.inactivity_timeout
    return BoundMethod(
        descriptor=method,
        kind=descriptor.kind,
        handler=getattr(service, method.python_name),
        retry=retry,
        options=tuple(options for options in (descriptor.retry, method.retry) if options is not None),
        context=own or _CONTEXTS[descriptor.kind, method.shared],
        inactivity_timeout=descriptor.inactivity_timeout if timeout is None else timeout,
    )


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
