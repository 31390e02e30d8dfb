"""Handles of background invocations inside handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..handler.client import InvocationHandle
from ..handler.futures import DurableFuture, Ready
from ..identifiers import invocation_id

if TYPE_CHECKING:
    from .attempt import Attempt

__all__ = ["DurableHandle"]

Response = TypeVar("Response")


class DurableHandle(InvocationHandle[Response]):
    """The id is recorded with the call; waiting for the result is an entry of its own."""

    __slots__ = ("_attempt", "_id", "_read")

    def __init__(self, attempt: Attempt, id: bytes, read: Callable[[bytes], Response]) -> None:
        self._attempt = attempt
        self._id = id
        self._read = read

    async def invocation_id(self) -> str:
        return invocation_id(self._id)

    def result(self, timeout: timedelta | float | None = None) -> DurableFuture[Response]:
        if timeout is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")
        return self._attempt.attach(self._id, self._read)

    async def status(self) -> str:
        raise RuntimeError("status() changes while the handler runs: it is for callers outside handlers, or inside ctx.run")

    def cancel(self) -> Awaitable[None]:
        self._attempt.cancel_raw(self._id)
        return Ready(None)

    async def kill(self) -> None:
        raise RuntimeError("kill() is for callers outside handlers, or inside ctx.run")

    def __await__(self) -> Generator[Any, None, InvocationHandle[Response]]:
        return self
        yield
