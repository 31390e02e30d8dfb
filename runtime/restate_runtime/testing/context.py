"""What a context stands on in a test: state in a dictionary, calls to a double, time that passes by itself."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import hashlib
import inspect
import types
import weakref
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.actions import refuse_lossy, result_type
from ..errors import Code, TerminalError
from ..handler.client import InvocationHandle, OutgoingCall
from ..handler.futures import Awakeable, Call, DurableFuture, Ready
from ..handler.headers import Headers
from ..handler.scope import INSIDE_ACTION, OTHER_TASK, WAIT_FOR, ContextMisuse
from ..identifiers import FIRST_AWAKEABLE_INDEX, awakeable_id, invocation_id, parse_awakeable_id, parse_invocation_id
from ..journal.entries import Failure, Ref, Success
from ..journal.nodes import Leaf, Node
from ..retry import RetryPolicy
from ..serde import SerdeError, Value, decode, encode, restore

if TYPE_CHECKING:
    from .double import Double, Outcome

__all__ = ["ContextDouble"]

Read = TypeVar("Read")

_OVER = Success(Value("", b""))
# Of a side effect whose policy has no bound: one that always fails must not hang the test.
_EXECUTIONS = 10
_inside_action: contextvars.ContextVar[object] = contextvars.ContextVar("restate_inside_action", default=None)
_FAILED = Failure(Code.INTERNAL.value, "")


class ContextDouble:
    """Implements `handler.invocation.Invocation` for one handler under test."""

    dead = False
    silent = False

    def __init__(
        self,
        double: Double,
        id: bytes,
        *,
        key: str,
        state: dict[str, Value],
        headers: Mapping[str, str],
        attempt: int,
        now: datetime,
    ) -> None:
        self.id = invocation_id(id)
        self.key = key
        self.headers = Headers(headers)
        self.attempt = attempt
        self.service = "test"
        self.method = "Handler"
        self.target = "test/Handler"
        self.state = state
        self._double = double
        self._raw = id
        self._now = now
        self._refs = 0
        self._settled = 0
        self._awakeables: dict[str, Leaf] = {}
        self._timers: dict[Ref, tuple[datetime, Leaf]] = {}
        self._never: set[Ref] = set()
        self._waker: asyncio.Future[None] | None = None
        self._users: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    # --- what a test does

    def open_awakeables(self) -> list[str]:
        """Ids of awakeables that nobody has settled."""
        return [id for id, leaf in self._awakeables.items() if leaf.outcome is None]

    def settle(self, id: str, value: Value | None, reason: str) -> None:
        """Settles an awakeable, where it is one of this handler's."""
        leaf = self._awakeables.get(id)
        if leaf is not None:
            self._settle(leaf, Success(value) if value is not None else Failure(Code.ABORTED.value, reason))

    def let_time_pass(self, duration: timedelta) -> None:
        """Moves the clock."""
        until = self._now + duration
        while self._timers and min(due for due, _ in self._timers.values()) <= until:
            self._fire_next()
        self._now = until

    def _fire_next(self) -> None:
        ref, (due, leaf) = min(self._timers.items(), key=lambda item: (item[1][0], item[0]))
        del self._timers[ref]
        self._now = max(self._now, due)
        self._settle(leaf, _OVER)

    # --- results

    def _leaf(self) -> Leaf:
        self._refs += 1
        return Leaf(self._refs)

    def _settle(self, leaf: Leaf, outcome: Success | Failure) -> None:
        leaf.settle(self._settled, outcome)
        self._settled += 1
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def _future(self, leaf: Leaf, kind: type[Any], outcome: Outcome, context: contextvars.Context | None = None) -> Any:
        """A future of what the double, or an action, gave; what is awaited for it runs in that context."""

        pending = outcome.begin(context).pending

        def read() -> Any:
            if isinstance(pending, asyncio.Future):
                return pending.result()
            if outcome.error is not None:
                raise outcome.error
            return copy.deepcopy(outcome.value)  # each await gets its own, as from a runtime

        if outcome.never:
            self._never.add(leaf.ref)
        elif isinstance(pending, asyncio.Future):
            pending.add_done_callback(lambda done: self._settle(leaf, _OVER if done.exception() is None else _FAILED))
        else:
            self._settle(leaf, _OVER if outcome.error is None else _FAILED)
        return kind(self, leaf, read)

    def wait(self, node: Node) -> Generator[Any, None, None]:
        """Until the node is settled; where only time can do that, time passes."""
        while node.index < 0:
            waited = set(node.wait().leaves()) - self._never
            timers = waited & self._timers.keys()
            if timers and timers == waited:
                self._fire_next()
                continue
            if not waited:
                raise AssertionError("the handler waits for a call that the test never answers")
            self._waker = asyncio.get_running_loop().create_future()
            yield from self._waker.__await__()
            self._waker = None

    # --- Invocation

    def seed(self, purpose: str) -> bytes:
        return hashlib.blake2b(self._raw, key=purpose.encode(), digest_size=32).digest()

    def check_command(self) -> bool:
        if _inside_action.get() is self:
            raise ContextMisuse(INSIDE_ACTION)
        task = _current_task()
        if task is not None:
            self._users.add(task)
        return True

    def check_await(self, frame: types.FrameType) -> None:
        # A test may use a context too, so which task is the handler's is not known; but asyncio awaits in tasks that do nothing else.
        if _inside_action.get() is self:
            raise ContextMisuse(INSIDE_ACTION)
        if _current_task() not in self._users:
            raise ContextMisuse(OTHER_TASK)
        if frame.f_globals.get("__name__", "").startswith("asyncio."):
            raise ContextMisuse(WAIT_FOR)

    def consumed(self, node: Node) -> None:
        pass

    def inert(self) -> DurableFuture[Any]:
        raise AssertionError("a handler under test is never over before its end")

    def get_state(self, name: str, read: Callable[[Value | None], Read]) -> Ready[Read]:
        self.check_command()
        return Ready(read(self.state.get(name)))

    def set_state(self, name: str, value: Value) -> None:
        self.check_command()
        self.state[name] = value

    def clear_state(self, name: str) -> None:
        self.check_command()
        self.state.pop(name, None)

    def clear_all_state(self) -> None:
        self.check_command()
        self.state.clear()

    def state_names(self) -> Ready[list[str]]:
        self.check_command()
        return Ready(sorted(self.state))

    def sleep(self, duration: timedelta) -> DurableFuture[None]:
        if not isinstance(duration, timedelta):
            raise TypeError(f"a sleep or timeout takes a datetime.timedelta, not a {type(duration).__name__}")
        self.check_command()
        leaf = self._leaf()
        latest = datetime.max.replace(tzinfo=self._now.tzinfo)
        due = latest if duration > latest - self._now else self._now + max(duration, timedelta(0))
        self._timers[leaf.ref] = (due, leaf)
        return DurableFuture(self, leaf, lambda: None)

    def now(self) -> Ready[datetime]:
        self.check_command()
        return Ready(datetime.fromtimestamp(round(self._now.timestamp() * 1000) / 1000, UTC))

    def run(self, name: str, action: Callable[[], Any], type_: Any, policy: RetryPolicy) -> DurableFuture[Any]:
        from .double import Outcome

        self.check_command()
        wanted = result_type(action, type_, {})
        inside = contextvars.copy_context()
        inside.run(_inside_action.set, self)

        def recorded(value: Any) -> Any:
            try:
                encoded = encode(value, wanted)
                refuse_lossy(value, encoded, wanted)
                return restore(encoded) if wanted is None else decode(encoded, wanted)
            except SerdeError as error:
                raise TerminalError(f"the result of side effect '{name}' cannot be restored: {error}", Code.INTERNAL) from None

        async def execute(first: Awaitable[Any] | Exception) -> Any:
            executions = 0
            while True:
                executions += 1
                try:
                    value = first if executions == 1 else action()
                    if isinstance(value, Exception):
                        raise value
                    return recorded(await value if inspect.isawaitable(value) else value)
                except (TerminalError, ContextMisuse):
                    raise
                except Exception as error:
                    if executions < (policy.max_attempts or _EXECUTIONS):
                        continue
                    if policy.max_attempts is None:
                        raise
                    said = f"the side effect '{name}' failed {executions} times; the last with: {type(error).__name__}: {error}"
                    raise TerminalError(said, Code.INTERNAL) from None

        try:
            value = inside.run(action)
            outcome = Outcome(pending=inside.run(execute, value)) if inspect.isawaitable(value) else Outcome(value=recorded(value))
        except (TerminalError, ContextMisuse) as error:
            outcome = Outcome(error=error)
        except Exception as error:
            outcome = Outcome(pending=execute(error))
        return self._future(self._leaf(), DurableFuture, outcome, inside)  # type: ignore[no-any-return]

    def awakeable(self, type_: Any) -> Awakeable[Any]:
        self.check_command()
        leaf = self._leaf()
        id = awakeable_id(self._raw, FIRST_AWAKEABLE_INDEX + len(self._awakeables))
        self._awakeables[id] = leaf
        return Awakeable(self, leaf, type_, id)

    def settle_awakeable(self, id: str, value: Value | None, reason: str) -> None:
        if parse_awakeable_id(id) is None:
            raise TerminalError(f"'{id}' is no awakeable's id", Code.INVALID_ARGUMENT)
        self.check_command()
        self._double.settle(id, value, reason if value is None else _restored(value))

    def call(self, call: OutgoingCall) -> Call[Any]:
        from .double import Form

        if call.timeout_s is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")
        self.check_command()
        return self._future(self._leaf(), Call, self._double.take(call, Form.AWAITED))  # type: ignore[no-any-return]

    def send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        from .double import Form

        if call.timeout_s is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")
        self.check_command()
        self._double.take(call, Form.DELAYED if call.delay_ms else Form.BACKGROUND).begin()
        return _Handle(self, self._double.all_calls[-1].invocation_id)

    def cancel(self, id: str) -> None:
        if parse_invocation_id(id) is None:
            raise TerminalError(f"'{id}' is no invocation's id", Code.INVALID_ARGUMENT)
        self._double.cancelled.append(id)

    def handle(self, id: str) -> InvocationHandle[bytes]:
        if parse_invocation_id(id) is None:
            raise TerminalError(f"'{id}' is no invocation's id", Code.INVALID_ARGUMENT)
        return _Handle(self, id)

    def result(self, id: str) -> DurableFuture[Any]:
        """The answer to a background call."""
        self.check_command()
        outcome = self._double.outcome(id)
        if outcome.missing:
            raise AssertionError(outcome.missing)
        return self._future(self._leaf(), DurableFuture, outcome)  # type: ignore[no-any-return]


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a test without an event loop, or a thread
        return None


def _restored(value: Value) -> object:
    try:
        return restore(value)
    except SerdeError:  # of a user's Serde, or a message whose class cannot be found by its name
        return value


class _Handle(InvocationHandle[Any]):
    def __init__(self, context: ContextDouble, id: str) -> None:
        self._context = context
        self._id = id

    async def invocation_id(self) -> str:
        return self._id

    def result(self, timeout: timedelta | float | None = None) -> DurableFuture[Any]:
        if timeout is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")
        return self._context.result(self._id)

    async def status(self) -> str:
        raise RuntimeError("status() changes while the handler runs: it is for callers outside handlers, or inside ctx.run")

    def cancel(self) -> Awaitable[None]:
        self._context.cancel(self._id)
        return Ready(None)

    async def kill(self) -> None:
        raise RuntimeError("kill() is for callers outside handlers, or inside ctx.run")

    def __await__(self) -> Generator[Any, None, InvocationHandle[Any]]:
        return self
        yield
