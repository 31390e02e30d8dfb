"""What the outer rings need of an engine, whichever it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from ..errors import TerminalError
from ..handler.client import OutgoingCall
from ..serde import Value
from .options import Options
from .registry import HostedMethod, Registry

__all__ = ["Engine", "Inspector", "Look", "Submission", "find_method", "settled"]

T = TypeVar("T")
Rows = list[dict[str, Any]]


async def settled(found: T | Awaitable[T]) -> T:
    """An answer, whether the engine has it at once or has to ask for it."""
    if isinstance(found, Awaitable):
        answer: T = await found
        return answer
    return found  # pyright: ignore[reportReturnType]  # what can be awaited was, above


class Submission(Protocol):
    """A call that the engine has taken.

    Attributes:
        invocation_id: its id; of the invocation that runs already, where an idempotency key attached to one.
        result: the response's bytes; a TerminalError where the invocation failed, a ConnectionError where the runtime stops first.
            `None` for a background call.
        attached: an idempotency key led to an invocation that was there already.
    """

    @property
    def invocation_id(self) -> str: ...

    @property
    def attached(self) -> bool: ...

    @property
    def result(self) -> asyncio.Future[bytes] | None: ...

    @property
    def on_disk(self) -> asyncio.Future[None]:
        """Done once the call is durable; fails with ConnectionError when it could not be made so."""
        ...


class Inspector(Protocol):
    """Reads what is committed. Rows are dictionaries with the column names of Restate's tables."""

    def services(self) -> list[dict[str, Any]]:
        """Rows of sys_service with a list of `methods`, sorted by name."""
        ...

    def invocations(
        self,
        *,
        service: str | None = None,
        key: str | None = None,
        statuses: Sequence[str] = (),
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Rows of sys_invocation, newest first."""
        ...

    def describe(self, invocation_id: str) -> dict[str, Any] | None:
        """One row of sys_invocation with its decoded `journal` and `waiting_for`; `None` where there is none."""
        ...

    def state(self, service: str, key: str | None, name: str | None = None) -> list[dict[str, Any]]:
        """Rows of `state` with `type` and decoded `value_json`, sorted by key and name; every key where `key` is `None`."""
        ...

    def deployments(self) -> list[dict[str, Any]]:
        """Rows of sys_deployment with their `services`, oldest first."""
        ...


class Look(Protocol):
    """An `Inspector`, or one like it that has to ask somebody else."""

    def services(self) -> Rows | Awaitable[Rows]: ...

    def invocations(
        self, *, service: str | None = None, key: str | None = None, statuses: Sequence[str] = (), limit: int = 100
    ) -> Rows | Awaitable[Rows]: ...

    def describe(self, invocation_id: str) -> dict[str, Any] | Awaitable[dict[str, Any] | None] | None: ...

    def state(self, service: str, key: str | None, name: str | None = None) -> Rows | Awaitable[Rows]: ...

    def deployments(self) -> Rows | Awaitable[Rows]: ...


class Engine(Protocol):
    """Takes calls from outside and answers once they are durable.

    An engine in this process answers at once; one that stands for another process answers with something to await (`settled`).

    Every method that takes an invocation's id raises `TerminalError` with NOT_FOUND for an unknown one and INVALID_ARGUMENT for a
    malformed one.
    """

    @property
    def options(self) -> Options: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def inspector(self) -> Look: ...

    async def refresh(self) -> None:
        """Brings the registry up to date, where services are hosted that this process is not told of."""
        ...

    def submit(self, call: OutgoingCall, *, background: bool) -> Submission | asyncio.Future[Submission]:
        """Takes a call, in the order of these. Raises TerminalError when it is refused."""
        ...

    def attach(self, invocation_id: str) -> asyncio.Future[bytes]:
        """The result of an invocation, once there is one."""
        ...

    def output(self, invocation_id: str) -> bytes | Awaitable[bytes | None] | None:
        """The result of a completed invocation, `None` while there is none. Raises the TerminalError that it failed with."""
        ...

    def method_of(self, invocation_id: str) -> tuple[str, str] | Awaitable[tuple[str, str]]:
        """Service and method of an invocation, to decode its result."""
        ...

    def status(self, invocation_id: str) -> str | Awaitable[str]:
        """The status as it is committed."""
        ...

    async def settle_awakeable(self, awakeable_id: str, value: Value | None, reason: str | None = None) -> None:
        """Resolves (with a value) or rejects (with a reason), and returns once that is durable.

        Raises:
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
        """
        ...

    async def cancel(self, invocation_id: str) -> None:
        """Asks an invocation to stop: its current or next await raises CANCELLED, once; one that has not begun ends with it.

        The awaited calls below it are cancelled with it; nothing happens to a completed one.
        """
        ...

    async def kill(self, invocation_id: str) -> None:
        """Ends an invocation and the awaited calls below it; nothing happens to a completed one."""
        ...

    async def pause(self, invocation_id: str) -> None:
        """Takes an invocation that has its turn out of memory, until somebody resumes it; it keeps its key.

        Raises FAILED_PRECONDITION where it is not yet due, in an inbox, or completed; nothing happens to a paused one.
        """
        ...

    async def resume(self, invocation_id: str) -> None:
        """Lets a paused or backing-off invocation try again now. Raises FAILED_PRECONDITION for any other status."""
        ...

    async def restart(self, invocation_id: str) -> str:
        """Makes a new invocation with the request and headers of a completed one, and returns its id.

        Raises FAILED_PRECONDITION for any other status, NOT_FOUND where nothing hosts its method any more.
        """
        ...

    async def purge(self, invocation_id: str) -> None:
        """Forgets a completed invocation with its journal and its idempotency key. Raises FAILED_PRECONDITION for any other status."""
        ...

    async def set_public(self, service: str, public: bool | None) -> None:
        """Opens or closes a service to callers outside, and returns once that is stored; with `None` code and contract decide again."""
        ...

    async def register_deployment(self, url: str, *, force: bool = False, http1: bool = False) -> dict[str, Any]:
        """Sends new invocations of an endpoint's services there; its row, and `created`: whether something has changed.

        Raises:
            RuntimeFault: there is no endpoint that could be registered.
            TerminalError: it does not go together with what is known.
        """
        ...

    async def remove_deployment(self, id: str, *, force: bool = False) -> None:
        """Forgets a deployment. Raises FAILED_PRECONDITION while invocations began on it, unless `force` is given."""
        ...


async def find_method(engine: Engine, service: str, method: str) -> HostedMethod:
    """The method of that name; it may have come a moment ago.

    Raises:
        TerminalError: NOT_FOUND, with the nearest name.
    """
    try:
        return engine.registry.resolve(service, method)
    except TerminalError:
        await engine.refresh()
    return engine.registry.resolve(service, method)
