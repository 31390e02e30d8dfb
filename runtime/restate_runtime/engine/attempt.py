"""One attempt in memory: runs a handler in a task, and speaks for it to the core."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import types
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..codecs import Unreadable
from ..durations import whole_milliseconds
from ..errors import Code, RuntimeFault, TerminalError
from ..handler.client import InvocationHandle, OutgoingCall
from ..handler.futures import Awakeable, Call, DurableFuture, Ready, terminal_error_of, value_of
from ..handler.headers import Headers
from ..handler.scope import WAIT_FOR, WAIT_WITH, Abandoned, ContextMisuse, current_handler, misuse
from ..identifiers import awakeable_id, invocation_id, parse_awakeable_id, parse_invocation_id
from ..journal import entries
from ..journal.entries import Command, Failure, Outcome, Ref, Success, Target
from ..journal.events import ActionWanted, AttemptFailed, CancelTaken, Existing, HandlerMissing, Issue, Pause
from ..journal.lifecycle import MISSING
from ..journal.model import Invocation, Journal
from ..journal.nodes import Leaf, Node
from ..journal.replay import Mismatch, Replay
from ..retry import RetryPolicy
from ..serde import SerdeError, Value, decode, restore, storable
from .devmode import Watched
from .handles import DurableHandle
from .idempotency import REFUSED, WORKFLOW_RUN, key_reused
from .sources import describe_error, user_line

if TYPE_CHECKING:
    from .driver import Driver
    from .registry import BoundMethod

__all__ = ["Attempt"]

Read = TypeVar("Read")

_NEVER = -2
_PATIENCE = 1000
"""Awaits of a handler after its attempt is over, each of which raises; more than cleaning up takes."""


class Attempt:
    """One attempt; implements `handler.invocation.Invocation` for the embedded engine."""

    __slots__ = (
        "_driver",
        "_leaves",
        "_raised",
        "_retention_s",
        "_slot",
        "actions",
        "blocked_on",
        "bound",
        "dead",
        "headers",
        "invocation",
        "journal",
        "key",
        "replay",
        "task",
        "token",
        "told",
        "waker",
    )

    def __init__(self, driver: Driver, invocation: Invocation, journal: Journal, bound: BoundMethod) -> None:
        self._driver = driver
        self.invocation = invocation
        self.journal = journal
        self.token = invocation.token
        self.bound = bound
        self.dead = False
        self.told = 0
        self.task: asyncio.Task[None] | None = None
        self.actions: dict[int, Any] = {}
        self.blocked_on: Node | None = None
        self.waker: asyncio.Future[None] | None = None
        self.key = invocation.target.key or ""
        self._leaves: dict[Ref, Leaf] = {}
        self._raised = 0
        self._retention_s: float | None = None  # of the call that is being made
        self._slot = -1
        first = journal.commands[0]
        assert isinstance(first, entries.Input)
        self.headers = Headers(first.headers)
        seen = invocation.seen if invocation.seen >= 0 else None
        self.replay = Replay(journal, seen, self._emit, self._want_action, self._warn)

    # --- what the context shows

    @property
    def id(self) -> str:
        return invocation_id(self.invocation.id)

    @property
    def attempt(self) -> int:
        return self.invocation.attempt

    @property
    def target(self) -> str:
        return str(self.invocation.target)

    @property
    def service(self) -> str:
        return self.invocation.target.service

    @property
    def method(self) -> str:
        return self.invocation.target.method

    @property
    def silent(self) -> bool:
        return self.dead or self.replay.replaying

    def seed(self, purpose: str) -> bytes:
        return hashlib.blake2b(self.invocation.id, key=purpose.encode(), digest_size=32).digest()

    # --- the run

    async def run_handler(self) -> None:
        """The handler from its input to its output; ends in exactly one event, or in none where the attempt is over before."""
        current_handler.set(self)
        self._slot = self._driver.flight.enter(self.invocation.id)
        try:
            outcome = await self._call_handler()
            if not self.dead:
                self._warn_of_unawaited()
                self._issue(entries.Output(outcome))
        except Abandoned:
            pass
        except asyncio.CancelledError:
            if not self.dead:
                self._fail("the handler was cancelled by asyncio; bound waits with or_timeout")
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit too: a handler's mistake must not end the process
            if not self.dead:
                self._fail(describe_error(error), error)
        finally:
            self._leave()
            self._driver.ended(self)
            # These two hold on to it: without them it is gone at once, and not left to the garbage collector.
            self.task = None
            self.replay.close()

    def _leave(self) -> None:
        self._driver.flight.leave(self._slot)
        self._slot = -1

    async def _call_handler(self) -> Outcome:
        bound = self.bound
        descriptor = bound.descriptor
        context = bound.context(self)
        first = self.journal.commands[0]
        assert isinstance(first, entries.Input)
        try:
            request = () if descriptor.empty_request else (self._decode_request(first.payload),)
            running = bound.handler(context, *request)
            if self._driver.options.dev:
                response = await Watched(self, running, self._driver.foreign.report)
            else:
                response = await running
            payload = bound.encode_response(response)
            self._driver.check_size(f"the response of {descriptor.full_name}", len(payload))
            return Success(Value("", payload))
        except TerminalError as error:
            return Failure(error.code.value, storable(error.message))

    def _decode_request(self, payload: bytes) -> Any:
        descriptor = self.bound.descriptor
        try:
            return descriptor.request_codec.decode(payload)
        except Unreadable as error:  # as long as the message classes are this library's
            raise TerminalError(f"{descriptor.full_name}: the request is good, but {error}", Code.INVALID_ARGUMENT) from None
        except Exception:
            self.bound.parse(payload)  # it says what is wrong with one that was made before anybody knew the contract
            raise

    def _fail(self, text: str, error: BaseException | None = None) -> None:
        self._driver.report_failure(self, text, error)
        # A call by name that cannot be made yet is not this handler's mistake.
        missing = isinstance(error, RuntimeFault) and error.code == MISSING
        kind = HandlerMissing if missing else AttemptFailed
        self._driver.step(kind(self.invocation.seq, self.token, text, self._driver.policy_of(self.bound)))

    def misused(self, text: str, error: BaseException) -> None:
        """The context was used inside a side effect: the attempt fails, whatever its handler waits for."""
        if not self.dead:
            self._driver.abandon(self.invocation.seq)
            self._fail(text, error)

    def _warn_of_unawaited(self) -> None:
        unfinished = {leaf.ref for leaf in self._leaves.values() if leaf.outcome is None and not leaf.awaited}
        for command in self.journal.commands if unfinished else ():
            if isinstance(command, (entries.Run, entries.Sleep)) and command.completion_id in unfinished:
                what = f"run '{command.name}'" if isinstance(command, entries.Run) else "sleep"
                self._driver.warn(self, f"returned without awaiting {what} ({command.at}): it is dropped")

    # --- guards

    def check_command(self) -> bool:
        if self.dead:
            return False
        try:
            own = self.task is not None and asyncio.current_task() is self.task
        except RuntimeError:  # no event loop: a thread
            own = False
        if not own:
            raise ContextMisuse(misuse(self))
        return True

    def check_await(self, frame: types.FrameType) -> None:
        if self.dead:
            self._raise_abandoned()
            return
        self.check_command()
        if frame.f_globals.get("__name__", "").startswith("asyncio."):
            raise ContextMisuse(WAIT_FOR)

    def _raise_abandoned(self) -> None:
        self._raised += 1
        # A handler that catches everything in a loop would never give the event loop back: after many times it waits for good instead.
        if self._raised <= _PATIENCE:
            raise Abandoned

    def wait(self, node: Node) -> Generator[Any, None, None]:
        if self.dead:
            self._driver.leave_behind(self)
            yield from asyncio.get_running_loop().create_future().__await__()
        self._raise_if_cancelled(node)
        try:
            self.replay.blocked(user_line(sys._getframe(1)))
        except Mismatch as mismatch:
            self._pause_mismatch(mismatch)
        while node.index < 0:
            self.blocked_on = node
            self.told = len(self.journal.notifications)
            self.waker = waker = self._driver.loop.create_future()
            self._leave()
            self._driver.blocked(self)
            try:
                yield from waker.__await__()
            except asyncio.CancelledError:
                if self.dead:
                    raise Abandoned from None
                raise RuntimeError(WAIT_WITH) from None
            finally:
                self.blocked_on = self.waker = None
                self._driver.unblocked(self)
            if self.dead:  # it was over between the result and this moment
                raise Abandoned
            self._slot = self._driver.flight.enter(self.invocation.id)
            if node.index < 0:
                self._raise_if_cancelled(node)

    def consumed(self, node: Node) -> None:
        if self.journal.cancels:
            self._raise_if_cancelled(node)
        self.replay.consumed(node.index)

    def _raise_if_cancelled(self, node: Node) -> None:
        at = self.replay.cancelled(node.index)
        if at is None:
            return
        self.replay.consumed(at)
        if self.replay.take_cancel():
            self._driver.step(CancelTaken(self.invocation.seq, self.token))
        late = {leaf.ref for leaf in node.leaves() if leaf.index < 0 or leaf.index > at}
        for completion_id, action in self.actions.items():
            action.cut |= completion_id in late
        where = user_line(sys._getframe(1))
        for command in self.journal.commands[: self.replay.position]:
            if isinstance(command, entries.Call) and command.completion_id in late and command.callee != REFUSED:
                self._issue(entries.SendSignal(command.callee, entries.CANCEL_INDEX, entries.CANCELLED, "", where, awaited=True))
        raise terminal_error_of(entries.CANCELLED)

    # --- from the core

    def deliver(self, ref: Ref) -> None:
        """A result arrived."""
        leaf = self._leaves.get(ref)
        node = self.blocked_on
        if leaf is not None:
            leaf.settle(*self.journal.arrivals[ref])
            if isinstance(ref, int):
                self.actions.pop(ref, None)
            if node is None:
                return
            if node.index < 0:
                self._driver.still_blocked(self)
            elif not self._driver.suspend_instead(self):
                self.wake()
        elif ref == entries.CANCEL and node is not None and node.index < 0 and not self._driver.suspend_instead(self):
            self.wake()

    def wake(self) -> None:
        """Lets the handler look again."""
        if self.waker is not None and not self.waker.done():
            self.waker.set_result(None)

    def abandon(self) -> None:
        """The attempt leaves memory; its `finally` blocks run, and nothing that they do counts."""
        self.dead = True
        self._driver.leaves(self)
        for action in self.actions.values():
            action.cancel()
        if self.waker is not None and not self.waker.done():
            self.waker.set_exception(Abandoned())
        elif self.task is not None and self.waker is None:
            self.task.cancel()

    # --- commands

    def _emit(self, command: Command) -> Command:
        driver = self._driver
        existing: Existing | None = None
        digest = b""
        retention_ms = driver.retention_ms
        idempotency_key: str | None = None
        match command:
            case entries.Call() | entries.OneWayCall() if (run := driver.run_once(command.target)) is not None:
                existing, idempotency_key = driver.started_before(command.target), WORKFLOW_RUN
                retention_ms = run.retention_ms(retention_ms)
                if existing is not None:
                    command = msgspec.structs.replace(command, callee=existing.id)
            case entries.Call() | entries.OneWayCall() if command.idempotency_key is not None:
                existing, digest, retention_ms = driver.idempotent(command)
                if self._retention_s is not None:
                    retention_ms = round(self._retention_s * 1000)
                if existing is not None:
                    command = msgspec.structs.replace(command, callee=existing.id)
            case entries.Attach():
                existing = driver.existing(command.invocation)
            case _:
                pass
        driver.step(Issue(self.invocation.seq, self.token, command, existing, digest, retention_ms, None, idempotency_key))
        return command

    def _issue(self, command: Command) -> Command:
        try:
            return self.replay.issue(command)
        except Mismatch as mismatch:
            self._pause_mismatch(mismatch)
            raise AssertionError("unreachable") from None

    def _pause_mismatch(self, mismatch: Mismatch) -> None:
        self._driver.step(Pause(self.invocation.seq, self.token, "RT0301", str(mismatch)))
        self._driver.forget(self)
        self.dead = True
        raise Abandoned from None

    def _want_action(self, completion_id: int) -> None:
        self._driver.step(ActionWanted(self.invocation.seq, self.token, completion_id))

    def _warn(self, text: str) -> None:
        self._driver.warn(self, text)

    def _leaf(self, ref: Ref) -> Leaf:
        leaf = self._leaves.get(ref)
        if leaf is None:
            leaf = self._leaves[ref] = self.replay.leaf(ref)
        return leaf

    def _inert(self) -> Leaf:
        return Leaf(_NEVER)

    def inert(self) -> DurableFuture[Any]:
        return DurableFuture(self, self._inert(), lambda: None)

    def get_state(self, name: str, read: Callable[[Value | None], Read]) -> Ready[Read]:
        self.check_command()
        command = self._issue(entries.GetState(name, self._driver.state_value(self.invocation, name), self._at()))
        assert isinstance(command, entries.GetState)
        return Ready(read(command.value))

    def _check_write(self) -> bool:
        if self.invocation.target.shared:  # its contract may have changed since it was called
            raise RuntimeError(f"this invocation of {self.service}/{self.method} was called as a shared one, which only reads state")
        return self.check_command()

    def set_state(self, name: str, value: Value) -> None:
        self._driver.check_size(f"state '{name}' of {self.service}", len(value.data))
        if self._check_write():
            self._issue(entries.SetState(name, value, self._at()))

    def clear_state(self, name: str) -> None:
        if self._check_write():
            self._issue(entries.ClearState(name, self._at()))

    def clear_all_state(self) -> None:
        if self._check_write():
            self._issue(entries.ClearAllState(self._at()))

    def state_names(self) -> Ready[list[str]]:
        self.check_command()
        command = self._issue(entries.GetStateKeys(self._driver.state_names(self.invocation), self._at()))
        assert isinstance(command, entries.GetStateKeys)
        return Ready(list(command.names))

    def sleep(self, duration: timedelta) -> DurableFuture[None]:
        if not isinstance(duration, timedelta):
            raise TypeError(f"a sleep or timeout takes a datetime.timedelta, not a {type(duration).__name__}")
        if not self.check_command():
            return self.inert()
        completion_id = self.replay.new_completion()
        due_ms = self._driver.now_ms() + max(0, whole_milliseconds(duration))
        self._issue(entries.Sleep(completion_id, due_ms, self._at()))
        leaf = self._leaf(completion_id)

        def read() -> None:
            value_of(leaf.outcome)

        return DurableFuture(self, leaf, read)

    def run(self, name: str, action: Callable[[], Any], type_: Any, policy: RetryPolicy) -> DurableFuture[Any]:
        if not self.check_command():
            return self.inert()
        wanted = self._driver.actions.result_type(action, type_)
        completion_id = self.replay.new_completion()
        self._issue(entries.Run(completion_id, name, self._at()))
        leaf = self._leaf(completion_id)
        if leaf.outcome is None:
            self.actions[completion_id] = self._driver.actions.prepare(self, completion_id, name, action, wanted, policy)
            self.replay.run(completion_id)

        def read() -> Any:
            value = value_of(leaf.outcome)
            try:
                return restore(value) if wanted is None else decode(value, wanted)
            except SerdeError as error:
                raise SerdeError(f"the recorded result of side effect '{name}': {error}") from None

        return DurableFuture(self, leaf, read)

    def now(self) -> Ready[datetime]:
        self.check_command()
        completion_id = self.replay.new_completion()
        self._issue(entries.Run(completion_id, "now", self._at()))
        leaf = self._leaf(completion_id)
        if leaf.outcome is None:
            self._driver.record_now(self, completion_id)
        self.replay.consumed(leaf.index)
        return Ready(datetime.fromtimestamp(restore(value_of(leaf.outcome)) / 1000, UTC))

    def awakeable(self, type_: Any) -> Awakeable[Any]:
        if not self.check_command():
            return Awakeable(self, self._inert(), type_, "")
        index = self.replay.new_signal()
        return Awakeable(self, self._leaf(-index), type_, awakeable_id(self.invocation.id, index))

    def settle_awakeable(self, id: str, value: Value | None, reason: str) -> None:
        parsed = parse_awakeable_id(id)
        if parsed is None:
            raise TerminalError(f"'{id}' is no awakeable's id", Code.INVALID_ARGUMENT)
        if self.check_command():
            outcome: Outcome = Failure(Code.ABORTED.value, reason) if value is None else Success(value)
            self._issue(entries.CompleteAwakeable(parsed[0], parsed[1], outcome, self._at()))

    def call(self, call: OutgoingCall) -> Call[Any]:
        if not self.check_command():
            return Call(self, self._inert(), lambda: None)
        self._refuse_timeout(call)
        self._driver.check_size(f"the request to {call.service}/{call.method}", len(call.payload))
        completion_id = self.replay.new_completion()
        self._retention_s = call.retention_s
        self._issue(
            entries.Call(
                completion_id,
                self._target_of(call),
                call.payload,
                self._driver.new_id(),
                dict(call.headers) if call.headers else None,
                call.idempotency_key,
                self._at(),
            )
        )
        leaf = self._leaf(completion_id)
        return Call(self, leaf, lambda: call.decode_response(value_of(leaf.outcome).data))

    def send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        if not self.check_command():
            return DurableHandle(self, b"", call.decode_response)
        self._refuse_timeout(call)
        self._driver.check_size(f"the request to {call.service}/{call.method}", len(call.payload))
        self._retention_s = call.retention_s
        command = self._issue(
            entries.OneWayCall(
                self._target_of(call),
                call.payload,
                self._driver.new_id(),
                self._driver.now_ms() + call.delay_ms if call.delay_ms else 0,
                dict(call.headers) if call.headers else None,
                call.idempotency_key,
                self._at(),
            )
        )
        assert isinstance(command, entries.OneWayCall)
        if command.callee == REFUSED:
            raise key_reused(call.idempotency_key)
        return DurableHandle(self, command.callee, call.decode_response)

    def cancel(self, id: str) -> None:
        raw = parse_invocation_id(id)
        if raw is None:
            raise TerminalError(f"'{id}' is no invocation's id", Code.INVALID_ARGUMENT)
        self.cancel_raw(raw)

    def cancel_raw(self, raw: bytes) -> None:
        """Cancels the invocation with that id."""
        if self.check_command():
            self._issue(entries.SendSignal(raw, entries.CANCEL_INDEX, entries.CANCELLED, "", self._at()))

    def handle(self, id: str) -> InvocationHandle[bytes]:
        raw = parse_invocation_id(id)
        if raw is None:
            raise TerminalError(f"'{id}' is no invocation's id", Code.INVALID_ARGUMENT)
        return DurableHandle(self, raw, lambda payload: payload)

    def attach(self, raw: bytes, read: Callable[[bytes], Any]) -> DurableFuture[Any]:
        """The result of another invocation."""
        if not self.check_command():
            return self.inert()
        completion_id = self.replay.new_completion()
        self._issue(entries.Attach(completion_id, raw, self._at()))
        leaf = self._leaf(completion_id)
        return DurableFuture(self, leaf, lambda: read(value_of(leaf.outcome).data))

    def _target_of(self, call: OutgoingCall) -> Target:
        try:
            return self._driver.target_of(call)
        except TerminalError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            raise RuntimeFault(MISSING, f"{error.message}; without it the key of the call is not known") from None

    def _refuse_timeout(self, call: OutgoingCall) -> None:
        if call.timeout_s is not None:
            raise TypeError("timeout= is for callers outside handlers: bound the wait with or_timeout")

    def _at(self) -> str:
        return user_line(sys._getframe(2))
