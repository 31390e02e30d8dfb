"""Journal entries as messages of the service protocol, and back.

An endpoint compares what it does again with the messages that it is given, so that a recorded command must become the very message that
it once was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from dev.restate import wire_pb2 as wire

from ...envelope import open_envelope, seal
from ...errors import Code
from ...identifiers import awakeable_id, invocation_id, parse_awakeable_id, parse_invocation_id
from ...journal import entries
from ...journal.entries import CANCEL_INDEX, CANCELLED, VOID, Command, Failure, KnownAs, Notification, Outcome, Signal, Success, Target
from ...journal.waits import Rule, Wait
from ...serde import RAW, Value
from ...statuses import code_of, metadata_of, status_of
from ..registry import SINGLETON_KEY
from .frames import Frame, MessageType, ProtocolError
from .messages import Messages

__all__ = ["Payloads", "Translator", "completions", "storable_ms", "wait_of", "wire_key"]


_LATEST_MS = 1 << 60
"""Moments are unsigned on the wire, and signed on disk. Nobody sees the difference in 36 million years."""


def storable_ms(milliseconds: int) -> int:
    """A moment or a duration of an endpoint, as it can be stored and added to another."""
    return min(milliseconds, _LATEST_MS)


def wire_key(target: Target) -> str:
    """The key of an invocation as endpoints know it."""
    return SINGLETON_KEY if target.key == "" else target.key or ""


class Payloads:
    """Stored values as the bytes that an endpoint knows.

    Args:
        sealed: the endpoint is one of this project's, which keeps the tags of values in an envelope. Others know bytes only.
    """

    def __init__(self, *, sealed: bool) -> None:
        self._sealed = sealed

    def to_wire(self, value: Value) -> bytes:
        """The value's bytes."""
        return seal(value) if self._sealed and value.tag not in ("", RAW) else value.data

    def from_wire(self, data: bytes) -> Value:
        """The bytes as a value; `to_wire` gives the same bytes again."""
        if self._sealed:
            value = open_envelope(data)
            if value.tag != RAW:
                return value
        return Value(RAW, data)


