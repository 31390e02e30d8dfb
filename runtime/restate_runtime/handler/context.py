"""The contexts that handlers get, one for each kind of service."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from ..retry import RetryPolicy
from ..serde import Serde, SerdeError, Value, check_text, decode, encode
from .by_name import NamedMethod
from .client import InvocationHandle, Method, OutgoingCall
from .futures import Awakeable, Call, DurableFuture
from .invocation import Invocation
from .logger import ContextLogger

__all__ = [
    "Context",
    "KeyedContext",
    "SharedContext",
    "SharedKeyedContext",
    "SharedSingletonContext",
    "SingletonContext",
    "StatefulContext",
    "UnkeyedContext",
]

T = TypeVar("T")

_ACTION_RETRY = RetryPolicy()


class Context:
    """What a handler can do, whatever the kind of its service.

    Every operation takes its place in the journal when it is made, in program order. On a replay it gives what it gave before. None
    can be used inside a side effect, nor from another task or thread: that raises `RuntimeError`.
    """

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._random: random.Random | None = None
        self._uuids: random.Random | None = None
        self._logger: ContextLogger | None = None

    @property
    def invocation_id(self) -> str:
        """This invocation's id."""
        return self._invocation.id

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that came with the call."""
        return self._invocation.headers

    @property
    def attempt(self) -> int:
        """1 on the first attempt, one more after each failed one."""
        return self._invocation.attempt

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that is silent while the handler replays."""
        if self._logger is None:
            self._logger = ContextLogger(self._invocation)
        return self._logger

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same on every replay. Not for secrets."""
        self._invocation.check_command()
        if self._random is None:
            self._random = random.Random(self._invocation.seed("random"))
        return self._random

    def uuid(self) -> uuid.UUID:
        """A version 4 UUID that is the same on every replay."""
        self._invocation.check_command()
        if self._uuids is None:
            self._uuids = random.Random(self._invocation.seed("uuid"))
        return uuid.UUID(int=self._uuids.getrandbits(128), version=4)

    def now(self) -> Awaitable[datetime]:
        """The time, in UTC, that was recorded the first time."""
        if self._invocation.dead:
            return self._invocation.inert()
        return self._invocation.now()

    def sleep(self, duration: timedelta) -> DurableFuture[None]:
        """A durable timer: it goes on through restarts.

        Args:
            duration: at least this long; a negative one is over at once.
        """
        return self._invocation.sleep(duration)

    @overload
    def run(
        self, name: str, action: Callable[[], Awaitable[T]], *, type: Any = None, retry: RetryPolicy = _ACTION_RETRY
    ) -> DurableFuture[T]: ...
    @overload
    def run(self, name: str, action: Callable[[], T], *, type: Any = None, retry: RetryPolicy = _ACTION_RETRY) -> DurableFuture[T]: ...
    def run(self, name: str, action: Callable[[], Any], *, type: Any = None, retry: RetryPolicy = _ACTION_RETRY) -> DurableFuture[Any]:
        """A side effect: runs the action at least once and records its result once; a replay returns the recorded result.

        Args:
            name: names it in the journal.
            action: sync (runs in a thread) or async. A `TerminalError` from it is the recorded result; any other exception is retried.
            type: how the result is restored; the action's return annotation where it is left out.
            retry: when to try again.

        Raises:
            TerminalError: at the await: from the action, or INTERNAL when the policy is spent.
        """
        check_text("the name of a side effect", name)
        if not callable(action):
            if isinstance(action, Coroutine):
                action.close()  # it would be reported as never awaited
            kind = action.__class__.__name__
            raise TypeError(f"side effect '{name}': the action is a function to be called, not a {kind}: pass it without ()")
        if not isinstance(retry, RetryPolicy):
            raise TypeError(f"side effect '{name}': retry is a RetryPolicy, not a {retry.__class__.__name__}")
        return self._invocation.run(name, action, type, retry)

    def awakeable(self, type: type[T]) -> Awakeable[T]:
        """A promise that anyone who holds its `id` can settle.

        Args:
            type: what it is resolved with: a message class, what msgspec decodes, or a `Serde`.
        """
        return self._invocation.awakeable(type)

    def resolve_awakeable(self, id: str, value: object) -> None:
        """Settles an awakeable with a value.

        Raises:
            TerminalError: INVALID_ARGUMENT, that is no awakeable's id.
            SerdeError: the value cannot be stored.
        """
        self._invocation.settle_awakeable(id, encode(value), "")

    def reject_awakeable(self, id: str, reason: str) -> None:
        """Settles an awakeable with a failure: whoever awaits it gets a `TerminalError` with this reason."""
        check_text("the reason", reason)
        self._invocation.settle_awakeable(id, None, reason)

    def cancel(self, invocation_id: str) -> None:
        """Asks another invocation to stop: its current or next await raises `TerminalError` with code CANCELLED, once.

        The awaited calls below it are cancelled with it. One that has not begun ends at once; nothing happens to one that is completed or
        unknown.

        Raises:
            TerminalError: INVALID_ARGUMENT, that is no invocation's id.
        """
        self._invocation.cancel(invocation_id)

    def invocation(self, id: str) -> InvocationHandle[bytes]:
        """A handle for an invocation that is known by its id."""
        return self._invocation.handle(id)

    def method(self, name: str, *, key: str | None = None) -> Method[bytes, bytes]:
        """A method by name, `list.ListService/Append`: binary in, binary out.

        Args:
            name: service and method.
            key: for a KEYED service without a .proto; for one with a .proto it stands in the request, and is filled in where it does not.

        Raises:
            ValueError: the name has another form.
        """
        return NamedMethod(self, name, key)

    def begin_call(self, call: OutgoingCall) -> Call[Any]:
        """For generated clients: begins an awaited call."""
        return self._invocation.call(call)

    def begin_send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        """For generated clients: begins a background call."""
        return self._invocation.send(call)


class UnkeyedContext(Context):
    """The context of an UNKEYED service: no state, no key."""


class SharedContext(Context):
    """A context that reads state: of one key, or of a service."""

    @overload
    def get(self, name: str, type: type[T]) -> Awaitable[T | None]: ...
    @overload
    def get(self, name: str, type: Serde[T]) -> Awaitable[T | None]: ...
    def get(self, name: str, type: Any) -> Awaitable[Any]:
        """A state value, or `None` where there is none.

        Args:
            name: the state's name.
            type: a message class, what msgspec decodes, or the `Serde` that it was set with.

        Raises:
            SerdeError: the stored value is of another type.
        """
        check_text("the name of a state", name)
        if self._invocation.dead:
            return self._invocation.inert()

        def read(value: Value | None) -> Any:
            if value is None:
                return None
            try:
                return decode(value, type)
            except SerdeError as error:
                raise SerdeError(f"state '{name}' of {self._invocation.service}: {error}") from None

        return self._invocation.get_state(name, read)

    def state_keys(self) -> Awaitable[list[str]]:
        """The names of the state, sorted; the handler's own writes count."""
        if self._invocation.dead:
            return self._invocation.inert()
        return self._invocation.state_names()


