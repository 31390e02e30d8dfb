"""Calls made outside handlers, whichever way leads to the engine: their futures, their handles, and the background ones not seen yet.

A runtime and a connection share these. They hand in a source, a future of what the engine answered, and get what a user holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

from .client import InvocationHandle, seconds
from .futures import DurableFuture

__all__ = ["BackgroundCalls", "OutsideCall", "OutsideHandle", "Reach", "failed", "finished"]

T = TypeVar("T")
Source = TypeVar("Source")
Response = TypeVar("Response")


def finished(value: T) -> asyncio.Future[T]:
    """A source that has succeeded already."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def failed(error: Exception) -> asyncio.Future[Any]:
    """A source that has failed already: a call that was refused when it was made fails where it is awaited."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


class OutsideCall(asyncio.Future[T], Generic[T]):
    """A call as it is held outside handlers: a real asyncio future, so that all of asyncio works on it.

    Args:
        source: what the engine answers; it is followed, and cancelled by nobody but `abandoned`.
        decode: turns the source's result into this one's.
        timeout_s: bound on the wait, after which this future fails with `TimeoutError` while the source goes on.
        what: the call in words, for error messages.
        abandoned: told once nobody waits any longer: this future was cancelled, or its time is over.
    """

    def __init__(
        self,
        source: asyncio.Future[Source],
        decode: Callable[[Source], T],
        *,
        timeout_s: float | None = None,
        what: str = "the call",
        abandoned: Callable[[], object] | None = None,
    ) -> None:
        loop = source.get_loop()
        super().__init__(loop=loop)
        self._decode = decode
        self._what = what
        self._abandoned = abandoned
        self._timeout_s = timeout_s
        self._timer = None if timeout_s is None else loop.call_later(timeout_s, self._expire)
        source.add_done_callback(self._follow)

    def _follow(self, source: asyncio.Future[Any]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if source.cancelled():
            error: BaseException | None = ConnectionError(
                f"{self._what}: given up, the runtime or connection was closed before there was an answer"
            )
        else:
            error = source.exception()  # retrieved in any case, so that asyncio does not report it
        if self.done():
            return
        if error is None:
            try:
                self.set_result(self._decode(source.result()))
            except Exception as mistake:  # an answer that is no such message
                self.set_exception(mistake)
        else:
            self.set_exception(error)

    def _expire(self) -> None:
        if not self.done():
            self.set_exception(TimeoutError(f"{self._what}: no answer within {self._timeout_s:g} s; the invocation goes on"))
            self._give_up()

    def _give_up(self) -> None:
        if self._abandoned is not None:
            self._abandoned()

    def or_timeout(self, duration: timedelta) -> NoReturn:
        """For handlers: a durable future has it."""
        raise TypeError("or_timeout is for handlers: outside them give timeout=, or use asyncio.wait_for")

    def cancel(self, msg: Any | None = None) -> bool:
        """Ends the wait; the invocation goes on."""
        cancelled = super().cancel(msg)
        if cancelled:
            if self._timer is not None:
                self._timer.cancel()
            self._give_up()
        return cancelled


class Reach(Protocol):
    """The way to an invocation that a handle takes."""

    async def result_of(self, invocation_id: str, decode: Callable[[bytes], Any] | None) -> Any:
        """Waits for the end. Without `decode` the method is looked up and its response decoded, or left as bytes where it is not known."""
        ...

    async def status_of(self, invocation_id: str) -> str: ...

    async def cancel_invocation(self, invocation_id: str) -> None: ...

    async def kill_invocation(self, invocation_id: str) -> None: ...


class OutsideHandle(InvocationHandle[Response]):
    """A background invocation, or one known by its id, outside handlers.

    Args:
        accepted: the invocation's id once the call is on disk; fails with what went wrong.
        reach: the runtime or connection that made the call.
        decode: the method's response from bytes; `None` for an invocation that is known by its id only.
        calls: where the handle stays until its call is on disk, or somebody saw it fail.
    """

    __slots__ = ("_accepted", "_calls", "_decode", "_reach")

    def __init__(
        self,
        accepted: asyncio.Future[str],
        reach: Reach,
        decode: Callable[[bytes], Response] | None = None,
        calls: BackgroundCalls | None = None,
    ) -> None:
        self._accepted = accepted
        self._reach = reach
        self._decode = decode
        self._calls = calls
        if calls is not None:
            calls.track(self, accepted)

    async def invocation_id(self) -> str:
        """The id, once the call is on disk.

        Raises:
            TerminalError: the call was refused.
            ConnectionError: the runtime cannot be reached, or is stopping.
            TimeoutError: the time given with the call is over.
        """
        try:
            # Shielded: one waiting task that is cancelled must not take the call from the others.
            return await asyncio.shield(self._accepted)
        finally:
            if self._calls is not None and self._accepted.done():
                self._calls.saw(self)

    def result(self, timeout: timedelta | float | None = None) -> DurableFuture[Response]:
        """Waits for the end and returns the method's response."""
        return cast(DurableFuture[Response], self._result(seconds(timeout)))  # awaited in the same way

    async def _result(self, bound: float | None) -> Response:
        try:
            async with asyncio.timeout(bound):
                invocation_id = await self.invocation_id()
                response: Response = await self._reach.result_of(invocation_id, self._decode)
                return response
        except TimeoutError as error:
            if error.args or bound is None:
                raise
            raise TimeoutError(f"no result within {bound:g} s; the invocation goes on") from None

    async def status(self) -> str:
        """The status as it is committed."""
        return await self._reach.status_of(await self.invocation_id())

    async def cancel(self) -> None:
        """Asks the invocation to stop, and returns once that is on disk."""
        await self._reach.cancel_invocation(await self.invocation_id())

    async def kill(self) -> None:
        """Ends the invocation and the awaited calls below it at once."""
        await self._reach.kill_invocation(await self.invocation_id())

    def __await__(self) -> Generator[Any, None, OutsideHandle[Response]]:
        yield from self.invocation_id().__await__()
        return self


