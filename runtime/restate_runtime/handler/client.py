"""What generated clients are made of: a `Method` for each rpc, on any `Caller`."""

from __future__ import annotations

import abc
import math
from collections.abc import Awaitable, Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import DecodeError

from ..deprecation import warn_once
from ..descriptors import MethodDescriptor, wanted_not_given
from ..durations import parse_duration, whole_milliseconds
from ..errors import Code, TerminalError
from ..serde import SerdeError, check_text
from .futures import Call, DurableFuture

__all__ = ["RETENTION", "Caller", "Client", "EmptyMethod", "InvocationHandle", "Method", "OutgoingCall"]

RETENTION = "idempotency-retention-period"
"""A header of one call: for how many seconds its result answers repeats of its idempotency key."""

# Thirty years: sockets and timers do not take every number, and infinity least of all.
_LONGEST_WAIT_S = 1e9

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(slots=True, kw_only=True)
class OutgoingCall:
    """One call as a caller takes it: encoded, its key extracted.

    Attributes:
        service: full name of the service.
        method: the rpc's name.
        key: the key for a KEYED service, `None` for the others.
        payload: the request as binary protobuf.
        descriptor: the rpc's descriptor, `None` for a call by name, whose response stays bytes.
        idempotency_key: calls with the same one (and service, method, key) are one invocation.
        headers: what the handler sees as `ctx.headers`.
        delay_ms: not before so many milliseconds from now.
        timeout_s: bound on the caller's wait, outside handlers.
        retention_s: how long the result answers repeats of the idempotency key, `None` where method or runtime say so.
    """

    service: str
    method: str
    key: str | None
    payload: bytes
    descriptor: MethodDescriptor[Any, Any] | None = None
    idempotency_key: str | None = None
    headers: Mapping[str, str] | None = None
    delay_ms: int = 0
    timeout_s: float | None = None
    retention_s: float | None = None

    def decode_response(self, payload: bytes) -> Any:
        """The response message; `None` for Empty; the bytes as they are for a call by name.

        Raises:
            SerdeError: the bytes are no such message, or one that its library cannot read.
        """
        if self.descriptor is None:
            return payload
        if self.descriptor.empty_response:
            return None
        try:
            return self.descriptor.response_codec.decode(payload)
        except DecodeError as error:
            raise SerdeError(f"{self.descriptor.full_name}: the response cannot be read: {error}") from error


class InvocationHandle(abc.ABC, Generic[Response]):
    """A background or delayed invocation, or one known by its id.

    Outside handlers the handle is awaitable: `await handle` returns the handle once the call is on disk, and raises what went wrong.
    """

    @abc.abstractmethod
    async def invocation_id(self) -> str:
        """The invocation's id."""

    @abc.abstractmethod
    def result(self, timeout: timedelta | float | None = None) -> DurableFuture[Response]:
        """Waits for the end and returns the method's response; inside handlers it is a durable future, outside a coroutine.

        Args:
            timeout: bound on the wait, outside handlers; seconds where it is a number.

        Raises:
            TerminalError: the invocation failed.
            TimeoutError: the time is over; the invocation goes on.
            ConnectionError: the runtime cannot be reached, or is stopping.
        """

    @abc.abstractmethod
    async def status(self) -> str:
        """`scheduled`, `inboxed`, `ready`, `running`, `suspended`, `backing-off`, `paused` or `completed`."""

    @abc.abstractmethod
    def cancel(self) -> Awaitable[None]:
        """Asks the invocation to stop: its current or next await raises `TerminalError` with code CANCELLED, once.

        The awaited calls below it are cancelled with it. One that has not begun ends at once; nothing happens to a completed one. Inside
        handlers it is recorded in the journal when it is made, and need not be awaited.
        """

    @abc.abstractmethod
    async def kill(self) -> None:
        """Ends the invocation and the awaited calls below it at once; waiting callers get ABORTED."""

    @abc.abstractmethod
    def __await__(self) -> Generator[Any, None, InvocationHandle[Response]]: ...


class Caller(Protocol):
    """Whatever can make calls: a context inside a handler, a runtime or a connection outside."""

    def begin_call(self, call: OutgoingCall) -> Call[Any]:
        """Begins an awaited call at once."""
        ...

    def begin_send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        """Begins a background or delayed call at once."""
        ...


class Client:
    """The base of generated clients.

    Args:
        caller: the context inside a handler; a connection or a runtime outside one.

    Raises:
        TypeError: the caller is something else.
    """

    # Every other name may be an rpc's: generated clients have one property for each.
    __slots__ = ("__caller",)

    def __init__(self, caller: Caller) -> None:
        if not hasattr(caller, "begin_call"):
            raise TypeError(f"{type(self).__name__} takes a context, a runtime or a connection, not {type(caller).__name__}")
        self.__caller = caller

    def __restate_caller__(self) -> Caller:
        return self.__caller


def outgoing_call(
    method: MethodDescriptor[Any, Any],
    request: Any,
    idempotency_key: str | None,
    headers: Mapping[str, str] | None,
    timeout: timedelta | float | None,
    delay: timedelta | None = None,
) -> OutgoingCall:
    """A call as a caller takes it, checked.

    Raises:
        TypeError: the request is of another type.
        SerdeError: the request cannot be encoded, an option cannot be stored.
        TerminalError: INVALID_ARGUMENT, an option or the key is none.
    """
    if not isinstance(request, method.request):
        raise TypeError(f"{method.full_name} takes {wanted_not_given(method.request, request)}")
    codec = method.request_codec
    try:
        payload = codec.encode(request)
    except Exception as error:  # EncodeError: a required field of proto2 is missing, or a library does not take a value
        raise SerdeError(f"{method.full_name}: the request cannot be sent: {error}") from error
    key = None
    if method.key_field is not None:
        key = getattr(request if codec.wire is method.request else codec.wire.FromString(payload), method.key_field)
        if not key:
            raise TerminalError(f"{method.full_name}: the key field '{method.key_field}' is empty", Code.INVALID_ARGUMENT)
    headers, retention_s = checked_options(method.full_name, idempotency_key, headers)
    return OutgoingCall(
        service=method.service_name,
        method=method.name,
        key=key,
        payload=payload,
        descriptor=method,
        idempotency_key=idempotency_key,
        headers=headers,
        delay_ms=0 if delay is None else delay_milliseconds(delay, method.full_name),
        timeout_s=seconds(timeout),
        retention_s=retention_s,
    )