class StatefulContext(SharedContext):
    """A context that reads and writes state: of one key, or of a service."""

    def set(self, name: str, value: object, *, serde: Serde[Any] | None = None) -> None:
        """Sets a state value.

        Args:
            name: the state's name.
            value: a message, or what msgspec encodes; not `None`.
            serde: encodes the value, where msgspec does not.

        Raises:
            SerdeError: the value cannot be stored.
            ValueError: the value is `None`; use `clear`.
        """
        check_text("the name of a state", name)
        if value is None:
            raise ValueError(f"state '{name}' cannot be set to None: use clear('{name}')")
        try:
            encoded = encode(value, serde)
        except SerdeError as error:
            raise SerdeError(f"state '{name}' of {self._invocation.service}: {error}") from None
        self._invocation.set_state(name, encoded)

    def clear(self, name: str) -> None:
        """Removes a state value."""
        check_text("the name of a state", name)
        self._invocation.clear_state(name)

    def clear_all(self) -> None:
        """Removes all state of this key or service."""
        self._invocation.clear_all_state()


class SharedKeyedContext(SharedContext):
    """The context of a KEYED service's shared handlers: they read the state of their key, and take no turn."""

    @property
    def key(self) -> str:
        """The key of this invocation."""
        return self._invocation.key


class SharedSingletonContext(SharedContext):
    """The context of a SINGLETON service's shared handlers: they read the service's state, and take no turn."""


class KeyedContext(StatefulContext, SharedKeyedContext):
    """The context of a KEYED service."""


class SingletonContext(StatefulContext, SharedSingletonContext):
    """The context of a SINGLETON service."""
