"""Handles of background invocations inside handlers on a Restate cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..handler.client import InvocationHandle
from ..handler.futures import DurableFuture, Ready, value_of
from ..journal.nodes import Leaf

if TYPE_CHECKING:
    from .attempt import Attempt

__all__ = ["ClusterHandle"]

Response = TypeVar("Response")


class ClusterHandle(InvocationHandle[Response]):
    """The cluster chooses the id, which arrives as a result of its own; what needs the id is asked once it is there.

    Args:
        attempt: whose handle it is.
        id: the invocation's id as a result; settled already where it is known.
        read: the method's response from bytes.
    """

    __slots__ = ("_attempt", "_id", "_read")

    def __init__(self, attempt: Attempt, id: Leaf, read: Callable[[bytes], Response]) -> None:
        self._attempt = attempt
        self._id = id
        self._read = read

    async def invocation_id(self) -> str:
        return await DurableFuture(self._attempt, self._id, lambda: value_of(self._id.outcome).data.decode())

    def result(self, timeout: timedelta | float | None = None) -> DurableFuture[Response]:
        if timeout is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")
        return self._attempt.attach(self._id, self._read)

    async def status(self) -> str:
        raise RuntimeError("status() changes while the handler runs: it is for callers outside handlers, or inside ctx.run")

    def cancel(self) -> Awaitable[None]:
        self._attempt.cancel_by(self._id)
        return Ready(None)

    async def kill(self) -> None:
        raise RuntimeError("kill() is for callers outside handlers, or inside ctx.run")

    def __await__(self) -> Generator[Any, None, InvocationHandle[Response]]:
        return self
        yield
