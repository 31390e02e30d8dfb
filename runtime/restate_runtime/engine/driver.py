"""The in-process driver: runs attempts of hosted handlers in tasks, and decides which of the waiting ones leave memory."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..descriptors import ServiceKind, find_service
from ..errors import Code, TerminalError
from ..handler.client import OutgoingCall
from ..handler.tasks import begin_task
from ..journal.entries import Call, Failure, Input, OneWayCall, Output, Ref, Success, Target
from ..journal.events import ActionEnded, Existing, HandlerMissing, Issue, Pause, Readdress, Suspend
from ..journal.model import Invocation
from ..journal.waits import Wait
from ..retry import RetryPolicy
from ..serde import Value, check_size
from .actions import Actions, Stage
from .attempt import Attempt
from .deadlocks import Deadlocks
from .devmode import Foreign
from .flight import FlightRecorder
from .idempotency import REFUSED, WORKFLOW_RUN, bytes_digest, key_reused, same_request, started_before
from .options import Options
from .registry import SINGLETON_KEY, BoundMethod, HostedMethod, Registry, imported_method

if TYPE_CHECKING:
    from .shell import Shell

__all__ = ["Driver"]

_LOG = logging.getLogger("restate_runtime.handler")

_LAST_MOMENT_S = 0.5
_LOOK_AGAIN_S = 1.0

# Kept for good: Python would resume them once more to collect them.
_LEFT_BEHIND: set[asyncio.Task[None]] = set()


class Driver:
    """All attempts in memory of one runtime."""

    def __init__(
        self, shell: Shell, registry: Registry, options: Options, loop: asyncio.AbstractEventLoop, flight: FlightRecorder,
        probe: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.loop = loop
        self.flight = flight
        self.options = options
        self.step = shell.step
        self.now_ms = shell.now_ms
        self.actions = Actions(self)
        self.deadlocks = Deadlocks(shell.state, shell.step, self._blocked_wait, options.deadlock)
        self.retention_ms = round(options.idempotency_retention.total_seconds() * 1000)
        self._probe = probe
        self._shell = shell
        self._registry = registry
        self._retry = options.retry
        self._attempts: dict[int, Attempt] = {}
        # In the order in which they began to wait: the first has waited longest.
        self._waiting: dict[Attempt, tuple[float, Wait | None]] = {}
        self._inactivity_s = options.inactivity_timeout.total_seconds()
        self._sweep: asyncio.TimerHandle | None = None
        self._watched: dict[Attempt, asyncio.TimerHandle] = {}
        self._context = contextvars.copy_context()
        self._idle: asyncio.Future[None] | None = None
        self._leaving: set[Attempt] = set()
        self._empty: asyncio.Future[None] | None = None
        self.foreign = Foreign(self.warn)
        self._stopping = False

    # --- from the core

    def start(self, invocation: Invocation) -> None:
        """Runs a handler."""
        if self._stopping:
            return  # its row says that it runs: recovery starts it
        target = invocation.target
        try:
            bound = self._registry.resolve(target.service, target.method)
        except TerminalError as error:
            self.step(HandlerMissing(invocation.seq, invocation.token, error.message, self._retry))
            return
        if not isinstance(bound, BoundMethod):
            text = f"nothing in this process implements {bound.full_name}"
            self.step(HandlerMissing(invocation.seq, invocation.token, text, self._retry))
            return
        if self.readdressed(invocation, bound):
            return
        assert invocation.journal is not None
        if invocation.protocol and any(
            isinstance(made, (Call, OneWayCall)) and made.id_completion_id for made in invocation.journal.commands
        ):
            text = f"it made calls at an endpoint before {target.service} was moved into this process, which counts them otherwise"
            text += ": serve the endpoint again, and resume it, or kill it"
            self.step(Pause(invocation.seq, invocation.token, "RT0301", text))
            return
        attempt = Attempt(self, invocation, invocation.journal, bound)
        self._attempts[invocation.seq] = attempt
        attempt.task = begin_task(attempt.run_handler(), self.loop, self._context.copy())

    def readdressed(self, invocation: Invocation, method: HostedMethod) -> bool:
        """Whether an invocation that was made before its service was hosted goes to another key first, or nowhere."""
        target = invocation.target
        unclaimed = method.run_once and invocation.idempotency_key != WORKFLOW_RUN
        if invocation.command_count > 1 or (method.fits(target) and not unclaimed):
            return False
        assert invocation.journal is not None
        first = invocation.journal.commands[0]
        assert isinstance(first, Input)
        try:
            key = target.key if method.fits(target) else method.own_key(target, first.payload)
            if not unclaimed:
                event = Readdress(invocation.seq, invocation.token, key, invocation.idempotency_key, self._known_under(invocation, key))
            elif self.started_before(its := Target(target.service, target.method, key)) is not None:
                raise started_before(its)
            else:
                event = Readdress(invocation.seq, invocation.token, key, WORKFLOW_RUN, b"")
        except TerminalError as error:
            self.step(Issue(invocation.seq, invocation.token, Output(Failure(error.code.value, error.message))))
        else:
            self.step(event)
        return True

    def started_before(self, target: Target) -> Existing | None:
        """The run of a workflow that was started before, as the failure of another one."""
        found = self._shell.earlier_run(target)
        if found is None:
            return None
        error = started_before(target)
        return Existing(0, found.id, Failure(error.code.value, error.message))

    def run_once(self, target: Target) -> HostedMethod | None:
        """The method of a target that is the run of a workflow."""
        service = self._registry.services.get(target.service)
        method = None if service is None else service.methods.get(target.method)
        return method if method is not None and method.run_once else None

    def _known_under(self, invocation: Invocation, key: str | None) -> bytes | None:
        """The digest of its request, where nobody has its idempotency key under the other key."""
        if invocation.idempotency_key is None:
            return None
        target = invocation.target
        before, there = (
            self._shell.idempotent((target.service, target.method, known or "", invocation.idempotency_key)) for known in (target.key, key)
        )
        return before[1] if before is not None and there is None else None

    def deliver(self, seq: int, ref: Ref) -> None:
        """A result arrived for a handler in memory."""
        attempt = self._attempts.get(seq)
        if attempt is not None:
            attempt.deliver(ref)

    def abandon(self, seq: int) -> None:
        """The attempt is over: killed, or failed from outside its handler."""
        attempt = self._attempts.get(seq)
        if attempt is not None:
            self.forget(attempt)
            self._waiting.pop(attempt, None)
            attempt.abandon()

    def start_action(self, seq: int, token: int, completion_id: int) -> None:
        """Everything before the side effect is on disk."""
        attempt = self._attempts.get(seq)
        if attempt is None or attempt.token != token or attempt.dead:
            return
        action = attempt.actions.get(completion_id)
        if action is not None:
            self._probe("effect")
            self.actions.start(action)

    def still_waits(self, seq: int) -> None:
        """A result arrived that does not end the wait of a suspended invocation, or one that others wait for has to wait for its turn."""
        self.deadlocks.still_waits(seq)

    def relieve(self) -> None:
        """Somebody waits for room: the one that has waited longest leaves memory."""
        self.loop.call_soon(self._suspend_one)

    # --- from attempts

    def forget(self, attempt: Attempt) -> None:
        """The attempt does not count any more."""
        if self._attempts.get(attempt.invocation.seq) is attempt:
            del self._attempts[attempt.invocation.seq]
            if self._idle is not None and not self._attempts and not self._idle.done():
                self._idle.set_result(None)

    def ended(self, attempt: Attempt) -> None:
        """The handler's task is over."""
        for action in attempt.actions.values():
            self.actions.drop(action)
        self.forget(attempt)

    def leaves(self, attempt: Attempt) -> None:
        """The attempt is over, its handler cleans up."""
        if attempt.task is not None:
            self._leaving.add(attempt)
            attempt.task.add_done_callback(lambda _: self._left(attempt))

    def _left(self, attempt: Attempt) -> None:
        self._leaving.discard(attempt)
        if self._empty is not None and not self._leaving and not self._empty.done():
            self._empty.set_result(None)

    def leave_behind(self, attempt: Attempt) -> None:
        """The handler of an attempt that is over does not end: nobody waits for its task any more, asyncio at its own end neither."""
        self._left(attempt)
        task = attempt.task
        if task is not None and task not in _LEFT_BEHIND:
            self.warn(attempt, "its attempt is over, and it catches what should end it: let BaseException pass")
            asyncio.tasks._unregister_task(task)
            _LEFT_BEHIND.add(task)

    def blocked(self, attempt: Attempt) -> None:
        """The handler waits for a result."""
        always = self.options.always_suspend
        node = attempt.blocked_on
        assert node is not None
        self._waiting[attempt] = (time.monotonic(), node.wait() if always else None)
        if always or self._stopping or self._shell.state.ready:
            self.loop.call_soon(self.suspend, attempt)
        # That may be refused, while a side effect runs.
        if attempt.bound.inactivity_timeout is not None:
            self._watch(attempt, attempt.bound.inactivity_timeout.total_seconds())
        elif self._sweep is None and not always:
            self._sweep = self.loop.call_later(self._inactivity_s, self._sweep_waiting, context=self._context)
        self.deadlocks.waits(attempt.invocation)

    def unblocked(self, attempt: Attempt) -> None:
        """It goes on."""
        self._waiting.pop(attempt, None)
        self._unwatch(attempt)

    def _watch(self, attempt: Attempt, timeout_s: float) -> None:
        """Suspends an attempt whose method has a timeout of its own, unless it goes on before."""
        self._watched[attempt] = self.loop.call_later(timeout_s, self._inactive, attempt, timeout_s)

    def _unwatch(self, attempt: Attempt) -> None:
        timer = self._watched.pop(attempt, None)
        if timer is not None:
            timer.cancel()

    def _inactive(self, attempt: Attempt, timeout_s: float) -> None:
        if attempt in self._waiting and not self.suspend(attempt):
            self._watch(attempt, max(timeout_s, _LOOK_AGAIN_S))  # a side effect runs

    def rested(self, attempt: Attempt) -> None:
        """A side effect of it failed and waits for its next execution."""
        if (self.options.always_suspend or self._stopping or self._shell.state.ready) and attempt in self._waiting:
            self.suspend(attempt)

    def still_blocked(self, attempt: Attempt) -> None:
        """A result came, of a side effect perhaps, and it waits on: what is to leave memory can do so now."""
        if self._stopping or self._shell.state.ready:
            self.loop.call_soon(self.suspend, attempt)
        self.still_waits(attempt.invocation.seq)

    def suspend_instead(self, attempt: Attempt) -> bool:
        """Whether an attempt that could go on leaves memory first, as `always_suspend` wants it."""
        return self.options.always_suspend and self.suspend(attempt)

    def suspend(self, attempt: Attempt) -> bool:
        """Takes a waiting attempt out of memory, unless a side effect of it runs."""
        waiting = self._waiting.get(attempt)
        node = attempt.blocked_on
        if waiting is None or node is None or attempt.dead or any(action.stage is Stage.RUNNING for action in attempt.actions.values()):
            return False
        if self._pending_actions(attempt):
            return False
        if node.index >= 0 and waiting[1] is None:
            return False  # it was told of its result, and goes on in a moment
        del self._waiting[attempt]
        self.forget(attempt)
        wait = waiting[1] if waiting[1] is not None else node.wait()
        attempt.abandon()
        self.step(Suspend(attempt.invocation.seq, attempt.token, wait, attempt.told))
        return True

    def _pending_actions(self, attempt: Attempt) -> bool:
        """Whether a side effect is about to begin: it waits for the disk, not for its next execution."""
        tried = attempt.invocation.actions
        now = self.now_ms()
        return any(completion_id not in tried or tried[completion_id].next_ms <= now for completion_id in attempt.actions)

    def _suspend_one(self) -> None:
        for attempt in self._waiting:
            if self.suspend(attempt):
                return

    def _sweep_waiting(self) -> None:
        self._sweep = None
        now = time.monotonic()
        for attempt, (since, _) in list(self._waiting.items()):
            if attempt in self._watched:
                continue
            if now - since < self._inactivity_s:
                self._sweep = self.loop.call_later(self._inactivity_s - (now - since), self._sweep_waiting, context=self._context)
                return
            if not self.suspend(attempt):
                # A side effect runs: look again after another timeout.
                self._waiting[attempt] = (now, self._waiting.pop(attempt)[1])
        if any(attempt not in self._watched for attempt in self._waiting):
            self._sweep = self.loop.call_later(self._inactivity_s, self._sweep_waiting, context=self._context)

    # --- what attempts ask

    def policy_of(self, bound: HostedMethod) -> RetryPolicy:
        """The invocation retry policy of a method."""
        return bound.policy(self._retry)

    def new_id(self) -> bytes:
        """128 random bits."""
        return os.urandom(16)

    def state_value(self, invocation: Invocation, name: str) -> Value | None:
        """The state as it is now."""
        return self._state(invocation).get(name)

    def state_names(self, invocation: Invocation) -> tuple[str, ...]:
        """The names of the state as it is now, sorted."""
        return tuple(sorted(self._state(invocation)))

    def _state(self, invocation: Invocation) -> dict[str, Value]:
        values = self._shell.state.lanes[invocation.target.service, invocation.target.key or ""].state
        assert values is not None
        return values

    def check_size(self, what: str, size: int) -> None:
        """Refuses what is larger than a message may be.

        Raises:
            TerminalError: RESOURCE_EXHAUSTED.
        """
        check_size(what, size, self.options.max_message_size)

    def target_of(self, call: OutgoingCall) -> Target:
        """Where a call goes; the key of a SINGLETON is empty. A call by name gets its key, and its request gets the key.

        Raises:
            TerminalError: of a call by name: INVALID_ARGUMENT, its request or key is none; NOT_FOUND, nothing tells its key.
        """
        if call.descriptor is None and call.key is None:
            self._registry.resolve(call.service, call.method)
        service = self._registry.services.get(call.service)
        shared = call.descriptor is not None and call.descriptor.shared
        if service is None:  # the contract is known all the same, as far as a generated client brings it along
            return Target(call.service, call.method, "" if _is_singleton(call) else call.key, shared)
        method = service.methods.get(call.method)
        if call.descriptor is None and method is not None:
            call.key, call.payload = method.addressed(call.payload, call.key)
        key = call.key
        if key is None:
            match service.kind:
                case ServiceKind.SINGLETON:
                    key = ""
                case ServiceKind.KEYED if _is_singleton(call):  # hosted by somebody who does not know the contract
                    key = SINGLETON_KEY
                case _:
                    pass
        return Target(call.service, call.method, key, shared if method is None else method.shared)

    def existing(self, invocation_id: bytes) -> Existing:
        """The invocation of that id; a failure where there is none."""
        failure = Failure(Code.NOT_FOUND.value, "there is no such invocation")
        return self._shell.existing(invocation_id) or Existing(0, invocation_id, failure)

    def idempotent(self, command: Call | OneWayCall) -> tuple[Existing | None, bytes, int]:
        """What the command's idempotency key leads to, the digest of its request, and how long the key is kept in milliseconds."""
        target = command.target
        try:
            method = self._registry.resolve(target.service, target.method)
        except TerminalError:  # it may be hosted later
            method = imported_method(target.service, target.method)
        retention_ms = method.retention_ms(self.retention_ms)
        try:
            digest = method.digest(command.payload)
        except TerminalError:  # who hosts it will refuse the bytes
            digest = bytes_digest(command.payload)
        found = self._shell.idempotent((target.service, target.method, target.key or "", command.idempotency_key or ""))
        if found is None:
            return None, digest, retention_ms
        existing, before = found
        if not same_request(before, digest, command.payload):
            error = key_reused(command.idempotency_key, before, digest)
            existing = Existing(0, REFUSED, Failure(error.code.value, error.message))
        return existing, digest, retention_ms

    def record_now(self, attempt: Attempt, completion_id: int) -> None:
        """The time as a recorded result; nothing leaves, so nothing is waited for."""
        value = Value("json", msgspec.json.encode(self.now_ms()))
        self.step(ActionEnded(attempt.invocation.seq, attempt.token, completion_id, Success(value)))

    def _blocked_wait(self, seq: int) -> Wait | None:
        """What an attempt in memory waits for; `None` where it goes on by itself."""
        attempt = self._attempts.get(seq)
        if attempt is None or attempt.blocked_on is None or attempt.waker is None or attempt.waker.done():
            return None
        return attempt.blocked_on.wait()

    # --- for people

    def wait_of(self, seq: int) -> Wait | None:
        """What an attempt in memory waits for."""
        attempt = self._attempts.get(seq)
        return None if attempt is None or attempt.blocked_on is None else attempt.blocked_on.wait()

    def report_failure(self, attempt: Attempt, text: str, error: BaseException | None) -> None:
        """A failed attempt in the log, with its traceback: it is the user's code that failed."""
        _LOG.warning("[%s] %s: attempt %d failed: %s", attempt.target, attempt.id, attempt.attempt, text, exc_info=error)

    def warn(self, attempt: Attempt, text: str) -> None:
        """Something about a handler that its author should know."""
        _LOG.warning("[%s] %s: %s", attempt.target, attempt.id, text)

    # --- the end

    async def stop(self, timeout_s: float) -> None:
        """Suspends what waits, and gives the rest some time; what still runs then is left to recovery."""
        self._stopping = True
        until = time.monotonic() + timeout_s
        for attempt in list(self._waiting):
            self.suspend(attempt)
        if self._attempts:
            self._idle = self.loop.create_future()
            await asyncio.wait([self._idle], timeout=timeout_s)
        await self._clean_up(until - time.monotonic())
        self.drop()
        await self._clean_up(_LAST_MOMENT_S)
        for attempt in list(self._leaving):
            self.leave_behind(attempt)

    async def _clean_up(self, timeout_s: float) -> None:
        """Lets the `finally` blocks of attempts that are over run to their end."""
        if self._leaving and timeout_s > 0:
            self._empty = self.loop.create_future()
            await asyncio.wait([self._empty], timeout=timeout_s)

    def drop(self) -> None:
        """Every attempt is over, at once."""
        self._stopping = True
        if self._sweep is not None:
            self._sweep.cancel()
        for attempt in list(self._attempts.values()):
            self.forget(attempt)
            attempt.abandon()
        self._waiting.clear()
        self.deadlocks.close()
        self.actions.close()


def _is_singleton(call: OutgoingCall) -> bool:
    """Whether the contract that a generated client brings along says so."""
    known = None if call.descriptor is None else find_service(call.service)
    return known is not None and known.kind is ServiceKind.SINGLETON
