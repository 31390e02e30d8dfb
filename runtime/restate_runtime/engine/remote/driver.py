"""The remote driver: runs attempts of handlers at endpoints. It is the core's other driver, beside the one for handlers in this process."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ...descriptors import ServiceKind
from ...errors import Code, TerminalError
from ...handler.tasks import begin_task
from ...identifiers import invocation_id
from ...journal import entries
from ...journal.entries import Command, Failure, Ref, Target
from ...journal.events import AttemptFailed, Existing, Issue, Pause
from ...journal.lifecycle import state_key
from ...journal.model import Invocation, Status
from ...journal.waits import Wait
from ...serde import Value
from ..crashpoints import Probe
from ..idempotency import REFUSED, WORKFLOW_RUN
from ..options import Options
from ..registry import SINGLETON_KEY, HostedMethod, Registry
from .attempt import RemoteAttempt
from .frames import Version
from .hosting import Deployment, RemoteMethod
from .transport import Client

if TYPE_CHECKING:
    from ..driver import Driver
    from ..shell import Shell

__all__ = ["RemoteDriver"]

_LOG = logging.getLogger("restate_runtime.remote")


class RemoteDriver:
    """All attempts at endpoints of one runtime.

    Args:
        shell: the core and what it acts on.
        registry: what is hosted, to find whom a handler calls.
        local: the driver of handlers in this process, which answers what does not depend on where a handler runs.
        client: opens streams.
        probe: told before something leaves for an endpoint.
    """

    def __init__(self, shell: Shell, registry: Registry, options: Options, local: Driver, client: Client, probe: Probe) -> None:
        self.client = client
        self.probe = probe
        self.step = shell.step
        self.now_ms = shell.now_ms
        self.new_id = local.new_id
        self.policy_of = local.policy_of
        self._shell = shell
        self._registry = registry
        self._options = options
        self._local = local
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._attempts: dict[int, RemoteAttempt] = {}
        # In the order in which they were last heard of.
        self._idle: dict[RemoteAttempt, None] = {}
        self._unreachable: dict[str, tuple[int, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty: asyncio.Future[None] | None = None
        self._stopping = False

    # --- from the core

    def start(self, invocation: Invocation, deployment: Deployment, method: RemoteMethod) -> None:
        """Runs an attempt at a deployment."""
        if self._stopping:
            return  # its row says that it runs: recovery starts it
        if self._local.readdressed(invocation, method):
            return
        assert invocation.journal is not None
        pinned = invocation.protocol if invocation.deployment == deployment.id else 0
        version = Version(pinned) if pinned else deployment.version()
        if version is None:
            lowest, highest = deployment.manifest.versions
            text = (
                f"the endpoint {deployment.address.url} speaks versions {lowest} to {highest} of the service protocol, this runtime 5 to 7"
            )
            self.step(Pause(invocation.seq, invocation.token, "RT0602", text))
            return
        attempt = RemoteAttempt(self, invocation, invocation.journal, deployment, method, version)
        self._attempts[invocation.seq] = attempt
        self._idle[attempt] = None
        task = attempt.task = begin_task(attempt.run(), self._loop, self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("an attempt at an endpoint ended with an error of the runtime", exc_info=task.exception())
        if self._empty is not None and not self._tasks and not self._empty.done():
            self._empty.set_result(None)

    def deliver(self, seq: int, ref: Ref) -> bool:
        """A result arrived; whether an attempt at an endpoint takes it."""
        attempt = self._attempts.get(seq)
        if attempt is None:
            return False
        attempt.deliver(ref)
        return True

    def abandon(self, seq: int) -> bool:
        """The attempt is over; whether there is one at an endpoint."""
        attempt = self._attempts.pop(seq, None)
        if attempt is None:
            return False
        self._idle.pop(attempt, None)
        attempt.abandon()
        return True

    def relieve(self) -> None:
        """Somebody waits for room: the one that has been silent longest is asked to suspend."""
        for attempt in self._idle:
            if not attempt.closing:
                attempt.half_close()
                return

    # --- from attempts

    def is_current(self, attempt: RemoteAttempt) -> bool:
        """Whether what the attempt says still counts."""
        invocation = attempt.invocation
        return not attempt.dead and invocation.live and invocation.token == attempt.token

    def ended(self, attempt: RemoteAttempt) -> None:
        """Its task is over."""
        self._idle.pop(attempt, None)
        if self._attempts.get(attempt.invocation.seq) is attempt:
            del self._attempts[attempt.invocation.seq]

    def waits(self, attempt: RemoteAttempt) -> None:
        """The endpoint says that its handler waits."""
        if self._stopping or self._shell.state.ready:
            attempt.half_close()
        elif attempt in self._idle:
            del self._idle[attempt]
            self._idle[attempt] = None

    def suspended(self, invocation: Invocation) -> None:
        """The endpoint has said what its handler waits for: now a cycle of calls can be seen."""
        if invocation.status is Status.SUSPENDED:
            self._local.deadlocks.waits(invocation)

    def begun(self, attempt: RemoteAttempt) -> None:
        """The endpoint has answered."""
        self._unreachable.pop(attempt.deployment.id, None)

    def unreachable(self, attempt: RemoteAttempt, text: str) -> None:
        """The endpoint was not reached: the invocation comes back later, and nothing is counted against it.

        The wait grows with the failures of the deployment, not of the invocation; all that fail at the same time count once.
        """
        deployment = attempt.deployment.id
        now_ms = self.now_ms()
        policy = self.policy_of(attempt.method)
        failures, until_ms = self._unreachable.get(deployment, (0, 0))
        if not failures:
            _LOG.warning("%s: what is to run there waits", text)
        if now_ms >= until_ms:
            delay_ms = replace(policy, max_attempts=None, max_duration=None).delay_ms(failures + 1, 0)
            assert delay_ms is not None
            until_ms = now_ms + delay_ms
            self._unreachable[deployment] = (failures + 1, until_ms)
        self.step(AttemptFailed(attempt.invocation.seq, attempt.token, text, policy, max(1, until_ms - now_ms), began=False))

    async def durable(self) -> None:
        """Returns once everything recorded so far is on disk."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._shell.committer.when_durable(lambda: None if done.done() else done.set_result(None))
        await done

    def when_durable(self, release: Callable[[], None]) -> None:
        """Calls it once everything recorded so far is on disk."""
        self._shell.committer.when_durable(release)

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """A timer that keeps no handler's context."""
        return self._loop.call_later(seconds, call, context=self._context)

    def report_failure(self, attempt: RemoteAttempt, text: str, stacktrace: str = "") -> None:
        """A failed attempt in the log, with the endpoint's own trace."""
        invocation = attempt.invocation
        trace = f"\n{stacktrace.rstrip()}" if stacktrace else ""
        _LOG.warning("[%s] %s: attempt %d failed: %s%s", invocation.target, invocation_id(invocation.id), invocation.attempt, text, trace)

    @property
    def message_limit(self) -> int:
        """Bytes that a value, a request or a response may have."""
        return self._options.max_message_size

    @property
    def suspend_always(self) -> bool:
        """Whether attempts are asked to suspend at every await."""
        return self._options.always_suspend or self._stopping

    def inactivity_s(self, method: HostedMethod) -> float:
        """How long an endpoint may be silent before it is asked to suspend."""
        timeout = method.inactivity_timeout
        return (self._options.inactivity_timeout if timeout is None else timeout).total_seconds()

    def abort_s(self, method: RemoteMethod) -> float:
        """How long it may be silent after that."""
        timeout = method.abort_timeout
        return (self._options.abort_timeout if timeout is None else timeout).total_seconds()

    def state(self, invocation: Invocation) -> dict[str, Value]:
        """The state of an invocation's key."""
        key = state_key(invocation.target)
        values = None if key is None else self._shell.state.lanes[key].state
        return values or {}

    # --- commands

    def target_of(self, service: str, method: str, key: str) -> Target:
        """Whom a call reaches. What is not hosted is called as it is named: it may be hosted later; a key that does not fit stays."""
        hosted = self._registry.services.get(service)
        if hosted is None:
            return Target(service, method, key or None)
        found = hosted.methods.get(method)
        shared = found is not None and found.shared
        match hosted.kind:
            case ServiceKind.UNKEYED:
                return Target(service, method, key or None, shared)
            case ServiceKind.SINGLETON:
                return Target(service, method, "" if key == SINGLETON_KEY else key, shared)
            case ServiceKind.KEYED:
                return Target(service, method, key, shared)

    def refuse_large(self, target: Target, command: Command) -> Failure | None:
        """The failure of an invocation that stores, sends or returns more than a message may be."""
        match command:
            case entries.SetState():
                what, size = f"state '{command.name}' of {target.service}", len(command.value.data)
            case entries.Call() | entries.OneWayCall():
                what, size = f"the request to {command.target.service}/{command.target.method}", len(command.payload)
            case entries.Output(outcome=entries.Success(value=value)):
                what, size = f"the response of {target.service}/{target.method}", len(value.data)
            case _:
                return None
        try:
            self._local.check_size(what, size)
        except TerminalError as error:
            return Failure(error.code.value, error.message)
        return None

    def issue(self, attempt: RemoteAttempt, command: Command) -> Issue:
        """The command as an event for the core, with what it depends on looked up."""
        seq, token = attempt.invocation.seq, attempt.token
        match command:
            case entries.Call() | entries.OneWayCall():
                return self._issue_call(seq, token, command)
            case entries.Attach() | entries.GetInvocationOutput():
                existing = self._attached(command)
                return Issue(seq, token, msgspec.structs.replace(command, invocation=existing.id), existing)
            case entries.GetPromise() | entries.PeekPromise() | entries.CompletePromise():
                lane = state_key(attempt.invocation.target)
                assert lane is not None
                outcome = self._shell.promise(lane, command.name)
                return Issue(seq, token, command, None if outcome is None else Existing(0, b"", outcome))
            case _:
                return Issue(seq, token, command)

    def _issue_call(self, seq: int, token: int, command: entries.Call | entries.OneWayCall) -> Issue:
        target = command.target
        hosted = self._registry.services.get(target.service)
        method = None if hosted is None else hosted.methods.get(target.method)
        event = Issue(seq, token, command, retention_ms=self._local.retention_ms)
        try:
            if method is not None:
                event.retention_ms = method.retention_ms(event.retention_ms)
                # On the wire a key that was not given is empty: then it is the request's.
                key, payload = method.addressed(command.payload, target.key or None)
                event.payload = payload if payload != command.payload else None
                if method.kind is ServiceKind.KEYED and key != target.key:
                    target = msgspec.structs.replace(target, key=key)
                    event.command = command = msgspec.structs.replace(command, target=target)
            if method is not None and method.run_once:
                event.idempotency_key = WORKFLOW_RUN
                event.existing = self._local.started_before(target)
            elif command.idempotency_key is not None:
                event.existing, event.request_digest, event.retention_ms = self._local.idempotent(command)
        except TerminalError as error:
            event.refusal = Failure(error.code.value, error.message)
        if event.existing is not None and event.existing.id == REFUSED:
            assert isinstance(event.existing.outcome, Failure)
            event.refusal = event.existing.outcome
            event.existing = None
        if event.existing is not None:
            event.command = msgspec.structs.replace(command, callee=event.existing.id)
        return event

    def _attached(self, command: entries.Attach | entries.GetInvocationOutput) -> Existing:
        known_as = command.known_as
        if known_as is None:
            return self._local.existing(command.invocation)
        method = known_as.method or self._run_of(known_as.service)
        target = self.target_of(known_as.service, method, known_as.key or "")
        found = self._shell.idempotent((target.service, target.method, target.key or "", known_as.idempotency_key))
        if found is None:
            return Existing(0, b"", Failure(Code.NOT_FOUND.value, "there is no such invocation"))
        return found[0]

    def _run_of(self, workflow: str) -> str:
        hosted = self._registry.services.get(workflow)
        methods = () if hosted is None else hosted.methods.values()
        return next((method.name for method in methods if method.run_once), "")

    # --- for people

    def wait_of(self, seq: int) -> Wait | None:
        """What an attempt waits for, as far as its endpoint says."""
        attempt = self._attempts.get(seq)
        return None if attempt is None else attempt.waiting_for

    # --- the end

    async def stop(self, timeout_s: float) -> None:
        """Asks everything to suspend, and gives it some time; what still runs then is left to recovery."""
        self._stopping = True
        until = time.monotonic() + timeout_s
        for attempt in list(self._attempts.values()):
            attempt.half_close()
        if self._tasks:
            self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=max(0.0, until - time.monotonic()))
        self.drop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def drop(self) -> None:
        """Every attempt is over, at once."""
        self._stopping = True
        for seq in list(self._attempts):
            self.abandon(seq)
