"""Methods by name: binary in, binary out, for callers that have no generated client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from .client import Caller, Method, OutgoingCall, check_options, delay_milliseconds, seconds

__all__ = ["NamedMethod", "named_call", "split_name"]

KeyOf = Callable[[str, str, bytes], str | None]


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
    """A `Method` whose request and response are the messages' bytes.

    Args:
        caller: who makes the calls.
        name: `list.ListService/Append`.
        key_of: the key of a request, from service, method and bytes; where it is left out, the callee's side takes the key.

    Raises:
        ValueError: the name has another form.
    """

    __slots__ = ("_key_of", "_method", "_service")

    def __init__(self, caller: Caller, name: str, key_of: KeyOf | None = None) -> None:
        # The parent's constructor takes a client and a descriptor; here there is neither.
        self._caller = caller
        self._service, self._method = split_name(name)
        self._key_of = key_of

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
        return named_call(self._service, self._method, self._key_of, request, idempotency_key, headers, timeout, delay)


def named_call(
    service: str,
    method: str,
    key_of: KeyOf | None,
    request: bytes,
    idempotency_key: str | None,
    headers: Mapping[str, str] | None,
    timeout: timedelta | float | None,
    delay: timedelta | None = None,
) -> OutgoingCall:
    """A call by name as a caller takes it, checked.

    Raises:
        TypeError: the request is not bytes.
        TerminalError: INVALID_ARGUMENT, an option or the key is none.
    """
    name = f"{service}/{method}"
    if not isinstance(request, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} by name takes the request's bytes, not a {type(request).__name__}")
    check_options(name, idempotency_key, headers)
    payload = bytes(request)
    return OutgoingCall(
        service=service,
        method=method,
        key=None if key_of is None else key_of(service, method, payload),
        payload=payload,
        idempotency_key=idempotency_key,
        headers=headers,
        delay_ms=0 if delay is None else delay_milliseconds(delay, name),
        timeout_s=seconds(timeout),
    )