class Translator:
    """Translates for one handler of one endpoint.

    Args:
        payloads: how its values look.
        messages: how its request and response look.
        target_of: service, handler and key of a call, as the journal names them.
        new_id: 128 random bits for a callee.
    """

    def __init__(
        self, payloads: Payloads, messages: Messages, target_of: Callable[[str, str, str], Target], new_id: Callable[[], bytes]
    ) -> None:
        self._payloads = payloads
        self._messages = messages
        self._target_of = target_of
        self._new_id = new_id

    # --- what the endpoint asks

    def command(self, frame: Frame) -> Command:
        """A command that the endpoint sends.

        Raises:
            ProtocolError: it is malformed, or wants what this runtime does not have.
        """
        return _FROM_WIRE[frame.type](self, frame.message)

    def proposal(self, message: wire.ProposeRunCompletion) -> Outcome:
        """The result of a side effect."""
        if message.HasField("failure"):
            return failure_from_wire(message.failure)
        return Success(self._payloads.from_wire(message.value))

    def _output(self, message: wire.OutputCommand) -> Command:
        if message.HasField("failure"):
            return entries.Output(failure_from_wire(message.failure))
        return entries.Output(self._messages.response(message.value.content))

    def _set_state(self, message: wire.SetStateCommand) -> Command:
        return entries.SetState(_text(message.key), self._payloads.from_wire(message.value.content), label=message.name)

    def _get_state(self, message: wire.GetEagerStateCommand) -> Command:
        value = self._payloads.from_wire(message.value.content) if message.HasField("value") else None
        return entries.GetState(_text(message.key), value, label=message.name)

    def _complete_promise(self, message: wire.CompletePromiseCommand) -> Command:
        if message.HasField("completion_failure"):
            outcome: Outcome = failure_from_wire(message.completion_failure)
        else:
            outcome = Success(self._payloads.from_wire(message.completion_value.content))
        return entries.CompletePromise(message.result_completion_id, message.key, outcome, label=message.name)

    def _call(self, message: wire.CallCommand) -> Command:
        _check_scope(message)
        target = self._target_of(message.service_name, message.handler_name, message.key)
        return entries.Call(
            message.result_completion_id,
            target,
            message.parameter,
            self._new_id(),
            {header.key: header.value for header in message.headers},
            _idempotency_key(message),
            id_completion_id=message.invocation_id_notification_idx,
            name=message.name,
            given_key=_given_key(target, message.key),
        )

    def _one_way_call(self, message: wire.OneWayCallCommand) -> Command:
        _check_scope(message)
        target = self._target_of(message.service_name, message.handler_name, message.key)
        return entries.OneWayCall(
            target,
            message.parameter,
            self._new_id(),
            storable_ms(message.invoke_time),
            {header.key: header.value for header in message.headers},
            _idempotency_key(message),
            id_completion_id=message.invocation_id_notification_idx,
            name=message.name,
            given_key=_given_key(target, message.key),
        )

    def _send_signal(self, message: wire.SendSignalCommand) -> Command:
        target = _invocation(message.target_invocation_id)
        if message.WhichOneof("signal_id") == "idx" and message.idx == CANCEL_INDEX:
            return entries.SendSignal(target, CANCEL_INDEX, CANCELLED, label=message.entry_name)
        outcome: Outcome = VOID
        if message.HasField("failure"):
            outcome = failure_from_wire(message.failure)
        elif message.HasField("value"):
            outcome = Success(self._payloads.from_wire(message.value.content))
        if message.WhichOneof("signal_id") == "name" and message.name:
            return entries.SendSignal(target, 0, outcome, message.name, label=message.entry_name)
        if not message.idx:
            raise ProtocolError("a signal without a name or an index")
        return entries.SendSignal(target, message.idx, outcome, label=message.entry_name)

    def _attach(self, message: wire.AttachInvocationCommand) -> Command:
        raw, known_as = _attach_target(message)
        return entries.Attach(message.result_completion_id, raw, known_as=known_as, label=message.name)

    def _get_output(self, message: wire.GetInvocationOutputCommand) -> Command:
        raw, known_as = _attach_target(message)
        return entries.GetInvocationOutput(message.result_completion_id, raw, known_as=known_as, label=message.name)

    def _complete_awakeable(self, message: wire.CompleteAwakeableCommand) -> Command:
        parsed = parse_awakeable_id(message.awakeable_id)
        if parsed is None:
            raise ProtocolError(f"'{message.awakeable_id[:100]}' is no awakeable's id")
        if message.HasField("failure"):
            outcome: Outcome = failure_from_wire(message.failure)
        else:
            outcome = Success(self._payloads.from_wire(message.value.content))
        return entries.CompleteAwakeable(*parsed, outcome, label=message.name)

    # --- what the endpoint is given

    def state_entry(self, name: str, value: Value) -> wire.Start.StateEntry:
        """A state that comes along with the start."""
        return wire.Start.StateEntry(key=name.encode(), value=self._payloads.to_wire(value))

    def frame(self, command: Command) -> Frame:
        """A recorded command."""
        type, message = self._message(command)
        match command:
            case entries.Input() | entries.Output() | entries.Sleep() | entries.Call() | entries.OneWayCall() | entries.Run():
                pass  # they have it from their own name, or none
            case entries.SendSignal():
                message.entry_name = command.label
            case _:
                message.name = command.label
        return Frame(type, message)

    def _message(self, command: Command) -> tuple[MessageType, Any]:
        match command:
            case entries.Input():
                value = wire.Value(content=self._messages.request(command.payload))
                return MessageType.INPUT, wire.InputCommand(headers=_headers(command.headers), value=value)
            case entries.SetState():
                value = wire.Value(content=self._payloads.to_wire(command.value))
                return MessageType.SET_STATE, wire.SetStateCommand(key=command.name.encode(), value=value)
            case entries.ClearState():
                return MessageType.CLEAR_STATE, wire.ClearStateCommand(key=command.name.encode())
            case entries.ClearAllState():
                return MessageType.CLEAR_ALL_STATE, wire.ClearAllStateCommand()
            case entries.GetState():
                read = wire.GetEagerStateCommand(key=command.name.encode())
                if command.value is None:
                    read.void.SetInParent()
                else:
                    read.value.content = self._payloads.to_wire(command.value)
                return MessageType.GET_EAGER_STATE, read
            case entries.GetStateKeys():
                keys = wire.StateKeys(keys=[name.encode() for name in command.names])
                return MessageType.GET_EAGER_STATE_KEYS, wire.GetEagerStateKeysCommand(value=keys)
            case entries.GetLazyState():
                lazy = wire.GetLazyStateCommand(key=command.name.encode(), result_completion_id=command.completion_id)
                return MessageType.GET_LAZY_STATE, lazy
            case entries.GetLazyStateKeys():
                return MessageType.GET_LAZY_STATE_KEYS, wire.GetLazyStateKeysCommand(result_completion_id=command.completion_id)
            case entries.GetPromise():
                return MessageType.GET_PROMISE, wire.GetPromiseCommand(key=command.name, result_completion_id=command.completion_id)
            case entries.PeekPromise():
                return MessageType.PEEK_PROMISE, wire.PeekPromiseCommand(key=command.name, result_completion_id=command.completion_id)
            case entries.CompletePromise():
                promise = wire.CompletePromiseCommand(key=command.name, result_completion_id=command.completion_id)
                self._put(command.outcome, promise.completion_value, promise.completion_failure)
                return MessageType.COMPLETE_PROMISE, promise
            case entries.Sleep():
                sleep = wire.SleepCommand(wake_up_time=command.due_ms, result_completion_id=command.completion_id, name=command.name)
                return MessageType.SLEEP, sleep
            case entries.Run():
                return MessageType.RUN, wire.RunCommand(result_completion_id=command.completion_id, name=command.name)
            case entries.Call() | entries.OneWayCall():
                return self._call_message(command)
            case entries.SendSignal() | entries.Attach() | entries.GetInvocationOutput() | entries.CompleteAwakeable():
                return self._message_to_another(command)
            case entries.Output():
                raise AssertionError("what is completed is not replayed")

    def _call_message(self, command: entries.Call | entries.OneWayCall) -> tuple[MessageType, Any]:
        target = command.target
        call = wire.CallCommand() if isinstance(command, entries.Call) else wire.OneWayCallCommand()
        call.service_name = target.service
        call.handler_name = target.method
        call.key = wire_key(target) if command.given_key is None else command.given_key
        call.parameter = command.payload
        call.headers.extend(_headers(command.headers or {}))
        call.invocation_id_notification_idx = command.id_completion_id
        call.name = command.name
        if command.idempotency_key is not None:
            call.idempotency_key = command.idempotency_key
        if isinstance(call, wire.CallCommand):
            assert isinstance(command, entries.Call)
            call.result_completion_id = command.completion_id
            return MessageType.CALL, call
        assert isinstance(command, entries.OneWayCall)
        call.invoke_time = command.due_ms
        return MessageType.ONE_WAY_CALL, call

    def _message_to_another(
        self, command: entries.SendSignal | entries.Attach | entries.GetInvocationOutput | entries.CompleteAwakeable
    ) -> tuple[MessageType, Any]:
        match command:
            case entries.SendSignal():
                signal = wire.SendSignalCommand(target_invocation_id=invocation_id(command.invocation))
                if command.name:
                    signal.name = command.name
                else:
                    signal.idx = command.index
                if command.outcome == VOID or (command.index == CANCEL_INDEX and not command.name):
                    signal.void.SetInParent()
                else:
                    self._put(command.outcome, signal.value, signal.failure)
                return MessageType.SEND_SIGNAL, signal
            case entries.Attach():
                attach = wire.AttachInvocationCommand(result_completion_id=command.completion_id)
                _put_target(attach, command)
                return MessageType.ATTACH_INVOCATION, attach
            case entries.GetInvocationOutput():
                output = wire.GetInvocationOutputCommand(result_completion_id=command.completion_id)
                _put_target(output, command)
                return MessageType.GET_INVOCATION_OUTPUT, output
            case entries.CompleteAwakeable():
                awakeable = wire.CompleteAwakeableCommand(awakeable_id=awakeable_id(command.invocation, command.index))
                self._put(command.outcome, awakeable.value, awakeable.failure)
                return MessageType.COMPLETE_AWAKEABLE, awakeable

    def notification(self, notification: Notification, types: Mapping[int, MessageType]) -> Frame:
        """A notification.

        Args:
            notification: as it is recorded.
            types: of the completions, by their ids.
        """
        if isinstance(notification, Signal):
            return Frame(MessageType.SIGNAL, self._signal(notification))
        message = wire.Notification(completion_id=notification.completion_id)
        type = types.get(notification.completion_id)
        if type is None:
            raise AssertionError(f"a completion {notification.completion_id} of no command")
        outcome = notification.outcome
        match type, outcome:
            case _, Failure():
                failure_to_wire(outcome, message.failure)
            case ((MessageType.SLEEP_COMPLETION | MessageType.COMPLETE_PROMISE_COMPLETION), _):
                message.void.SetInParent()
            case MessageType.CALL_INVOCATION_ID_COMPLETION, Success():
                message.invocation_id = invocation_id(outcome.value.data)
            case MessageType.GET_LAZY_STATE_KEYS_COMPLETION, Success():
                names: list[str] = msgspec.json.decode(outcome.value.data)
                message.state_keys.keys.extend(name.encode() for name in names)
                message.state_keys.SetInParent()
            case _, Success():
                if outcome == VOID and type in _MAY_BE_VOID:
                    message.void.SetInParent()
                else:
                    self._put(outcome, message.value, message.failure)
        return Frame(type, message)

    def _signal(self, signal: Signal) -> wire.Notification:
        message = wire.Notification()
        if signal.name:
            message.signal_name = signal.name
        else:
            message.signal_id = signal.index
        if signal.outcome == VOID or (signal.index == CANCEL_INDEX and not signal.name):
            message.void.SetInParent()
        else:
            self._put(signal.outcome, message.value, message.failure)
        return message

    def _put(self, outcome: Outcome, value: wire.Value, failure: wire.Failure) -> None:
        """Sets one of two fields, which belong to the same oneof."""
        if isinstance(outcome, Failure):
            failure_to_wire(outcome, failure)
        else:
            value.content = self._payloads.to_wire(outcome.value)
            value.SetInParent()  # empty bytes are a value too