class BackgroundCalls:
    """The background calls of one runtime or connection that are still under way, or failed unseen."""

    def __init__(self) -> None:
        self._open: dict[OutsideHandle[Any], asyncio.Future[str]] = {}

    def track(self, handle: OutsideHandle[Any], accepted: asyncio.Future[str]) -> None:
        """Keeps the handle until its call is on disk, or somebody saw it fail."""
        self._open[handle] = accepted
        accepted.add_done_callback(lambda _: self._done(handle, accepted))

    def _done(self, handle: OutsideHandle[Any], accepted: asyncio.Future[str]) -> None:
        if accepted.cancelled() or accepted.exception() is None:
            self._open.pop(handle, None)

    def saw(self, handle: OutsideHandle[Any]) -> None:
        """Somebody got the outcome of that call."""
        self._open.pop(handle, None)

    async def close(self, raised: BaseException | None = None, timeout_s: float | None = None) -> None:
        """Waits for the calls still under way and raises the failures that nobody saw; called on leaving `async with`.

        Args:
            raised: what the block raised, which stays what is raised: the failures become notes on it.
            timeout_s: bound on the wait; what is not on disk then has failed.

        Raises:
            Exception: the failure, where it is one; an `ExceptionGroup` where they are several.
        """
        if not self._open:
            return
        await asyncio.wait(list(self._open.values()), timeout=timeout_s)
        accepted = [future for future in self._open.values() if not future.cancelled()]
        self._open.clear()
        failures = [error for future in accepted if future.done() and isinstance(error := future.exception(), Exception)]
        failures += [ConnectionError("a background call is not on disk, and the runtime stops") for future in accepted if not future.done()]
        if raised is not None:
            for failure in failures:
                raised.add_note(f"a background call failed as well: {failure}")
        elif len(failures) == 1:
            raise failures[0]
        elif failures:
            raise ExceptionGroup(f"{len(failures)} background calls failed", failures)
