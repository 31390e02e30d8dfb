"""A runtime in memory, driven by hand: enough of one to run a handler at an endpoint, without any engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dev.restate import wire_pb2 as wire
from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.exchange import AttemptStream
from restate_runtime.engine.remote.frames import Frame, MessageType, Version, awaiting_on
from restate_runtime.engine.remote.transport import Address

T = MessageType
ID = b"0123456789abcdef"


def start(journal: list[Frame], **fields: Any) -> Frame:
    return Frame(T.START, wire.Start(id=ID, debug_id="inv_1", known_entries=len(journal), random_seed=7, **fields))


def request(body: bytes) -> Frame:
    return Frame(T.INPUT, wire.InputCommand(value=wire.Value(content=body)))


def completion(type: MessageType, id: int, **result: Any) -> Frame:
    return Frame(type, wire.Notification(completion_id=id, **result))


def value(body: bytes) -> wire.Value:
    return wire.Value(content=body)


async def begin(client: EndpointClient, address: Address, handler: str, body: bytes, version: Version = Version.V6) -> AttemptStream:
    """An attempt with nothing but the request in its journal."""
    stream = await client.open(address, "wire.Greeter", handler, version)
    stream.send(start([request(body)]), request(body))
    return stream


async def rest(stream: AttemptStream) -> list[Frame]:
    """Everything until the response ends."""
    frames = []
    while (frame := await stream.receive()) is not None:
        frames.append(frame)
    return frames


class Invocation:
    """Runs one handler to its end, in as many attempts as it takes.

    Args:
        suspend: half-closes at once, so that every await is a suspension; always so where the transport is not bidirectional.

    Attributes:
        journal: commands and notifications in the order in which they were stored.
        attempts: how many it took.
        waits: what it waited for at each suspension.
    """

    def __init__(
        self, client: EndpointClient, address: Address, name: str, body: bytes, version: Version, *, suspend: bool = False, **fields: Any
    ) -> None:
        self.client = client
        self.address = address
        self.service, _, self.handler = name.partition("/")
        self.version = version
        self.suspend = suspend
        self.fields = fields
        self.journal = [request(body)]
        self.attempts = 0
        self.waits: list[wire.Future] = []
        self.acks = 0

    async def run(self) -> wire.OutputCommand:
        while True:
            end = await self._attempt()
            if end.type is T.END:
                (output,) = [frame.message for frame in self.journal if frame.type is T.OUTPUT]
                assert isinstance(output, wire.OutputCommand)
                return output
            assert isinstance(end.message, wire.Suspension), end
            self.waits.append(awaiting_on(end.message))

    async def _attempt(self) -> Frame:
        self.attempts += 1
        assert self.attempts < 10
        stream = await self.client.open(self.address, self.service, self.handler, self.version)
        closing = self.suspend or not stream.bidirectional
        stream.send(start(self.journal, **self.fields), *self.journal)
        if closing:
            stream.half_close()
        last = None
        while (frame := await stream.receive()) is not None:
            last = frame
            if frame.type.is_command:
                self.journal.append(frame)
            for answer in await self._answers(frame, acknowledge=not closing):
                stream.send(answer)
        assert last is not None
        return last

    async def _answers(self, frame: Frame, *, acknowledge: bool) -> list[Frame]:
        message: Any = frame.message
        match frame.type:
            case T.SLEEP:
                found = [completion(T.SLEEP_COMPLETION, message.result_completion_id, void=wire.Void())]
            case T.CALL:
                callee = Invocation(
                    self.client, self.address, f"{message.service_name}/{message.handler_name}", message.parameter, self.version
                )
                output = await callee.run()
                id = completion(T.CALL_INVOCATION_ID_COMPLETION, message.invocation_id_notification_idx, invocation_id="inv_2")
                found = [id, completion(T.CALL_COMPLETION, message.result_completion_id, value=output.value)]
            case T.PROPOSE_RUN_COMPLETION:
                stored = completion(T.RUN_COMPLETION, message.result_completion_id, value=value(message.value))
                self.journal.append(stored)
                if frame.requested_ack and self.version >= Version.V7:
                    self.acks += 1
                    return [Frame(T.PROPOSE_RUN_COMPLETION_ACK, wire.ProposeRunCompletionAck(completion_id=message.result_completion_id))]
                return [stored]
            case T.GET_LAZY_STATE:
                found = [completion(T.GET_LAZY_STATE_COMPLETION, message.result_completion_id, value=value(b"40"))]
            case _:
                return []
        self.journal += found
        return found


def types(frames: list[Frame], keep: Callable[[Frame], bool] = lambda _: True) -> list[str]:
    """Their types by name."""
    return [frame.type.name for frame in frames if keep(frame)]
