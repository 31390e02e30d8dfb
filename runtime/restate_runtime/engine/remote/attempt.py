"""One attempt of an invocation whose handler runs at an endpoint: the stream to it, and what both sides say on it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from dev.restate import wire_pb2 as wire

from ...errors import Code, TerminalError
from ...identifiers import invocation_id
from ...journal import entries
from ...journal.entries import CANCEL, Command, Failure, Ref
from ...journal.events import ActionEnded, AttemptFailed, CancelTaken, Issue, Pause, Pin, Suspend
from ...journal.model import Invocation, Journal
from ...journal.waits import Wait
from ...serde import storable
from ..sources import describe_error
from .frames import JOURNAL_MISMATCH, Frame, MessageType, ProtocolError, Version, awaiting_on
from .hosting import Deployment, RemoteMethod
from .messages import Messages
from .translate import Payloads, Translator, completions, storable_ms, wait_of, wire_key
from .transport import MESSAGE_LIMIT, EndpointError, Problem, Stream

if TYPE_CHECKING:
    from .driver import RemoteDriver

__all__ = ["RemoteAttempt"]

_EAGER_STATE_BYTES = 1024 * 1024
"""State that comes along with the start; the rest is asked for."""


class RemoteAttempt:
    """Runs in a task of its own, from the start to the last message."""

    def __init__(
        self, driver: RemoteDriver, invocation: Invocation, journal: Journal, deployment: Deployment, method: RemoteMethod, version: Version
    ) -> None:
        self._driver = driver
        self.invocation = invocation
        self.journal = journal
        self.token = invocation.token
        self.deployment = deployment
        self.method = method
        self.version = version
        self.task: asyncio.Task[None] | None = None
        self.dead = False
        self.closing = False
        self.waiting_for: Wait | None = None
        self._stream: Stream | None = None
        messages = Messages(method.descriptor, json_request=method.json_request, json_response=method.json_response)
        self._translator = Translator(Payloads(sealed=method.sealed), messages, driver.target_of, driver.new_id)
        self._durable = len(journal.notifications)
        self._told = 0
        self._replayed = 0
        self._converses = False
        self._started = False
        self._begun = False
        self._ended = False
        self._types: dict[int, MessageType] = {}
        self._unfinished: set[int] = set()
        self._acknowledged: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._cut_off = ""

    # --- the run

    async def run(self) -> None:
        """From the start to the end; ends in exactly one event, or in none where the attempt is over before."""
        driver = self._driver
        try:
            await driver.durable()  # what the endpoint is told is on disk
            if not self.dead:
                driver.probe("effect")
                await self._converse()
        except EndpointError as error:
            self._lost(error)
        except ProtocolError as error:
            self._failed(f"the endpoint {self.deployment.address.url} sent {error}")
        except TerminalError as error:  # what it was asked for cannot be put as the endpoint takes it
            self._end_with(Failure(error.code.value, error.message))
        except asyncio.CancelledError:
            if not self.dead:
                raise
        except Exception as error:
            self._failed(f"an error of the runtime: {describe_error(error)}")
            raise
        finally:
            self._stop_timer()
            if self._stream is not None:
                self._stream.reset()
            driver.ended(self)

    async def _converse(self) -> None:
        target = self.invocation.target
        headers = {MESSAGE_LIMIT: str(self._driver.message_limit)}
        stream = await self._driver.client.open(self.deployment.address, target.service, target.method, self.version, headers)
        if self.dead:
            stream.reset()
            return
        self._stream = stream
        self._begin(stream)
        if self.dead:
            return
        await stream.drain()
        while not self._ended:
            frame = await stream.receive()
            if self.dead:
                return
            if frame is None:
                raise EndpointError(
                    Problem.LOST, self._cut_off or f"the endpoint {self.deployment.address.url} ended the attempt without a word"
                )
            self._begin_once()
            self._rest()
            self._take(frame)
            if self.dead:
                return

    def _begin(self, stream: Stream) -> None:
        """The start and the journal as far as it is on disk."""
        invocation = self.invocation
        journal = self.journal
        if any(id == 0 for command in journal.commands for id, _ in completions(command)):
            text = f"it made calls in this process before {invocation.target.service} was moved to {self.deployment.address.url}"
            text += ", and an endpoint cannot replay them: bind the service in the App again, and resume it, or kill it"
            self._driver.step(Pause(invocation.seq, self.token, "RT0301", text))
            return
        frames = [self._translator.frame(command) for command in journal.commands]
        for command in journal.commands:
            self._note_completions(command)
        known = journal.notifications[: self._durable]
        for notification in known:
            if isinstance(notification, entries.Completion):
                self._unfinished.discard(notification.completion_id)
            frames.append(self._translator.notification(notification, self._types))
        self._told = self._replayed = len(known)
        now_ms = self._driver.now_ms()
        retries = invocation.retries if invocation.retries_length == len(journal.commands) + len(journal.notifications) else 0
        start = wire.Start(
            id=invocation.id,
            debug_id=invocation_id(invocation.id),
            known_entries=len(frames),
            key=wire_key(invocation.target),
            retry_count_since_last_stored_entry=retries,
            duration_since_last_stored_entry=max(0, now_ms - invocation.retries_ms) if retries else 0,
            random_seed=int.from_bytes(hashlib.blake2b(invocation.id, key=b"endpoint", digest_size=8).digest(), "big"),
        )
        if invocation.idempotency_key:
            start.idempotency_key = invocation.idempotency_key
        self._add_state(start)
        stream.send(Frame(MessageType.START, start), *frames)
        self._started = True
        if CANCEL in journal.arrivals:
            self._driver.step(CancelTaken(invocation.seq, self.token))
        self._converses = stream.bidirectional and self.deployment.bidirectional
        if not self._converses or self._driver.suspend_always:
            self.half_close()
        else:
            self._flush()
            self._rest()

    def _add_state(self, start: wire.Start) -> None:
        if self.invocation.target.key is None:
            return
        if self.method.lazy_state:
            start.partial_state = True
            return
        size = 0
        for name, value in sorted(self._driver.state(self.invocation).items()):
            size += len(name) + len(value.data)
            if size > _EAGER_STATE_BYTES:
                start.partial_state = True
                return
            start.state_map.append(self._translator.state_entry(name, value))

    def _begin_once(self) -> None:
        """The endpoint has answered: the invocation stays with this deployment."""
        if not self._begun:
            self._begun = True
            self._driver.begun(self)
            invocation = self.invocation
            if invocation.deployment != self.deployment.id or invocation.protocol != self.version:
                self._driver.step(Pin(invocation.seq, self.token, self.deployment.id, self.version.value))

    # --- what the endpoint says

    def _take(self, frame: Frame) -> None:
        message = frame.message
        match frame.type:
            case MessageType.SUSPENSION:
                self._ended = True
                assert isinstance(message, wire.Suspension)
                self._suspend(awaiting_on(message))
            case MessageType.ERROR:
                self._ended = True
                assert isinstance(message, wire.Error)
                self._take_error(message)
            case MessageType.END:
                self._ended = True
                if self._driver.is_current(self):  # else its output came before
                    self._failed(f"the handler of {self.invocation.target} ended without an output")
            case MessageType.PROPOSE_RUN_COMPLETION:
                assert isinstance(message, wire.ProposeRunCompletion)
                self._take_proposal(message, frame.requested_ack)
            case MessageType.AWAITING_ON:
                assert isinstance(message, wire.AwaitingOn)
                self.waiting_for = None if message.executing_side_effects else wait_of(message.awaiting_on)
                if self.waiting_for is not None:
                    self._driver.waits(self)
            case _:
                self.waiting_for = None
                self._issue(self._translator.command(frame), frame.requested_ack)

    def _suspend(self, future: wire.Future) -> None:
        wait = wait_of(future)
        unknown = [ref for ref in wait.leaves() if isinstance(ref, int) and ref > 0 and ref not in self._types]
        if unknown or not any(True for _ in wait.leaves()):
            raise ProtocolError(f"a suspension that waits for {unknown or 'nothing'}")
        # An endpoint that stops suspends by itself, and may not have read what it was sent meanwhile.
        self._driver.step(Suspend(self.invocation.seq, self.token, wait, self._replayed))
        self._driver.suspended(self.invocation)

    def _take_error(self, error: wire.Error) -> None:
        text = storable(error.message) or f"an error {error.code}"
        if error.related_command_name:
            text = f"{text} (at '{storable(error.related_command_name)}')"
        self._driver.report_failure(self, text, storable(error.stacktrace))
        seq, token = self.invocation.seq, self.token
        if error.code == JOURNAL_MISMATCH:
            self._driver.step(Pause(seq, token, "RT0301", text))
        elif error.behavior == wire.PAUSE:
            self._driver.step(Pause(seq, token, "RT0305", text))
        elif error.behavior == wire.FAIL:
            self._driver.step(Issue(seq, token, entries.Output(Failure(Code.INTERNAL.value, text))))
        else:
            delay_ms = storable_ms(error.next_retry_delay) if error.HasField("next_retry_delay") else None
            self._driver.step(AttemptFailed(seq, token, text, self._driver.policy_of(self.method), delay_ms))

    def _take_proposal(self, proposal: wire.ProposeRunCompletion, requested_ack: bool) -> None:
        completion_id = proposal.result_completion_id
        if completion_id not in self._unfinished:
            raise ProtocolError(f"the result of a side effect {completion_id} that is not running")
        self._unfinished.discard(completion_id)
        if requested_ack:
            self._acknowledged.add(completion_id)
        outcome = self._translator.proposal(proposal)
        self._driver.step(ActionEnded(self.invocation.seq, self.token, completion_id, outcome))

    def _issue(self, command: Command, requested_ack: bool) -> None:
        self._check(command)
        refusal = self._driver.refuse_large(self.invocation.target, command)
        if refusal is not None:
            self._ended = True
            self._end_with(refusal)
            return
        index = len(self.journal.commands)
        issue = self._driver.issue(self, command)
        self._note_completions(issue.command)
        self._driver.step(issue)
        if requested_ack and not self.dead:
            self._driver.when_durable(lambda: self._send(Frame(MessageType.COMMAND_ACK, wire.CommandAck(command_index=index))))

    def _note_completions(self, command: Command) -> None:
        for completion_id, type in completions(command):
            if completion_id in self._types or not completion_id:
                raise ProtocolError(f"a command whose completion id {completion_id} is taken, or none")
            self._types[completion_id] = type
            if type is MessageType.RUN_COMPLETION:
                self._unfinished.add(completion_id)

    def _check(self, command: Command) -> None:
        target = self.invocation.target
        match command:
            case entries.SetState() | entries.ClearState() | entries.ClearAllState() if target.key is None or target.shared:
                raise ProtocolError(f"a change of state from {target}, which has none to change")
            case entries.GetLazyState() | entries.GetLazyStateKeys() | entries.GetPromise() | entries.PeekPromise():
                pass
            case entries.CompletePromise():
                pass
            case _:
                return
        if target.key is None:
            raise ProtocolError(f"a question for what {target} does not have: it has no key")

    # --- what the endpoint is told

    def deliver(self, ref: Ref) -> None:
        """A result arrived; the endpoint hears of it once it is on disk."""
        count = len(self.journal.notifications)
        self._driver.when_durable(lambda: self._release(count))

    def _release(self, count: int) -> None:
        self._durable = max(self._durable, count)
        if self._started:
            self._flush()

    def _flush(self) -> None:
        if self.dead or self.closing or self._stream is None:
            return
        while self._told < self._durable:
            self._driver.probe("acknowledge")
            notification = self.journal.notifications[self._told]
            self._told += 1
            completion_id = notification.completion_id if isinstance(notification, entries.Completion) else 0
            if completion_id in self._acknowledged:
                acknowledgement = wire.ProposeRunCompletionAck(completion_id=completion_id)
                self._send(Frame(MessageType.PROPOSE_RUN_COMPLETION_ACK, acknowledgement))
            else:
                self._send(self._translator.notification(notification, self._types))
            if notification.ref == CANCEL:
                self._driver.step(CancelTaken(self.invocation.seq, self.token))
            self.waiting_for = None
            self._rest()

    def _send(self, frame: Frame) -> None:
        if self._stream is not None and not self.dead:
            self._stream.send(frame)

    # --- time

    def _rest(self) -> None:
        """Somebody said something: the timeouts begin again."""
        self._stop_timer()
        if self.deployment.address.function:
            return  # it says nothing before its end, and AWS bounds that
        if not self.closing:
            self._timer = self._driver.later(self._driver.inactivity_s(self.method), self.half_close)
        else:
            self._timer = self._driver.later(self._silence_s(), self._abort)

    def _silence_s(self) -> float:
        """How long an endpoint may be silent that is to suspend what waits. One that was asked at once has the time before that as well."""
        abort_s = self._driver.abort_s(self.method)
        return abort_s if self._converses else self._driver.inactivity_s(self.method) + abort_s

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def half_close(self) -> None:
        """The endpoint is asked to suspend what waits."""
        if self._stream is None or self.closing or self.dead:
            return
        self.closing = True
        self._stream.half_close()
        self._rest()

    def _abort(self) -> None:
        seconds = self._silence_s()
        self._cut_off = f"the handler said nothing for {seconds:g} s after it was asked to suspend (option abort_timeout), and was cut off"
        if self._stream is not None:
            self._stream.reset()

    def abandon(self) -> None:
        """The attempt is over: killed, paused, or the runtime stops."""
        self.dead = True
        self._stop_timer()
        if self._stream is not None:
            self._stream.reset()
        elif self.task is not None:
            self.task.cancel()

    # --- failures

    def _lost(self, error: EndpointError) -> None:
        if self._cut_off:
            self._failed(self._cut_off)
        elif error.problem is Problem.TOO_LARGE:
            self._end_with(Failure(Code.RESOURCE_EXHAUSTED.value, error.message))
        elif self._begun or error.problem in (Problem.LOST, Problem.PROTOCOL):
            self._failed(error.message)
        else:
            # Nobody's handler ran: that is no attempt, and no number of them ends the invocation.
            self._driver.unreachable(self, error.message)

    def _end_with(self, failure: Failure) -> None:
        """The invocation is over: trying again would come to the same."""
        self._driver.report_failure(self, failure.message)
        self._driver.step(Issue(self.invocation.seq, self.token, entries.Output(failure)))

    def _failed(self, text: str) -> None:
        if self._driver.is_current(self):
            self._driver.report_failure(self, text)
            self._driver.step(AttemptFailed(self.invocation.seq, self.token, text, self._driver.policy_of(self.method)))
