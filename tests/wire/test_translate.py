"""Commands of endpoints as entries of the journal, and back: an SDK compares what it is given with what it once sent."""

from __future__ import annotations

from typing import Any

import pytest

from dev.restate import wire_pb2 as wire
from restate_runtime.engine.remote.frames import Frame, MessageType
from restate_runtime.engine.remote.messages import Messages
from restate_runtime.engine.remote.translate import Payloads, Translator
from restate_runtime.identifiers import awakeable_id, invocation_id
from restate_runtime.journal.entries import Target, decode_command, encode_entry

T = MessageType
ID = bytes(range(16))
INVOCATION = invocation_id(ID)
VALUE = wire.Value(content=b"\0value")
EMPTY = wire.Value()
FAILURE = wire.Failure(code=418, message="no", metadata=[wire.FailureMetadata(key="a", value="b")])
HEADERS = [wire.Header(key="b", value="1"), wire.Header(key="a", value="2")]
CALL: dict[str, Any] = {"service_name": "s.S", "handler_name": "h", "parameter": b"p", "headers": HEADERS, "key": "k"}
BY_KEY = wire.IdempotentRequestTarget(service_name="s", service_key="k", handler_name="h", idempotency_key="i")
BY_NAME = wire.IdempotentRequestTarget(service_name="s", handler_name="h", idempotency_key="i")

COMMANDS: list[tuple[MessageType, Any]] = [
    (T.GET_LAZY_STATE, wire.GetLazyStateCommand(key=b"a", result_completion_id=1)),
    (T.SET_STATE, wire.SetStateCommand(key=b"a", value=VALUE)),
    (T.SET_STATE, wire.SetStateCommand(key=b"", value=EMPTY)),
    (T.CLEAR_STATE, wire.ClearStateCommand(key=b"a")),
    (T.CLEAR_ALL_STATE, wire.ClearAllStateCommand()),
    (T.GET_LAZY_STATE_KEYS, wire.GetLazyStateKeysCommand(result_completion_id=1)),
    (T.GET_EAGER_STATE, wire.GetEagerStateCommand(key=b"a", void=wire.Void())),
    (T.GET_EAGER_STATE, wire.GetEagerStateCommand(key=b"a", value=VALUE)),
    (T.GET_EAGER_STATE, wire.GetEagerStateCommand(key=b"a", value=EMPTY)),
    (T.GET_EAGER_STATE_KEYS, wire.GetEagerStateKeysCommand(value=wire.StateKeys(keys=[b"b", b"a"]))),
    (T.GET_EAGER_STATE_KEYS, wire.GetEagerStateKeysCommand(value=wire.StateKeys())),
    (T.GET_PROMISE, wire.GetPromiseCommand(key="p", result_completion_id=1)),
    (T.PEEK_PROMISE, wire.PeekPromiseCommand(key="p", result_completion_id=1)),
    (T.COMPLETE_PROMISE, wire.CompletePromiseCommand(key="p", completion_value=EMPTY, result_completion_id=1)),
    (T.COMPLETE_PROMISE, wire.CompletePromiseCommand(key="p", completion_failure=FAILURE, result_completion_id=1)),
    (T.SLEEP, wire.SleepCommand(wake_up_time=1, result_completion_id=1)),
    (T.CALL, wire.CallCommand(**CALL, invocation_id_notification_idx=1, result_completion_id=2)),
    (T.CALL, wire.CallCommand(**CALL, idempotency_key="i", invocation_id_notification_idx=1, result_completion_id=2)),
    (T.ONE_WAY_CALL, wire.OneWayCallCommand(**CALL, invoke_time=7, invocation_id_notification_idx=1)),
    (T.ONE_WAY_CALL, wire.OneWayCallCommand(**CALL, idempotency_key="i", invocation_id_notification_idx=1)),
    (T.SEND_SIGNAL, wire.SendSignalCommand(target_invocation_id=INVOCATION, idx=1, void=wire.Void())),
    (T.SEND_SIGNAL, wire.SendSignalCommand(target_invocation_id=INVOCATION, idx=17, value=VALUE)),
    (T.SEND_SIGNAL, wire.SendSignalCommand(target_invocation_id=INVOCATION, name="n", value=EMPTY)),
    (T.SEND_SIGNAL, wire.SendSignalCommand(target_invocation_id=INVOCATION, name="n", void=wire.Void())),
    (T.SEND_SIGNAL, wire.SendSignalCommand(target_invocation_id=INVOCATION, name="n", failure=FAILURE)),
    (T.RUN, wire.RunCommand(result_completion_id=1)),
    (T.ATTACH_INVOCATION, wire.AttachInvocationCommand(invocation_id=INVOCATION, result_completion_id=1)),
    (T.ATTACH_INVOCATION, wire.AttachInvocationCommand(idempotent_request_target=BY_KEY, result_completion_id=1)),
    (T.ATTACH_INVOCATION, wire.AttachInvocationCommand(idempotent_request_target=BY_NAME, result_completion_id=1)),
    (
        T.ATTACH_INVOCATION,
        wire.AttachInvocationCommand(workflow_target=wire.WorkflowTarget(workflow_name="w", workflow_key="k"), result_completion_id=1),
    ),
    (T.GET_INVOCATION_OUTPUT, wire.GetInvocationOutputCommand(invocation_id=INVOCATION, result_completion_id=1)),
    (T.GET_INVOCATION_OUTPUT, wire.GetInvocationOutputCommand(idempotent_request_target=BY_KEY, result_completion_id=1)),
    (T.COMPLETE_AWAKEABLE, wire.CompleteAwakeableCommand(awakeable_id=awakeable_id(ID, 17), value=EMPTY)),
    (T.COMPLETE_AWAKEABLE, wire.CompleteAwakeableCommand(awakeable_id=awakeable_id(ID, 17), failure=FAILURE)),
]


def translator(*, sealed: bool) -> Translator:
    return Translator(
        Payloads(sealed=sealed),
        Messages(None, json_request=False, json_response=False),
        lambda service, method, key: Target(service, method, key or None),
        lambda: ID,
    )


def named(message: Any, name: str) -> Any:
    """The message with a name of its own, as SDKs let their users give one."""
    copy = type(message)()
    copy.CopyFrom(message)
    setattr(copy, "entry_name" if "entry_name" in copy.DESCRIPTOR.fields_by_name else "name", name)
    return copy


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("name", ["", "mine"])
@pytest.mark.parametrize(("type", "message"), COMMANDS, ids=[type.name for type, _ in COMMANDS])
def test_a_command_comes_back_as_it_was(type: MessageType, message: Any, name: str, sealed: bool) -> None:
    sent = Frame(type, named(message, name) if name else message)
    between = translator(sealed=sealed)
    stored = decode_command(encode_entry(between.command(sent)))
    assert between.frame(stored) == sent


def test_every_command_is_here() -> None:
    assert {type for type, _ in COMMANDS} == {type for type in T if type.is_command} - {T.INPUT, T.OUTPUT}
