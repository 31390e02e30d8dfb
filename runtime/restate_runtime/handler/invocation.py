"""The narrow interface between what user code touches and whichever engine runs it."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from ..journal.nodes import Node
from ..retry import RetryPolicy
from ..serde import Value
from .client import InvocationHandle, OutgoingCall
from .futures import Awakeable, Call, DurableFuture

__all__ = ["Invocation"]

T = TypeVar("T")


class Invocation(Protocol):
    """One attempt of one invocation, as contexts and futures see it.

    After the attempt has left memory every command is inert, and every await raises `Abandoned`.
    """

    @property
    def dead(self) -> bool:
        """Whether the attempt has left memory."""
        ...

    @property
    def id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def attempt(self) -> int: ...
    @property
    def target(self) -> str:
        """Service and method, for logs."""
        ...

    @property
    def service(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def silent(self) -> bool:
        """Whether logs are held back: the handler replays, or the attempt is over."""
        ...

    def seed(self, purpose: str) -> bytes:
        """Bytes for a deterministic generator: the same at every attempt, different for each purpose."""
        ...

    def check_command(self) -> bool:
        """Whether a command may be issued; `False` once the attempt is over.

        Raises:
            RuntimeError: another task, thread or a side effect uses the context.
        """
        ...

    def check_await(self, frame: types.FrameType) -> None:
        """Refuses awaits that are not the handler's own; `frame` is the one that awaits."""
        ...

    def wait(self, node: Node) -> Generator[Any, None, None]:
        """Until the node is settled.

        Raises:
            TerminalError: CANCELLED, the invocation was cancelled before.
        """
        ...

    def consumed(self, node: Node) -> None:
        """The handler gets the node's result.

        Raises:
            TerminalError: CANCELLED, the invocation was cancelled before the node was settled.
        """
        ...

    def inert(self) -> DurableFuture[Any]:
        """What an attempt that is over gets in place of a value: awaiting it ends the handler."""
        ...

    def get_state(self, name: str, read: Callable[[Value | None], T]) -> Awaitable[T]:
        """A state value, as `read` understands it; an engine that has it at hand reads it at once."""
        ...

    def set_state(self, name: str, value: Value) -> None: ...
    def clear_state(self, name: str) -> None: ...
    def clear_all_state(self) -> None: ...
    def state_names(self) -> Awaitable[list[str]]:
        """The names of the state, sorted."""
        ...

    def sleep(self, duration: timedelta) -> DurableFuture[None]: ...
    def run(
        self, name: str, action: Callable[[], Any] | Callable[[], Awaitable[Any]], type_: Any, policy: RetryPolicy
    ) -> DurableFuture[Any]: ...
    def now(self) -> Awaitable[datetime]:
        """The time, in UTC, recorded the first time."""
        ...

    def awakeable(self, type_: Any) -> Awakeable[Any]: ...
    def settle_awakeable(self, id: str, value: Value | None, reason: str) -> None: ...
    def call(self, call: OutgoingCall) -> Call[Any]: ...
    def send(self, call: OutgoingCall) -> InvocationHandle[Any]: ...
    def handle(self, id: str) -> InvocationHandle[bytes]: ...
    def cancel(self, id: str) -> None: ...
