"""One attempt of an invocation on a Restate cluster: what contexts and futures use, over the SDK's state machine."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import time
import traceback
import types
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ..durations import whole_milliseconds
from ..engine.actions import result_type
from ..engine.idempotency import kept_by_service
from ..engine.sources import describe_error
from ..envelope import seal
from ..errors import Code, RuntimeFault, TerminalError
from ..handler.client import InvocationHandle, OutgoingCall
from ..handler.futures import Awakeable, Call, DurableFuture, Ready, terminal_error_of, value_of
from ..handler.headers import Headers
from ..handler.scope import WAIT_FOR, WAIT_WITH, Abandoned, ContextMisuse, current_handler, misuse
from ..handler.tasks import begin_task
from ..identifiers import parse_awakeable_id, parse_invocation_id
from ..journal.entries import CANCELLED, Failure, Outcome, Success
from ..journal.lifecycle import MISSING
from ..journal.nodes import Leaf, Node
from ..retry import RetryPolicy
from ..serde import SerdeError, Value, check_size, decode, restore, storable
from .actions import Action
from .handles import ClusterHandle
from .ids import awaiting, is_invocation_id
from .machine import Broken, Machine, Progress, RunWanted
from .opening import Opening
from .results import ABSENT, identifier, names, payload, rejected_or_sealed, sealed, state

if TYPE_CHECKING:
    from ..engine.registry import BoundMethod
    from .host import Host

__all__ = ["Attempt"]

Read = TypeVar("Read")
Convert = Callable[[Any], Outcome]

_NEVER = -1
_LARGEST = 32 * 1024 * 1024
"""Bytes of a message that Restate 1.7 takes with its default configuration. The embedded engine has an option, and says it."""
_NOW_RETRY = _PATIENT = RetryPolicy()
_PATIENCE = 1000
"""Awaits of a handler after its attempt is over, each of which raises; more than cleaning up takes."""


class Attempt:
    """Implements `handler.invocation.Invocation` for a Restate cluster.

    Two tasks share the work: the handler's own, and the driver's (`drive`), which alone talks to the connection. The machine is moved
    on only while the handler waits, and always by the next result of any that is open: so results are numbered in the order in which
    they were recorded, at every replay alike.
    """

    def __init__(self, host: Host, machine: Machine, bound: BoundMethod, opening: Opening | None) -> None:
        self.id = machine.invocation_id
        self.dead = False
        self.bound = bound
        self.service = bound.service
        self.method = bound.name
        self.given_key = machine.key
        self.key = host.shown_key(bound, machine.key)
        self.target = f"{self.service}/{self.method}" + (f" of '{self.key}'" if self.key else "")
        self.headers = Headers(host.shown_headers(machine.headers))
        self.content_type = next((value for name, value in machine.headers if name.lower() == "content-type"), "")
        self.failures = opening.failures if opening is not None else 0
        self.attempt = self.failures + 1
        self.task: asyncio.Task[None] | None = None
        self.blocked_on: Node | None = None
        self.waker: asyncio.Future[None] | None = None
        self.outcome: Outcome | Exception | None = None
        self.host = host
        self._machine = machine
        self._open: dict[int, tuple[Leaf, Convert]] = {}
        self._after: dict[Leaf, list[Callable[[str], None]]] = {}
        self._actions: dict[int, Action] = {}
        self._unawaited: list[tuple[Leaf, str]] = []
        self._cleared: set[str] = set()
        self._order = 0
        self._raised = 0
        self._quiet_until = None if opening is None or opening.failures else host.seen_by(self.id, opening.notifications)
        self._changed = asyncio.Event()
        self._connected = True
        self._misuse: BaseException | None = None
        self._on_cluster = is_invocation_id(self.id)
        self._largest = _LARGEST if self._on_cluster else machine.message_limit

    # --- the driver

    async def drive(self, handler: Callable[[Attempt], Awaitable[bytes]]) -> bytes:
        """Runs the handler to its end, or to the end of the attempt.

        Raises:
            BaseException: what the SDK takes for the end of an attempt that did not succeed.
        """
        loop = asyncio.get_running_loop()
        task = self.task = begin_task(self._run(handler), loop, contextvars.copy_context())
        pump = loop.create_task(self._pump())
        self.host.entered(self)
        try:
            while not (task.done() or self.dead):
                self._changed.clear()
                await self._machine.flush()
                self._advance()
                await self._machine.flush()
                if not (task.done() or self.dead):
                    await self._changed.wait()
        except asyncio.CancelledError:
            self.abandon()
            raise
        finally:
            self.host.left(self)
            pump.cancel()
            for action in self._actions.values():
                action.drop()
        try:
            return self._end()
        finally:
            self.dead = True

    def _end(self) -> bytes:
        if self._misuse is not None:
            raise self._failed(self._misuse)
        match self.outcome:
            case _ if self.dead:
                raise self._machine.suspended() if self._connected else self._machine.disconnected()
            case Success(value):
                return value.data
            case Failure(code, message):
                raise self._machine.terminal(TerminalError(message, Code(code)))
            case Exception() as error:
                raise self._failed(error)
            case None:
                raise self._machine.failed("the handler was cancelled by asyncio; bound waits with or_timeout", "")

    def _failed(self, error: BaseException) -> BaseException:
        delay_ms = None
        if isinstance(error, RuntimeFault) and error.code == MISSING:
            # A call by name that cannot be made yet is not this handler's mistake: no number of them spends its policy.
            delay_ms = _PATIENT.delay_ms(self.attempt, 0)
        return self._machine.failed(describe_error(error), "".join(traceback.format_exception(error)), delay_ms)

    async def _pump(self) -> None:
        while self._connected:
            event = await self._machine.receive()
            if not self._machine.take_input(event):
                self._connected = False
                self.abandon()
            self._changed.set()

    def close_input(self) -> None:
        """The process stops: the handler is suspended where it waits."""
        self._machine.close_input()
        self._changed.set()

    def _advance(self) -> None:
        """Moves the machine on as far as the handler's wait needs it."""
        node = self.blocked_on
        if node is None or self.dead:
            return
        try:
            while node.index < 0:
                match self._machine.progress(self._open):
                    case Progress.SETTLED:
                        self._collect()
                    case RunWanted(handle):
                        self._actions[handle].start()
                    case Progress.WAIT:
                        self._quiet_until = None  # everything that was recorded has been seen
                        return
                    case Progress.CANCELLED:
                        self._quiet_until = None
                        self._cut(node)
                        self._wake(terminal_error_of(CANCELLED))
                        return
                    case Progress.SUSPENDED:
                        self.host.suspended(self.id, self._order)
                        self.abandon()
                        return
        except Broken as error:
            self._break(error)
            return
        self._wake(None)

    def _cut(self, node: Node) -> None:
        """The wait for a node is cancelled; a side effect that it waits for is not interrupted."""
        late = {leaf for leaf in node.leaves() if leaf.index < 0}
        for handle, action in self._actions.items():
            action.cut |= self._open[handle][0] in late

    def _collect(self) -> None:
        for handle in [handle for handle in self._open if self._machine.has(handle)]:
            self._settle(handle)

    def _settle(self, handle: int) -> None:
        leaf, convert = self._open.pop(handle)
        self._actions.pop(handle, None)
        outcome = convert(self._machine.take(handle))
        index, self._order = self._order, self._order + 1
        leaf.settle(index, outcome)
        for follow in self._after.pop(leaf, ()):
            follow(value_of(outcome).data.decode())

    def _wake(self, error: Exception | None) -> None:
        if self.waker is not None and not self.waker.done():
            if error is None:
                self.waker.set_result(None)
            else:
                self.waker.set_exception(error)

    def _break(self, error: Broken) -> None:
        self.host.warn(self, str(error))
        self.abandon()

    def abandon(self) -> None:
        """The attempt is over; the handler's `finally` blocks run, and nothing that they do counts."""
        if self.dead:
            return
        self.dead = True
        self._changed.set()
        task = self.task
        if task is None or task.done():
            return
        self.host.leaves(task)
        for action in self._actions.values():
            action.cancel()
        if self.waker is not None:
            if not self.waker.done():
                self.waker.set_exception(Abandoned())
        elif task is not asyncio.current_task():
            task.cancel()

    # --- the handler's task

    async def _run(self, handler: Callable[[Attempt], Awaitable[bytes]]) -> None:
        current_handler.set(self)
        try:
            outcome = await self._outcome_of(handler)
            await self._follow_ids()
            self.outcome = outcome
            if not self.dead and isinstance(outcome, Success):
                self._warn_of_unawaited()
        except (Abandoned, asyncio.CancelledError):
            pass
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit too: a handler's mistake must not end the process
            self.outcome = error if isinstance(error, Exception) else RuntimeError(describe_error(error))
            if not self.dead:
                self.host.report_failure(self, error)
        finally:
            self._changed.set()

    async def _outcome_of(self, handler: Callable[[Attempt], Awaitable[bytes]]) -> Outcome:
        try:
            return Success(Value("", await handler(self)))
        except TerminalError as error:
            return Failure(error.code.value, storable(error.message))

    async def _follow_ids(self) -> None:
        """What the handler asked of calls whose ids were still on their way when it ended is asked before the invocation ends."""
        while self._after and not self.dead:
            with contextlib.suppress(TerminalError):  # a cancellation comes too late
                await DurableFuture(self, next(iter(self._after)), lambda: None)

    def _warn_of_unawaited(self) -> None:
        for leaf, what in self._unawaited:
            if leaf.outcome is None and not leaf.awaited:
                self.host.warn(self, f"returned without awaiting {what}: it is dropped")

    # --- what the context shows

    @property
    def silent(self) -> bool:
        return self.dead or self._machine.replaying or self._quiet_until is not None

    def seed(self, purpose: str) -> bytes:
        # The embedded engine's ids have the same bytes in its own process.
        raw = None if self._on_cluster else parse_invocation_id(self.id)
        return hashlib.blake2b(raw or self.id.encode(), key=purpose.encode(), digest_size=32).digest()

    def check_command(self) -> bool:
        if self.dead:
            return False
        try:
            own = asyncio.current_task() is self.task
        except RuntimeError:  # no event loop: a thread
            own = False
        if not own:
            raise ContextMisuse(misuse(self))
        return True

    def check_await(self, frame: types.FrameType) -> None:
        if self.dead:
            self._raised += 1
            # A handler that catches everything in a loop would never give the event loop back: after many times it waits for good instead.
            if self._raised <= _PATIENCE:
                raise Abandoned
            return
        self.check_command()
        if frame.f_globals.get("__name__", "").startswith("asyncio."):
            raise ContextMisuse(WAIT_FOR)

    def wait(self, node: Node) -> Generator[Any, None, None]:
        if self.dead:
            yield from asyncio.get_running_loop().create_future().__await__()
        while node.index < 0:
            self.blocked_on = node
            self.waker = waker = asyncio.get_running_loop().create_future()
            self._changed.set()
            try:
                yield from waker.__await__()
            except asyncio.CancelledError:
                if self.dead:
                    raise Abandoned from None
                raise RuntimeError(WAIT_WITH) from None
            finally:
                self.blocked_on = self.waker = None
            if self.dead:  # it was over between the result and this moment
                raise Abandoned

    def consumed(self, node: Node) -> None:
        if self._quiet_until is not None and node.index >= self._quiet_until:
            self._quiet_until = None

    def inert(self) -> DurableFuture[Any]:
        return DurableFuture(self, Leaf(_NEVER), lambda: None)

    # --- checks: what the engine refuses would fail the attempt again and again

    def check_size(self, what: str, size: int) -> None:
        """Refuses what the engine takes for no message.

        Raises:
            TerminalError: RESOURCE_EXHAUSTED.
        """
        if self._largest is not None:
            check_size(what, size, self._largest)

    def _check_invocation_id(self, id: object) -> None:
        known = isinstance(id, str) and (is_invocation_id(id) if self._on_cluster else parse_invocation_id(id) is not None)
        if not known:
            raise TerminalError(f"'{id}' is no invocation's id", Code.INVALID_ARGUMENT)

    # --- commands

    def _issue(self, command: Callable[..., Any], *arguments: Any) -> Any:
        try:
            found = command(*arguments)
        except Broken as error:
            self._break(error)
            raise Abandoned from None
        self._changed.set()
        return found

    def _leaf(self, handle: int, convert: Convert) -> Leaf:
        leaf = Leaf(handle)
        self._open[handle] = leaf, convert
        return leaf

    def _read(self, handle: int, convert: Convert, read: Callable[[Outcome | None], Read]) -> Awaitable[Read]:
        """What state tells: at once where it came with the attempt."""
        if self._machine.has(handle):
            return Ready(read(convert(self._machine.take(handle))))
        leaf = self._leaf(handle, convert)
        return DurableFuture(self, leaf, lambda: read(leaf.outcome))

    def _check_write(self) -> bool:
        if self.bound.shared:
            raise RuntimeError(f"this invocation of {self.service}/{self.method} was called as a shared one, which only reads state")
        return self.check_command()

    def get_state(self, name: str, read: Callable[[Value | None], Read]) -> Awaitable[Read]:
        self.check_command()
        handle = self._issue(self._machine.get_state, name)
        return self._read(handle, state, lambda outcome: read(None if outcome is ABSENT else value_of(outcome)))

    def set_state(self, name: str, value: Value) -> None:
        data = seal(value)
        self.check_size(f"state '{name}' of {self.service}", len(value.data))
        if self._check_write():
            self._issue(self._machine.set_state, name, data)
            self._cleared.discard(name)

    def clear_state(self, name: str) -> None:
        if self._check_write():
            self._issue(self._machine.clear_state, name)
            self._cleared.add(name)

    def clear_all_state(self) -> None:
        if self._check_write():
            self._issue(self._machine.clear_all_state)
            self._cleared.clear()

    def state_names(self) -> Awaitable[list[str]]:
        self.check_command()
        handle = self._issue(self._machine.state_names)
        cleared = set(self._cleared)  # the SDK goes on naming what the handler cleared
        return self._read(handle, names, lambda outcome: [name for name in restore(value_of(outcome)) if name not in cleared])

    def sleep(self, duration: timedelta) -> DurableFuture[None]:
        if not isinstance(duration, timedelta):
            raise TypeError(f"a sleep or timeout takes a datetime.timedelta, not a {type(duration).__name__}")
        if not self.check_command():
            return self.inert()
        handle = self._issue(self._machine.sleep, max(0, whole_milliseconds(duration)))
        leaf = self._leaf(handle, payload)
        self._unawaited.append((leaf, "sleep"))

        def read() -> None:
            value_of(leaf.outcome)

        return DurableFuture(self, leaf, read)

    def run(self, name: str, action: Callable[[], Any], type_: Any, policy: RetryPolicy) -> DurableFuture[Any]:
        if not self.check_command():
            return self.inert()
        wanted = result_type(action, type_, self.host.annotations)
        leaf = self._begin_action(name, action, wanted, policy)
        self._unawaited.append((leaf, f"run '{name}'"))

        def read() -> Any:
            value = value_of(leaf.outcome)
            try:
                return restore(value) if wanted is None else decode(value, wanted)
            except SerdeError as error:
                raise SerdeError(f"the recorded result of side effect '{name}': {error}") from None

        return DurableFuture(self, leaf, read)

    def _begin_action(self, name: str, action: Callable[[], Any], wanted: Any, policy: RetryPolicy) -> Leaf:
        failures = self.failures if self._machine.replaying else 0  # of a new one there are none
        handle = self._issue(self._machine.run, name)
        self._actions[handle] = Action(self, handle, name, action, wanted, policy, failures)
        return self._leaf(handle, sealed)

    def now(self) -> Awaitable[datetime]:
        self.check_command()
        leaf = self._begin_action("now", _now_ms, int, _NOW_RETRY)
        return DurableFuture(self, leaf, lambda: datetime.fromtimestamp(restore(value_of(leaf.outcome)) / 1000, UTC))

    def awakeable(self, type_: Any) -> Awakeable[Any]:
        if not self.check_command():
            return Awakeable(self, Leaf(_NEVER), type_, "")
        id, handle = self._issue(self._machine.awakeable)
        return Awakeable(self, self._leaf(handle, rejected_or_sealed), type_, id)

    def settle_awakeable(self, id: str, value: Value | None, reason: str) -> None:
        if (awaiting(id) if self._on_cluster else parse_awakeable_id(id)) is None:
            raise TerminalError(f"'{id}' is no awakeable's id", Code.INVALID_ARGUMENT)
        data = b"" if value is None else seal(value)
        self.check_size("the payload of the awakeable", len(data))
        if self.check_command():
            if value is None:
                self._issue(self._machine.reject_awakeable, id, TerminalError(reason, Code.ABORTED))
            else:
                self._issue(self._machine.resolve_awakeable, id, data)

    def call(self, call: OutgoingCall) -> Call[Any]:
        if not self.check_command():
            return Call(self, Leaf(_NEVER), lambda: None)
        key = self._address(call)
        _, handle = self._issue(self._machine.call, call.service, call.method, call.payload, key, call.idempotency_key, call.headers)
        leaf = self._leaf(handle, payload)
        return Call(self, leaf, lambda: call.decode_response(value_of(leaf.outcome).data))

    def send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        if not self.check_command():
            return ClusterHandle(self, Leaf(_NEVER), call.decode_response)
        key = self._address(call)
        handle = self._issue(
            self._machine.send, call.service, call.method, call.payload, key, call.idempotency_key, call.headers, call.delay_ms
        )
        return ClusterHandle(self, self._leaf(handle, identifier), call.decode_response)

    def _address(self, call: OutgoingCall) -> str | None:
        if call.retention_s is not None:
            raise kept_by_service()
        if call.timeout_s is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")
        key = self.host.address(call, engine_knows=not self._on_cluster)
        self.check_size(f"the request to {call.service}/{call.method}", len(call.payload))
        return key

    def handle(self, id: str) -> InvocationHandle[bytes]:
        self._check_invocation_id(id)
        known = Leaf(_NEVER)
        known.settle(0, identifier(id))
        return ClusterHandle(self, known, lambda payload: payload)

    def attach(self, id: Leaf, read: Callable[[bytes], Any]) -> DurableFuture[Any]:
        """The result of another invocation."""
        if not self.check_command():
            return self.inert()
        result = Leaf(_NEVER)

        def begin(invocation_id: str) -> None:
            self._open[self._machine.attach(invocation_id)] = result, payload

        self._once_known(id, begin)
        return DurableFuture(self, result, lambda: read(value_of(result.outcome).data))

    def cancel(self, id: str) -> None:
        self._check_invocation_id(id)
        if self.check_command():
            self._issue(self._machine.cancel, id)

    def cancel_by(self, id: Leaf) -> None:
        """Cancels an invocation of which the id may still be on its way."""
        if self.check_command():
            self._once_known(id, self._machine.cancel)

    def _once_known(self, id: Leaf, follow: Callable[[str], None]) -> None:
        if id.outcome is not None:
            self._issue(follow, value_of(id.outcome).data.decode())
        else:
            # Asked in the middle of a wait, at the same result on every replay, and by the driver: it looks after what breaks there.
            self._after.setdefault(id, []).append(follow)

    # --- from side effects

    def misused(self, error: BaseException) -> None:
        """The context was used inside a side effect: the attempt fails, whatever its handler waits for."""
        self.host.report_failure(self, error)
        self._misuse = error
        self.abandon()

    def run_ended(self, handle: int, outcome: Outcome, data: bytes) -> None:
        """A side effect has a result."""
        try:
            self._machine.run_ended(handle, outcome, data)
        except Broken as error:
            self._break(error)
        self._changed.set()

    def run_failed(self, handle: int, text: str, took_ms: int, policy: RetryPolicy) -> None:
        """A side effect failed, and may be tried again."""
        try:
            self._machine.run_failed(handle, text, took_ms, policy)
        except Broken:
            self.abandon()
        self._changed.set()


async def _now_ms() -> int:
    return time.time_ns() // 1_000_000