class _MethodBase(Generic[Response]):
    __slots__ = ("_caller", "descriptor")

    def __init__(self, client: Client, descriptor: MethodDescriptor[Any, Any]) -> None:
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


class Method(_MethodBase[Response], Generic[Request, Response]):
    """One rpc of a client: call it, or send it in the background, now or later.

    Each form raises `TypeError` for a request of another type, `SerdeError` for one that cannot be encoded, and `TerminalError` with code
    INVALID_ARGUMENT for an empty key.
    """

    __slots__ = ()

    def __call__(
        self,
        request: Request,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> Call[Response]:
        """Begins an awaited call at once; `await` it for the response.

        Args:
            request: the input message.
            idempotency_key: calls with the same one are one invocation.
            headers: strings for the handler's `ctx.headers`.
            timeout: bound on the wait, outside handlers; the invocation goes on after it.
        """
        return self._caller.begin_call(self._outgoing(request, idempotency_key, headers, timeout))

    def in_background(
        self,
        request: Request,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> InvocationHandle[Response]:
        """Begins a background call: it runs to its end, and nobody waits for it."""
        return self._caller.begin_send(self._outgoing(request, idempotency_key, headers, timeout))

    def delayed(
        self,
        request: Request,
        delay: timedelta,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> InvocationHandle[Response]:
        """Begins a background call that does not start before `delay` is over."""
        return self._caller.begin_send(self._outgoing(request, idempotency_key, headers, timeout, delay))


class EmptyMethod(_MethodBase[Response]):
    """One rpc whose request is `google.protobuf.Empty`: as `Method`, without the request."""

    __slots__ = ()

    def __call__(
        self,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> Call[Response]:
        """Begins an awaited call at once; `await` it for the response."""
        return self._caller.begin_call(self._outgoing(self.descriptor.request(), idempotency_key, headers, timeout))

    def in_background(
        self,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> InvocationHandle[Response]:
        """Begins a background call: it runs to its end, and nobody waits for it."""
        return self._caller.begin_send(self._outgoing(self.descriptor.request(), idempotency_key, headers, timeout))

    def delayed(
        self,
        delay: timedelta,
        *,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | float | None = None,
    ) -> InvocationHandle[Response]:
        """Begins a background call that does not start before `delay` is over."""
        return self._caller.begin_send(self._outgoing(self.descriptor.request(), idempotency_key, headers, timeout, delay))


def checked_options(
    target: str, idempotency_key: str | None, headers: Mapping[str, str] | None
) -> tuple[Mapping[str, str] | None, float | None]:
    """The headers for the handler, and the retention of the idempotency key in seconds, which is a header too; all of it can be stored.

    Raises:
        SerdeError: a part is no string.
        TerminalError: INVALID_ARGUMENT, the idempotency key is empty, or the retention no duration.
    """
    retention_s = None
    if idempotency_key is not None:
        check_text(f"{target}: the idempotency key", idempotency_key)
        if not idempotency_key:
            raise TerminalError(f"{target}: the idempotency key is empty", Code.INVALID_ARGUMENT)
    if headers is not None:
        if not isinstance(headers, Mapping):
            raise TypeError(f"{target}: headers is a mapping of strings, not a {type(headers).__name__}")
        for name, value in headers.items():
            check_text(f"{target}: the name of a header", name)
            check_text(f"{target}: the header '{name}'", value)
            if name.lower() == RETENTION:
                retention_s = retention_seconds(value)
    if headers is not None:  # as HTTP has them, whichever way leads to the handler
        headers = {name.lower(): value for name, value in headers.items() if name.lower() != RETENTION}
    return headers, retention_s


def retention_seconds(text: str) -> float:
    """How long a completed call answers repeats of its idempotency key, as the header says it.

    Raises:
        TerminalError: INVALID_ARGUMENT, it is no duration.
    """
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise TerminalError(f"{RETENTION}: {error}", Code.INVALID_ARGUMENT) from None


def seconds(duration: timedelta | float | None) -> float | None:
    """A bound on a wait in seconds.

    Raises:
        TypeError: it is neither a timedelta nor a number.
        ValueError: it is NaN.
    """
    if duration is None:
        return None
    if isinstance(duration, timedelta):
        return min(duration.total_seconds(), _LONGEST_WAIT_S)
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise TypeError(f"timeout is a datetime.timedelta, or a number of seconds, not a {type(duration).__name__}")
    if math.isnan(duration):
        raise ValueError("timeout is a number of seconds, not NaN")
    return min(duration, _LONGEST_WAIT_S)


def delay_milliseconds(delay: timedelta, target: str) -> int:
    if not isinstance(delay, timedelta):
        raise TypeError(f"{target}: delay is a datetime.timedelta, not a {type(delay).__name__}")
    if delay < timedelta(0):
        raise TerminalError(f"{target}: the delay is negative", Code.INVALID_ARGUMENT)
    return whole_milliseconds(delay)