def completions(command: Command) -> tuple[tuple[int, MessageType], ...]:
    """The ids of a command's completions, with the types that they have."""
    match command:
        case entries.Call():
            result = (command.completion_id, MessageType.CALL_COMPLETION)
            return (result, (command.id_completion_id, MessageType.CALL_INVOCATION_ID_COMPLETION))
        case entries.OneWayCall():
            return ((command.id_completion_id, MessageType.CALL_INVOCATION_ID_COMPLETION),)
        case _:
            kind = _COMPLETIONS.get(type(command))
            return () if kind is None else ((command.completion_id, kind),)  # type: ignore[union-attr]


_COMPLETIONS: Mapping[type, MessageType] = {
    entries.GetLazyState: MessageType.GET_LAZY_STATE_COMPLETION,
    entries.GetLazyStateKeys: MessageType.GET_LAZY_STATE_KEYS_COMPLETION,
    entries.GetPromise: MessageType.GET_PROMISE_COMPLETION,
    entries.PeekPromise: MessageType.PEEK_PROMISE_COMPLETION,
    entries.CompletePromise: MessageType.COMPLETE_PROMISE_COMPLETION,
    entries.Sleep: MessageType.SLEEP_COMPLETION,
    entries.Run: MessageType.RUN_COMPLETION,
    entries.Attach: MessageType.ATTACH_INVOCATION_COMPLETION,
    entries.GetInvocationOutput: MessageType.GET_INVOCATION_OUTPUT_COMPLETION,
}
_MAY_BE_VOID = frozenset(
    {
        MessageType.GET_LAZY_STATE_COMPLETION,
        MessageType.PEEK_PROMISE_COMPLETION,
        MessageType.GET_INVOCATION_OUTPUT_COMPLETION,
    }
)

