"""What generated clients without an event loop are made of: a `SyncMethod` for each rpc, on a `SyncConnection`."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from ..deprecation import warn_once
from ..descriptors import MethodDescriptor
from .by_name import named_call, split_name
from .client import OutgoingCall, outgoing_call

__all__ = ["SyncCaller", "SyncClient", "SyncEmptyMethod", "SyncInvocationHandle", "SyncMethod", "SyncNamedMethod"]

Request = TypeVar("Request")
Response = TypeVar("Response")


class SyncInvocationHandle(abc.ABC, Generic[Response]):
    """A background or delayed invocation that is on disk, or one known by its id."""

    @abc.abstractmethod
    def invocation_id(self) -> str:
        """The invocation's id."""

    @abc.abstractmethod
    def result(self, timeout: timedelta | float | None = None) -> Response:
        """Waits for the end and returns the method's response.

        Args:
            timeout: bound on the wait; seconds where it is a number.

        Raises:
            TerminalError: the invocation failed.
            TimeoutError: the time is over; the invocation goes on.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """

    @abc.abstractmethod
    def status(self) -> str:
        """`scheduled`, `inboxed`, `ready`, `running`, `suspended`, `backing-off`, `paused` or `completed`."""

    @abc.abstractmethod
    def cancel(self) -> None:
        """Asks the invocation to stop: its current or next await raises `TerminalError` with code CANCELLED, once.

        The awaited calls below it are cancelled with it. One that has not begun ends at once; nothing happens to a completed one.
        """

    @abc.abstractmethod
    def kill(self) -> None:
        """Ends the invocation and the awaited calls below it at once; waiting callers get ABORTED."""


class SyncCaller(Protocol):
    """Whatever can make calls without an event loop."""

    def call(self, call: OutgoingCall) -> Any:
        """Makes a call and waits for its response."""
        ...

    def send(self, call: OutgoingCall) -> SyncInvocationHandle[Any]:
        """Makes a background or delayed call; returns once it is on disk."""
        ...


class SyncClient:
    """The base of generated clients for code without an event loop.

    Args:
        caller: what `connect_sync` gives.

    Raises:
        TypeError: the caller is something else.
    """

    # Every other name may be an rpc's: generated clients have one property for each.
    __slots__ = ("__caller",)

    def __init__(self, caller: SyncCaller) -> None:
        if not hasattr(caller, "call"):
            raise TypeError(f"{type(self).__name__} takes what connect_sync() gives, not {type(caller).__name__}")
        self.__caller = caller

    def __restate_caller__(self) -> SyncCaller:
        return self.__caller


class _SyncMethodBase(Generic[Response]):
    __slots__ = ("_caller", "descriptor")

    def __init__(self, client: SyncClient, descriptor: MethodDescriptor[Any, Any]) -> None:
        self._caller = client.__restate_caller__()
        self.descriptor = descriptor
        if descriptor.deprecated:
            warn_once(descriptor.deprecated)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.descriptor.full_name}>"

    def _outgoing(
        self,
        request: Any,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None,
        timeout: timedelta | float | None,
        delay: timedelta | None = None,
    ) -> OutgoingCall:
        return outgoing_call(self.descriptor, request, idempotency_key, headers, timeout, delay)


class SyncMethod(_SyncMethodBase[Response], Generic[Request, Response]):
    """One rpc of a client: call it, or send it in the background, now or later.

    Each form raises `TypeError` for a request of another type, and `TerminalError` for a call that is refused.
    """

    __slots__ = ()

    def __call__(
        self,
        request: Request,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> Response:
        """Calls, waits, and returns the response.

        Args:
            request: the input message.
            idempotency_key: calls with the same one are one invocation.
            headers: strings for the handler's `ctx.headers`.
            timeout: bound on the wait; the invocation goes on after it.

        Raises:
            TerminalError: the invocation failed, or the call was refused.
            TimeoutError: the time is over; the invocation goes on.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """
        response: Response = self._caller.call(self._outgoing(request, idempotency_key, headers, timeout))
        return response

    def in_background(
        self,
        request: Request,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> SyncInvocationHandle[Response]:
        """Makes a background call: it runs to its end, and nobody waits for it. Returns once the call is on disk."""
        return self._caller.send(self._outgoing(request, idempotency_key, headers, timeout))

    def delayed(
        self,
        request: Request,
        delay: timedelta,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> SyncInvocationHandle[Response]:
        """Makes a background call that does not start before `delay` is over. Returns once the call is on disk."""
        return self._caller.send(self._outgoing(request, idempotency_key, headers, timeout, delay))


class SyncEmptyMethod(_SyncMethodBase[Response]):
    """One rpc whose request is `google.protobuf.Empty`: as `SyncMethod`, without the request."""

    __slots__ = ()

    def __call__(
        self,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> Response:
        """Calls, waits, and returns the response."""
        response: Response = self._caller.call(self._outgoing(self.descriptor.request(), idempotency_key, headers, timeout))
        return response

    def in_background(
        self,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> SyncInvocationHandle[Response]:
        """Makes a background call: it runs to its end, and nobody waits for it. Returns once the call is on disk."""
        return self._caller.send(self._outgoing(self.descriptor.request(), idempotency_key, headers, timeout))

    def delayed(
        self,
        delay: timedelta,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> SyncInvocationHandle[Response]:
        """Makes a background call that does not start before `delay` is over. Returns once the call is on disk."""
        return self._caller.send(self._outgoing(self.descriptor.request(), idempotency_key, headers, timeout, delay))


class SyncNamedMethod(SyncMethod[bytes, bytes]):
    """A `SyncMethod` whose request and response are bytes; see `NamedMethod`.

    Raises:
        ValueError: the name has another form than `list.ListService/Append`.
    """

    __slots__ = ("_key", "_method", "_service")

    def __init__(self, caller: SyncCaller, name: str, key: str | None = None) -> None:
        # The parent's constructor takes a client and a descriptor; here there is neither.
        self._caller = caller
        self._service, self._method = split_name(name)
        self._key = key

    def __repr__(self) -> str:
        return f"<SyncNamedMethod {self._service}/{self._method}>"

    def _outgoing(
        self,
        request: Any,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None,
        timeout: timedelta | float | None,
        delay: timedelta | None = None,
    ) -> OutgoingCall:
        return named_call(self._service, self._method, self._key, request, idempotency_key, headers, timeout, delay)
