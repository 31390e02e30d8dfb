"""Methods by name: binary in, binary out, for callers that have no generated client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from ..serde import check_text
from .client import Caller, Method, OutgoingCall, checked_options, delay_milliseconds, seconds

__all__ = ["NamedMethod", "named_call", "split_name"]


def split_name(name: str) -> tuple[str, str]:
    """`list.ListService/Append` as service and method.

    Raises:
        ValueError: the name has another form.
    """
    service, slash, method = name.partition("/")
    if not (service and slash and method) or "/" in method:
        raise ValueError(f"'{name}' is no method: write SERVICE/METHOD, such as 'list.ListService/Append'")
    return service, method


class NamedMethod(Method[bytes, bytes]):
    """A `Method` whose request and response are bytes: the messages' in binary, or what a service without a .proto takes and gives.

    Args:
        caller: who makes the calls.
        name: `list.ListService/Append`.
        key: the key, where it does not stand in the request.

    Raises:
        ValueError: the name has another form.
    """

    __slots__ = ("_key", "_method", "_service")

    def __init__(self, caller: Caller, name: str, key: str | None = None) -> None:
        # The parent's constructor takes a client and a descriptor; here there is neither.
        self._caller = caller
        self._service, self._method = split_name(name)
        self._key = key

    def __repr__(self) -> str:
        return f"<NamedMethod {self._service}/{self._method}>"

    def _outgoing(
        self,
        request: bytes,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None,
        timeout: timedelta | float | None,
        delay: timedelta | None = None,
    ) -> OutgoingCall:
        return named_call(self._service, self._method, self._key, request, idempotency_key, headers, timeout, delay)


def named_call(
    service: str,
    method: str,
    key: str | None,
    request: bytes,
    idempotency_key: str | None,
    headers: Mapping[str, str] | None,
    timeout: timedelta | float | None,
    delay: timedelta | None = None,
) -> OutgoingCall:
    """A call by name as a caller takes it, checked; the engine takes the key from the request, or puts it there.

    Raises:
        TypeError: the request is not bytes.
        SerdeError: the key is no string that can be stored.
        TerminalError: INVALID_ARGUMENT, an option is none.
    """
    name = f"{service}/{method}"
    if not isinstance(request, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} by name takes the request's bytes, not a {type(request).__name__}")
    if key is not None:
        check_text(f"{name}: the key", key)
    headers, retention_s = checked_options(name, idempotency_key, headers)
    return OutgoingCall(
        service=service,
        method=method,
        key=key,
        payload=bytes(request),
        idempotency_key=idempotency_key,
        headers=headers,
        delay_ms=0 if delay is None else delay_milliseconds(delay, name),
        timeout_s=seconds(timeout),
        retention_s=retention_s,
    )