_FROM_WIRE: Mapping[MessageType, Callable[[Translator, Any], Command]] = {
    MessageType.OUTPUT: Translator._output,
    MessageType.GET_LAZY_STATE: lambda _, message: entries.GetLazyState(
        message.result_completion_id, _text(message.key), label=message.name
    ),
    MessageType.SET_STATE: Translator._set_state,
    MessageType.CLEAR_STATE: lambda _, message: entries.ClearState(_text(message.key), label=message.name),
    MessageType.CLEAR_ALL_STATE: lambda _, message: entries.ClearAllState(label=message.name),
    MessageType.GET_LAZY_STATE_KEYS: lambda _, message: entries.GetLazyStateKeys(message.result_completion_id, label=message.name),
    MessageType.GET_EAGER_STATE: Translator._get_state,
    MessageType.GET_EAGER_STATE_KEYS: lambda _, message: entries.GetStateKeys(tuple(map(_text, message.value.keys)), label=message.name),
    MessageType.GET_PROMISE: lambda _, message: entries.GetPromise(message.result_completion_id, message.key, label=message.name),
    MessageType.PEEK_PROMISE: lambda _, message: entries.PeekPromise(message.result_completion_id, message.key, label=message.name),
    MessageType.COMPLETE_PROMISE: Translator._complete_promise,
    MessageType.SLEEP: lambda _, message: entries.Sleep(message.result_completion_id, storable_ms(message.wake_up_time), name=message.name),
    MessageType.CALL: Translator._call,
    MessageType.ONE_WAY_CALL: Translator._one_way_call,
    MessageType.SEND_SIGNAL: Translator._send_signal,
    MessageType.RUN: lambda _, message: entries.Run(message.result_completion_id, message.name),
    MessageType.ATTACH_INVOCATION: Translator._attach,
    MessageType.GET_INVOCATION_OUTPUT: Translator._get_output,
    MessageType.COMPLETE_AWAKEABLE: Translator._complete_awakeable,
}


