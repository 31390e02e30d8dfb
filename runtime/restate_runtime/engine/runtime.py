"""The embedded runtime: takes calls from outside, answers once they are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..descriptors import MethodDescriptor
from ..errors import Code, RuntimeFault, TerminalError
from ..handler.by_name import NamedMethod
from ..handler.client import InvocationHandle, Method, OutgoingCall
from ..handler.futures import Call, terminal_error_of
from ..handler.outside import BackgroundCalls, OutsideCall, OutsideHandle, failed, finished
from ..handler.scope import outside_only
from ..identifiers import invocation_id as text_of
from ..identifiers import parse_awakeable_id, parse_invocation_id
from ..journal.entries import Failure, Outcome, Success, Target
from ..journal.events import Admit, AttachWaiter, Cancel, Existing, Kill, PauseRequested, Resume, ServicesChanged, Settle, Share
from ..journal.model import Invocation, Status
from ..serde import Value, check_text, encode, same_settlement
from .builtin import Builtins
from .idempotency import WORKFLOW_RUN, key_reused, same_request, started_before
from .machinery import Machinery
from .options import Options
from .protocol import Inspector
from .registry import Registry, imported_method

__all__ = ["Accepted", "Runtime"]


class Accepted:
    """A call that was taken; see `engine.protocol.Submission`."""

    __slots__ = ("_machinery", "_on_disk", "_refusal", "attached", "invocation_id", "result")

    def __init__(
        self,
        machinery: Machinery,
        id: bytes,
        result: asyncio.Future[bytes] | None,
        refusal: TerminalError | None = None,
        *,
        attached: bool = False,
    ) -> None:
        self._machinery = machinery
        self._refusal = refusal
        self.invocation_id = text_of(id)
        self.result = result
        self.attached = attached
        self._on_disk: asyncio.Future[None] | None = None

    @property
    def on_disk(self) -> asyncio.Future[None]:
        """Done once the call is durable."""
        # Made when it is asked for: most callers wait for the result alone.
        if self._on_disk is None:
            self._on_disk = self._machinery.durable(self._refusal)
        return self._on_disk


class Runtime:
    """A started runtime. `App.start` makes it; it is a caller for generated clients, and an `Engine` for the outer rings.

    Attributes:
        ingress_url: address of the HTTP ingress, `None` where it is not served.
        admin_url: address of the admin API, `None` where it is not served.
        grpc_address: always `None`: there is no gRPC ingress.
    """

    def __init__(self, machinery: Machinery) -> None:
        self.ingress_url: str | None = None
        self.admin_url: str | None = None
        self.grpc_address: str | None = None
        self._machinery = machinery
        self._builtins = Builtins()
        self._background = BackgroundCalls()

    # --- what it is

    @property
    def options(self) -> Options:
        """The options that it was started with."""
        return self._machinery.options

    @property
    def registry(self) -> Registry:
        """The services that it hosts."""
        return self._machinery.registry

    @property
    def inspector(self) -> Inspector:
        """Reads what is committed."""
        return self._machinery.inspector

    async def refresh(self) -> None:
        """Nothing to do: the registry is always up to date."""

    @property
    def data_dir(self) -> Path:
        """Where its files are."""
        return self._machinery.data_dir

    @property
    def failed(self) -> asyncio.Future[RuntimeFault]:
        """Done when the disk or the directory was lost: nothing is served any more."""
        return self._machinery.failed

    async def close(self, raised: BaseException | None = None) -> None:
        """Waits a while for background calls that are not on disk, and raises failures that nobody saw."""
        if not self._machinery.failed.done():
            await self._background.close(raised, self._machinery.write_timeout_s)

    async def stop(self) -> None:
        """Suspends what waits and closes the files; callers that still wait get a ConnectionError."""
        await self._machinery.stop()

    # --- calls from outside: Engine

    def submit(self, call: OutgoingCall, *, background: bool) -> Accepted:
        """Takes a call, durable or not yet.

        Raises:
            TerminalError: NOT_FOUND, INVALID_ARGUMENT or RESOURCE_EXHAUSTED; nothing was stored. ALREADY_EXISTS comes with the futures.
            ConnectionError: the runtime is stopping, or has lost its disk.
        """
        machinery = self._machinery
        machinery.check_open()
        if machinery.committer.full:
            raise TerminalError(machinery.committer.full, Code.RESOURCE_EXHAUSTED)
        method = machinery.registry.resolve(call.service, call.method)
        method.check_public()
        driver = machinery.driver
        driver.check_size(f"the request to {call.service}/{call.method}", len(call.payload))
        given = call.payload
        target = driver.target_of(call)
        digest = b""
        retention_ms = driver.retention_ms
        idempotency_key = WORKFLOW_RUN if method.run_once else call.idempotency_key
        if idempotency_key is not None:
            digest = method.digest(call.payload)
            retention_ms = method.retention_ms(retention_ms) if call.retention_s is None else round(call.retention_s * 1000)
            if method.run_once:
                earlier = machinery.shell.earlier_run(target)
                found = None if earlier is None else (earlier, b"")
            else:
                found = machinery.shell.idempotent((target.service, target.method, target.key or "", idempotency_key))
            if found is not None:
                existing, before = found
                refusal = None
                refused = not background if method.run_once else not same_request(before, digest, given)
                if refused:
                    # The first call may not be on disk yet, and then this one must not hear of it.
                    refusal = started_before(target) if method.run_once else key_reused(idempotency_key, before, digest)
                    existing = Existing(existing.seq, existing.id, Failure(refusal.code.value, refusal.message))
                if existing.outcome is None:
                    machinery.shell.step(Share(existing.seq))
                result = None if background else self._outcome_of(existing)
                return Accepted(machinery, existing.id, result, refusal, attached=True)
        id = driver.new_id()
        waiter = None if background else machinery.waiter(id)
        machinery.shell.step(
            Admit(
                id,
                target,
                call.payload,
                dict(call.headers) if call.headers else {},
                machinery.now_ms() + call.delay_ms if call.delay_ms else 0,
                waiter,
                idempotency_key,
                digest,
                retention_ms,
            )
        )
        return Accepted(machinery, id, waiter)

    def _outcome_of(self, existing: Existing) -> asyncio.Future[bytes]:
        waiter = self._machinery.waiter(existing.id)
        if existing.outcome is None:
            self._machinery.shell.step(AttachWaiter(existing.seq, waiter))
        else:
            outcome = existing.outcome
            self._machinery.committer.when_durable(lambda: self._machinery.reply(waiter, outcome))
        return waiter

    def _known(self, id: str) -> Invocation:
        self._machinery.check_open()
        raw = parse_invocation_id(id)
        if raw is None:
            raise TerminalError(f"'{id}' is no invocation's id", Code.INVALID_ARGUMENT)
        found = self._machinery.shell.find(raw)
        if found is None:
            raise _unknown(id)
        return found

    def attach(self, invocation_id: str) -> asyncio.Future[bytes]:
        """The result of an invocation, once there is one; whoever cancels it waits no longer."""
        existing = self._machinery.shell.existing(self._known(invocation_id).id)
        if existing is None:
            raise _unknown(invocation_id)  # forgotten in this moment
        return self._outcome_of(existing)

    def output(self, invocation_id: str) -> bytes | None:
        """The result of a completed invocation as it is committed, `None` while there is none.

        Raises:
            TerminalError: the invocation failed with it.
        """
        outcome = self._machinery.committed_outcome(self._known(invocation_id))
        if isinstance(outcome, Failure):
            raise terminal_error_of(outcome)
        return None if outcome is None else outcome.value.data

    def method_of(self, invocation_id: str) -> tuple[str, str]:
        """Service and method of an invocation."""
        target = self._known(invocation_id).target
        return target.service, target.method

    def status(self, invocation_id: str) -> str:
        """The status as it is committed."""
        return self._machinery.committed_status(self._known(invocation_id))

    async def settle_awakeable(self, awakeable_id: str, value: Value | None, reason: str | None = None) -> None:
        """Resolves or rejects an awakeable, and returns once that is durable."""
        machinery = self._machinery
        machinery.check_open()
        parsed = parse_awakeable_id(awakeable_id)
        if parsed is None:
            raise TerminalError(f"'{awakeable_id}' is no awakeable's id", Code.NOT_FOUND)
        owner = machinery.shell.find(parsed[0])
        if owner is None:
            raise TerminalError(f"there is no awakeable {awakeable_id}", Code.NOT_FOUND)
        if value is not None:
            machinery.driver.check_size("the payload of the awakeable", len(value.data))
        outcome: Outcome = Failure(Code.ABORTED.value, reason or "") if value is None else Success(value)
        before = machinery.shell.signal(owner, -parsed[1])
        refusal: TerminalError | None = None
        if before is not None and not _equal(before, outcome):
            refusal = TerminalError(f"the awakeable {awakeable_id} was settled otherwise before", Code.ALREADY_EXISTS)
        elif before is None and owner.status is Status.COMPLETED:
            refusal = TerminalError(f"the awakeable {awakeable_id} belongs to an invocation that is completed", Code.NOT_FOUND)
        elif before is None:
            machinery.shell.step(Settle(owner.seq, parsed[1], outcome))
        await machinery.durable(refusal)  # a refusal, too, depends on what may not be on disk yet

    async def cancel(self, invocation_id: str) -> None:
        """Asks an invocation to stop; nothing happens to a completed one."""
        invocation = self._known(invocation_id)
        if invocation.status is not Status.COMPLETED:
            self._machinery.shell.step(Cancel(invocation.seq))
        await self._machinery.durable()

    async def kill(self, invocation_id: str) -> None:
        """Ends an invocation and the awaited calls below it; nothing happens to a completed one."""
        invocation = self._known(invocation_id)
        if invocation.status is not Status.COMPLETED:
            self._machinery.shell.step(Kill(invocation.seq))
        await self._machinery.durable()

    async def resume(self, invocation_id: str) -> None:
        """Lets a paused or backing-off invocation try again now."""
        invocation = self._known(invocation_id)
        if invocation.status not in (Status.PAUSED, Status.BACKING_OFF):
            raise _refused(invocation_id, invocation, "there is nothing to resume")
        self._machinery.shell.step(Resume(invocation.seq))
        await self._machinery.durable()

    async def pause(self, invocation_id: str) -> None:
        """Takes an invocation out of memory until somebody resumes it; nothing happens to a paused one."""
        invocation = self._known(invocation_id)
        if invocation.status in (Status.SCHEDULED, Status.INBOXED, Status.COMPLETED):
            raise _refused(invocation_id, invocation, "only one that has its turn can be paused")
        self._machinery.shell.step(PauseRequested(invocation.seq))
        await self._machinery.durable()

    async def restart(self, invocation_id: str) -> str:
        """A new invocation with the request and headers of a completed one; its id, once it is durable."""
        machinery = self._machinery
        invocation = await self._completed(invocation_id, "only a completed one can be restarted")
        target = invocation.target
        method = machinery.registry.resolve(target.service, target.method)
        if method.run_once:
            raise _refused(invocation_id, invocation, "a workflow runs once for each key: purge it, and start it again")
        request = machinery.request_of(invocation)
        if request is None:
            raise _unknown(invocation_id)
        id = machinery.driver.new_id()
        shared = Target(target.service, target.method, target.key, method.shared)
        machinery.shell.step(Admit(id, shared, request.payload, dict(request.headers)))
        await machinery.durable()
        return text_of(id)

    async def purge(self, invocation_id: str) -> None:
        """Forgets a completed invocation, its journal and its idempotency key."""
        invocation = await self._completed(invocation_id, "only a completed one can be purged")
        self._machinery.shell.forget([invocation.seq])
        await self._machinery.durable()

    async def _completed(self, invocation_id: str, why: str) -> Invocation:
        self._known(invocation_id)
        await self._machinery.durable()  # its end may not be on disk yet
        invocation = self._known(invocation_id)
        if invocation.status is not Status.COMPLETED:
            raise _refused(invocation_id, invocation, why)
        return invocation

    def services_changed(self) -> None:
        """Services came: what waits for them is tried again at once."""
        self._machinery.check_open()
        self._machinery.shell.step(ServicesChanged())

    async def set_public(self, service: str, public: bool | None) -> None:
        """Opens or closes a service to callers outside, and returns once that is stored; with `None` code and contract decide again."""
        machinery = self._machinery
        machinery.check_open()
        machinery.registry.set_public(service, public)
        machinery.committer.filling.access[service] = public
        machinery.committer.end_transition()
        await machinery.durable()

    # --- endpoints elsewhere

    async def register_deployment(self, url: str, *, force: bool = False, http1: bool = False) -> dict[str, Any]:
        """Sends new invocations of an endpoint's services there, and returns once that is stored.

        Args:
            url: of the endpoint, which has to answer now.
            force: the URL was registered before, and what it hosts now replaces what it hosted then.
            http1: speak HTTP/1.1 to it.

        Returns:
            A row of sys_deployment with its `services`, and `created`: whether something has changed.

        Raises:
            RuntimeFault: RT0601 to RT0603, there is no endpoint that could be registered.
            TerminalError: ALREADY_EXISTS or FAILED_PRECONDITION, it does not go together with what is known.
        """
        self._machinery.check_open()
        deployment, changed = await self._machinery.outposts.deployments.register(url, force=force, http1=http1)
        await self._machinery.durable()
        row = next(row for row in self.inspector.deployments() if row["id"] == deployment.id)
        return row | {"created": changed}

    async def remove_deployment(self, id: str, *, force: bool = False) -> None:
        """Forgets a deployment, and returns once that is stored.

        Raises:
            TerminalError: NOT_FOUND; FAILED_PRECONDITION while invocations are pinned to it, unless `force` is given.
        """
        self._machinery.check_open()
        self._machinery.outposts.deployments.remove(id, force=force)
        await self._machinery.durable()

    # --- calls from outside: Caller

    def begin_call(self, call: OutgoingCall) -> Call[Any]:
        """For generated clients: begins an awaited call."""
        outside_only("a runtime")
        what = f"{call.service}/{call.method}"
        source: asyncio.Future[Any]
        abandoned: Callable[[], object] | None = None
        try:
            builtin = self._builtins.resolve(call.service, call.method)
            if builtin is not None:
                source = asyncio.ensure_future(self._builtins.call_bytes(self, builtin, call))
            else:
                result = self.submit(call, background=False).result
                assert result is not None
                source, abandoned = result, result.cancel
        except (TerminalError, ConnectionError) as error:
            source = failed(error)
        return OutsideCall(source, call.decode_response, timeout_s=call.timeout_s, what=what, abandoned=abandoned)  # type: ignore[return-value]

    def begin_send(self, call: OutgoingCall) -> InvocationHandle[Any]:
        """For generated clients: begins a background call."""
        outside_only("a runtime")
        source: asyncio.Future[str]
        try:
            source = asyncio.ensure_future(self._accept(self.submit(call, background=True), call.timeout_s))
        except (TerminalError, ConnectionError) as error:
            source = failed(error)
        return OutsideHandle(source, self, call.decode_response, self._background)

    async def _accept(self, accepted: Accepted, timeout_s: float | None) -> str:
        async with asyncio.timeout(timeout_s):
            await accepted.on_disk
        return accepted.invocation_id

    def invocation(self, id: str) -> InvocationHandle[Any]:
        """A handle for an invocation that is known by its id."""
        outside_only("a runtime")
        return OutsideHandle(finished(id), self)

    def method(self, name: str, *, key: str | None = None) -> Method[bytes, bytes]:
        """A method by name, `list.ListService/Append`: binary in, binary out.

        Args:
            name: service and method.
            key: for a KEYED service without a .proto; for one with a .proto it stands in the request, and is filled in where it does not.

        Raises:
            ValueError: the name has another form.
        """
        return NamedMethod(self, name, key)

    async def resolve_awakeable(self, id: str, value: object) -> None:
        """Settles an awakeable with a value; returns once that is durable.

        Raises:
            TerminalError: NOT_FOUND for an unknown id, ALREADY_EXISTS where it was settled otherwise before.
            SerdeError: the value cannot be stored.
        """
        outside_only("a runtime")
        await self.settle_awakeable(id, encode(value))

    async def reject_awakeable(self, id: str, reason: str) -> None:
        """Settles an awakeable with a failure, as `resolve_awakeable`; `SerdeError` for a reason that cannot be stored."""
        outside_only("a runtime")
        check_text("the reason", reason)
        await self.settle_awakeable(id, None, reason)

    # --- for handles: Reach

    async def result_of(self, invocation_id: str, decode: Any) -> Any:
        """Waits for the end of an invocation; without `decode` by the method that is known for it."""
        outside_only("a runtime")
        service, method = self.method_of(invocation_id)
        payload = await self.attach(invocation_id)
        if decode is not None:
            return decode(payload)
        # Classes of an imported module are those that users know; those of an endpoint's contract are its own.
        descriptor = imported_method(service, method).descriptor or self._contract_of(service, method)
        return OutgoingCall(service="", method="", key=None, payload=b"", descriptor=descriptor).decode_response(payload)

    def _contract_of(self, service: str, method: str) -> MethodDescriptor[Any, Any] | None:
        try:
            return self.registry.resolve(service, method).descriptor
        except TerminalError:
            return None

    async def status_of(self, invocation_id: str) -> str:
        """The status of an invocation, for its handle."""
        outside_only("a runtime")
        return self.status(invocation_id)

    async def cancel_invocation(self, invocation_id: str) -> None:
        """Cancels an invocation, for its handle."""
        outside_only("a runtime")
        await self.cancel(invocation_id)

    async def kill_invocation(self, invocation_id: str) -> None:
        """Kills an invocation, for its handle."""
        outside_only("a runtime")
        await self.kill(invocation_id)


def _unknown(id: str) -> TerminalError:
    return TerminalError(f"there is no invocation {id}", Code.NOT_FOUND)


def _refused(id: str, invocation: Invocation, why: str) -> TerminalError:
    return TerminalError(f"the invocation {id} is {invocation.status.value}: {why}", Code.FAILED_PRECONDITION)


def _equal(first: Outcome, second: Outcome) -> bool:
    match first, second:
        case Success(before), Success(now):
            return same_settlement(before, now)
        case Failure(message=before), Failure(message=now):
            return before == now  # which code it has is up to the SDK that rejects it
        case _:
            return False
