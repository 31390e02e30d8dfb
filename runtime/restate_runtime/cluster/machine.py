"""The one place that touches restate-sdk's inside: its state machine of one attempt, in this project's words.

The SDK's public context would not do: it decides combinators by what has been collected so far, starts side effects when they are
awaited, and hides the order in which results were recorded. `SDK_USED` lists what is used; a test holds it against the SDK that is
installed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from restate.exceptions import SdkInternalException, SuspendedException
from restate.exceptions import TerminalError as SdkTerminalError
from restate.server_context import DisconnectedException, ServerInvocationContext
from restate.vm import (
    DoProgressAnyCompleted,
    DoProgressCancelSignalReceived,
    DoProgressExecuteRun,
    DoProgressWaitExternalProgress,
    Failure,
    FirstCompletedUnresolvedFuture,
    RunRetryConfig,
    SingleUnresolvedFuture,
    Suspended,
)

from ..engine.remote.transport import MESSAGE_LIMIT
from ..errors import Code, TerminalError
from ..journal import entries
from ..journal.entries import Outcome
from ..retry import RetryPolicy
from ..statuses import code_of, metadata_of, status_of

__all__ = ["SDK_USED", "Broken", "Machine", "Progress", "RunWanted"]

SDK_USED = {
    "restate.server_context.ServerInvocationContext": ("take_and_send_output",),
    "restate.vm.VMWrapper": (
        "attach_invocation", "do_progress", "is_completed", "is_replaying", "notify_error", "notify_input", "notify_input_closed",
        "propose_run_completion_failure", "propose_run_completion_success", "propose_run_completion_transient", "sys_awakeable",
        "sys_call", "sys_cancel", "sys_clear_all_state", "sys_clear_state", "sys_get_state", "sys_get_state_keys",
        "sys_reject_awakeable", "sys_resolve_awakeable", "sys_run", "sys_send", "sys_set_state", "sys_sleep", "take_notification",
    ),
}  # fmt: skip
"""What of the SDK is used beyond its documented interface: attributes by class."""


class Progress(enum.Enum):
    """What became of the wish to go on."""

    SETTLED = "settled"
    """One of the results has arrived."""
    WAIT = "wait"
    """Nothing, before more input or the end of a side effect."""
    CANCELLED = "cancelled"
    """The invocation is to be cancelled."""
    SUSPENDED = "suspended"
    """The attempt is over: it goes on in another one."""


@dataclass(frozen=True, slots=True)
class RunWanted:
    """A side effect is to be run."""

    handle: int


class Broken(Exception):
    """The machine cannot go on: the journal does not match, or the protocol was violated. Its output says so to the cluster."""


class Machine:
    """One attempt's way along its journal, kept by the SDK."""

    def __init__(self, context: ServerInvocationContext) -> None:
        self._context: Any = context
        self._vm: Any = context.vm
        invocation = context.invocation
        self.invocation_id = invocation.invocation_id
        self.key = invocation.key
        self.headers: list[tuple[str, str]] = invocation.headers
        limit = context.attempt_headers.get(MESSAGE_LIMIT, "")
        self.message_limit = int(limit) if limit.isascii() and limit.isdigit() else None
        """Bytes that a message may have, where the engine says it."""

    # --- input and output

    async def receive(self) -> dict[str, Any]:
        """The next event from the connection."""
        event: dict[str, Any] = await self._context.receive()
        return event

    def take_input(self, event: Mapping[str, Any]) -> bool:
        """Takes an event in; `False` once the connection is lost."""
        if event.get("type") == "http.disconnect":
            return False
        body = event.get("body")
        if body:
            self._vm.notify_input(body)
        if not event.get("more_body", False):
            self._vm.notify_input_closed()
        return True

    def close_input(self) -> None:
        """Nothing more is taken in: what has to wait from now on suspends."""
        self._vm.notify_input_closed()

    async def flush(self) -> None:
        """Sends what has been asked so far."""
        await self._context.take_and_send_output()

    # --- progress

    @property
    def replaying(self) -> bool:
        return bool(self._vm.is_replaying())

    def progress(self, handles: Iterable[int]) -> Progress | RunWanted:
        """Goes on to the next result of these, in the order in which they were recorded.

        Raises:
            Broken: it cannot.
        """
        found = self._vm.do_progress(FirstCompletedUnresolvedFuture([SingleUnresolvedFuture(handle) for handle in handles]))
        match found:
            case DoProgressAnyCompleted():
                return Progress.SETTLED
            case DoProgressExecuteRun():
                return RunWanted(found.handle)
            case DoProgressWaitExternalProgress():
                return Progress.WAIT
            case DoProgressCancelSignalReceived():
                return Progress.CANCELLED
            case Suspended():
                return Progress.SUSPENDED
            case _:
                raise Broken(str(found))

    def has(self, handle: int) -> bool:
        """Whether the result is at hand."""
        return bool(self._vm.is_completed(handle))

    def take(self, handle: int) -> bytes | str | list[str] | entries.Failure | None:
        """A result that is at hand: bytes, an id, names of states, a failure, or nothing.

        Raises:
            Broken: there is none.
        """
        found = self._vm.take_notification(handle)
        if isinstance(found, Failure):
            return entries.Failure(code_of(found.code, found.message, found.metadata).value, found.message)
        if found is None or isinstance(found, (bytes, str, list)):
            return found
        raise Broken(str(found))

    # --- commands; each gives the handle of its result where it has one

    def get_state(self, name: str) -> int:
        return int(self._ask("sys_get_state", name))

    def state_names(self) -> int:
        return int(self._ask("sys_get_state_keys"))

    def set_state(self, name: str, data: bytes) -> None:
        self._ask("sys_set_state", name, data)

    def clear_state(self, name: str) -> None:
        self._ask("sys_clear_state", name)

    def clear_all_state(self) -> None:
        self._ask("sys_clear_all_state")

    def sleep(self, milliseconds: int) -> int:
        return int(self._ask("sys_sleep", milliseconds))

    def call(
        self, service: str, method: str, payload: bytes, key: str | None, idempotency_key: str | None, headers: Mapping[str, str] | None
    ) -> tuple[int, int]:
        """An awaited call: the handles of the callee's id, and of its result."""
        found = self._ask(
            "sys_call", service, method, payload, key, idempotency_key=idempotency_key, headers=list(headers.items()) if headers else None
        )
        return found.invocation_id_handle, found.result_handle

    def send(
        self,
        service: str,
        method: str,
        payload: bytes,
        key: str | None,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None,
        delay_ms: int,
    ) -> int:
        """A background call: the handle of the callee's id."""
        return int(
            self._ask(
                "sys_send",
                service,
                method,
                payload,
                key,
                delay=delay_ms or None,
                idempotency_key=idempotency_key,
                headers=list(headers.items()) if headers else None,
            )
        )

    def run(self, name: str) -> int:
        return int(self._ask("sys_run", name).handle)

    def awakeable(self) -> tuple[str, int]:
        """Its id, and the handle of its result."""
        id, handle = self._ask("sys_awakeable")
        return id, handle

    def resolve_awakeable(self, id: str, data: bytes) -> None:
        self._ask("sys_resolve_awakeable", id, data)

    def reject_awakeable(self, id: str, error: TerminalError) -> None:
        self._ask("sys_reject_awakeable", id, _failure(error))

    def attach(self, invocation_id: str) -> int:
        return int(self._ask("attach_invocation", invocation_id))

    def cancel(self, invocation_id: str) -> None:
        self._ask("sys_cancel", invocation_id)

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._vm, name)(*arguments, **options)
        except Exception as error:  # the SDK's VMException, which has no public name
            raise Broken(str(error)) from error

    # --- side effects

    def run_ended(self, handle: int, outcome: Outcome, data: bytes) -> None:
        """Proposes the result of a side effect; `data` is what is kept of a success."""
        if isinstance(outcome, entries.Failure):
            self._ask("propose_run_completion_failure", handle, _failure(TerminalError(outcome.message, Code(outcome.code))))
        else:
            self._ask("propose_run_completion_success", handle, data)

    def run_failed(self, handle: int, text: str, took_ms: int, policy: RetryPolicy) -> None:
        """Proposes to fail with this text where the policy is spent.

        Raises:
            Broken: it is not: the attempt is over, and its output says when the next one is due.
        """
        self._ask(
            "propose_run_completion_transient",
            handle,
            failure=Failure(status_of(Code.INTERNAL), text),
            attempt_duration_ms=took_ms,
            config=RunRetryConfig(
                initial_interval=_milliseconds(policy.initial_interval.total_seconds()),
                max_attempts=policy.max_attempts,
                max_duration=None if policy.max_duration is None else _milliseconds(policy.max_duration.total_seconds()),
                max_interval=_milliseconds(policy.max_interval.total_seconds()),
                interval_factor=float(policy.factor),
            ),
        )

    # --- the end of the attempt, as the SDK takes it from a handler

    def failed(self, text: str, stacktrace: str, delay_ms: int | None = None) -> BaseException:
        """The attempt failed, and is to be retried: as the policy says, or after so long, which does not count against the policy."""
        self._vm.notify_error(text, stacktrace, None if delay_ms is None else timedelta(milliseconds=delay_ms))
        return SdkInternalException()

    @staticmethod
    def suspended() -> BaseException:
        """The attempt is over without an end of the invocation."""
        return SuspendedException()

    @staticmethod
    def disconnected() -> BaseException:
        """There is nobody to answer to."""
        return DisconnectedException()

    @staticmethod
    def terminal(error: TerminalError) -> BaseException:
        """The invocation ends with that error."""
        return SdkTerminalError(error.message, status_of(error.code), metadata_of(error.code))


def _failure(error: TerminalError) -> Failure:
    return Failure(status_of(error.code), error.message, metadata=metadata_of(error.code))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