def failure_from_wire(failure: wire.Failure) -> Failure:
    """A terminal failure, with gRPC's code for the status where it came with none."""
    metadata = {entry.key: entry.value for entry in failure.metadata}
    return Failure(code_of(failure.code, failure.message, metadata).value, failure.message, metadata or None, failure.code)


def failure_to_wire(failure: Failure, into: wire.Failure) -> None:
    """A terminal failure as endpoints know it: as one of them gave it, else with the status of its code."""
    code = Code(failure.code)
    into.code = failure.status or status_of(code)
    into.message = failure.message
    metadata = failure.metadata if failure.status else metadata_of(code)
    into.metadata.extend(wire.FailureMetadata(key=key, value=value) for key, value in (metadata or {}).items())
    into.SetInParent()


def wait_of(future: wire.Future) -> Wait:
    """What a suspended handler waits for.

    Of what an SDK calls unknown only it knows the outcome: then any result lets the handler look.
    """
    if _has_unknown(future):
        return Wait(Rule.ANY, 0, [_leaf(ref) for ref in _all_refs(future)])
    return _wait(future)


_RULES = {
    wire.FIRST_COMPLETED: Rule.ANY,
    wire.ALL_COMPLETED: Rule.EVERY,
    wire.FIRST_SUCCEEDED_OR_ALL_FAILED: Rule.SUCCESS,
    wire.ALL_SUCCEEDED_OR_FIRST_FAILED: Rule.ALL,
}


def _has_unknown(future: wire.Future) -> bool:
    return future.combinator_type not in _RULES or any(map(_has_unknown, future.nested_futures))


def _wait(future: wire.Future) -> Wait:
    below = [_leaf(ref) for ref in _refs(future)] + [_wait(nested) for nested in future.nested_futures]
    return Wait(_RULES[future.combinator_type], 0, below)


def _leaf(ref: entries.Ref) -> Wait:
    return Wait(Rule.LEAF, ref)


def _refs(future: wire.Future) -> list[entries.Ref]:
    return [*future.waiting_completions, *(-index for index in future.waiting_signals), *future.waiting_named_signals]


def _all_refs(future: wire.Future) -> list[entries.Ref]:
    refs = _refs(future)
    for nested in future.nested_futures:
        refs += _all_refs(nested)
    return refs


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"a state whose name is no text: {key[:40]!r}") from None


def _headers(headers: Mapping[str, str]) -> list[wire.Header]:
    return [wire.Header(key=key, value=value) for key, value in headers.items()]


def _check_scope(call: wire.CallCommand | wire.OneWayCallCommand) -> None:
    if call.scope or call.limit_key:
        raise ProtocolError(f"a call of {call.service_name}/{call.handler_name} with a scope or limit key: this runtime has none")


def _given_key(target: Target, key: str) -> str | None:
    return None if key == wire_key(target) else key


def _idempotency_key(call: wire.CallCommand | wire.OneWayCallCommand) -> str | None:
    return call.idempotency_key if call.HasField("idempotency_key") else None


def _invocation(text: str) -> bytes:
    raw = parse_invocation_id(text)
    if raw is None:
        raise ProtocolError(f"'{text[:100]}' is no invocation's id")
    return raw


def _attach_target(message: wire.AttachInvocationCommand | wire.GetInvocationOutputCommand) -> tuple[bytes, KnownAs | None]:
    """The id, or what it is known by: the id is looked up when it is asked for."""
    match message.WhichOneof("target"):
        case "idempotent_request_target":
            request = message.idempotent_request_target
            key = request.service_key if request.HasField("service_key") else None
            return b"", KnownAs(request.service_name, request.handler_name, key, request.idempotency_key)
        case "workflow_target":
            return b"", KnownAs(message.workflow_target.workflow_name, "", message.workflow_target.workflow_key)
        case _:
            return _invocation(message.invocation_id), None


def _put_target(
    message: wire.AttachInvocationCommand | wire.GetInvocationOutputCommand, command: entries.Attach | entries.GetInvocationOutput
) -> None:
    known_as = command.known_as
    if known_as is None:
        message.invocation_id = invocation_id(command.invocation)
    elif known_as.idempotency_key:
        request = message.idempotent_request_target
        request.service_name = known_as.service
        request.handler_name = known_as.method
        request.idempotency_key = known_as.idempotency_key
        if known_as.key is not None:
            request.service_key = known_as.key
    else:
        message.workflow_target.workflow_name = known_as.service
        message.workflow_target.workflow_key = known_as.key or ""
