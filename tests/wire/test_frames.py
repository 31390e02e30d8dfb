"""The codec alone: any cut of the bytes gives the same frames, and nothing else is taken."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.restate import wire_pb2 as wire
from restate_runtime.engine.remote.frames import (
    FROM_ENDPOINT,
    FROM_RUNTIME,
    MESSAGES,
    Frame,
    FrameReader,
    MessageType,
    ProtocolError,
    Version,
    awaiting_on,
)
from restate_runtime.engine.remote.goaway import GoAway, GoAwayFilter

T = MessageType
HEADER = struct.Struct(">HHI")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[left:right] for left, right in itertools.pairwise(edges)]


frames = st.one_of(
    st.builds(lambda body: Frame(T.OUTPUT, wire.OutputCommand(value=wire.Value(content=body))), st.binary(max_size=50)),
    st.builds(lambda id, body: Frame(T.PROPOSE_RUN_COMPLETION, wire.ProposeRunCompletion(result_completion_id=id, value=body), True),
              st.integers(0, 2**32 - 1), st.binary(max_size=50)),
    st.just(Frame(T.END, wire.End())),
)  # fmt: skip


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 1000), max_size=8))
def test_any_cut_gives_the_same_frames(sent: list[Frame], places: list[int]) -> None:
    data = b"".join(frame.encode() for frame in sent)
    reader = FrameReader(FROM_ENDPOINT, 1000)
    received = [frame for piece in cut(data, places) for frame in reader.feed(piece)]
    assert [(frame.type, frame.message, frame.requested_ack) for frame in received] == [
        (frame.type, frame.message, frame.requested_ack) for frame in sent
    ]
    assert sum(frame.size for frame in received) == len(data)
    assert reader.buffered == 0


def test_the_header_is_type_flags_and_length() -> None:
    frame = Frame(T.PROPOSE_RUN_COMPLETION, wire.ProposeRunCompletion(value=b"x"), requested_ack=True)
    assert frame.encode() == bytes.fromhex("0005 8000 00000003 720178")
    assert Frame(T.SIGNAL, wire.Notification()).encode() == bytes.fromhex("fbff 0000 00000000")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (HEADER.pack(0x0401, 0, 101), "OUTPUT of 101 bytes: the limit is 100 .option max_message_size."),
        (HEADER.pack(0xFC00, 0, 0), "a custom command .type 0xfc00."),
        (HEADER.pack(0x0377, 0, 0), "type 0x0377"),
        (HEADER.pack(0x0000, 0, 0), "START from the wrong side"),
        (HEADER.pack(0x8011, 0, 0), "RUN_COMPLETION from the wrong side"),
        (HEADER.pack(0x0401, 0, 2) + b"\xff\xff", "OUTPUT that cannot be decoded"),
        (b"HTTP/1.1", "type 0x4854"),
    ],
)
def test_what_is_not_the_protocol_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        FrameReader(FROM_ENDPOINT, 100).feed(data)


def test_a_message_of_just_the_limit_is_taken() -> None:
    frame = Frame(T.OUTPUT, wire.OutputCommand(name="x" * 98))
    (received,) = FrameReader(FROM_ENDPOINT, 100).feed(frame.encode())
    assert received.message == frame.message


def test_an_unknown_field_survives() -> None:
    data = wire.OutputCommand(name="x").SerializeToString() + b"\xfa\x3f\x01y"
    (received,) = FrameReader(FROM_ENDPOINT, 100).feed(HEADER.pack(T.OUTPUT, 0, len(data)) + data)
    assert received.message.SerializeToString() == data


def test_every_type_has_a_message_and_a_side() -> None:
    assert set(MESSAGES) == set(MessageType) == FROM_ENDPOINT | FROM_RUNTIME
    assert {type for type in T if type.is_notification} == {type for type in T if MESSAGES[type] is wire.Notification}


def test_both_forms_of_a_suspension_are_one() -> None:
    old = wire.Suspension(waiting_completions=[1, 2], waiting_signals=[1], waiting_named_signals=["go"])
    tree = wire.Future(waiting_completions=[1, 2], waiting_signals=[1], waiting_named_signals=["go"], combinator_type=wire.FIRST_COMPLETED)
    assert awaiting_on(old) == tree
    assert awaiting_on(wire.Suspension(awaiting_on=wire.Future(waiting_signals=[3]))) == wire.Future(waiting_signals=[3])


def test_versions_have_content_types() -> None:
    assert [version.content_type[-2:] for version in Version] == ["v5", "v6", "v7"]


http2_frames = st.lists(
    st.tuples(st.sampled_from([0, 1, 3, 4, 6, 7, 8]), st.binary(min_size=8, max_size=30), st.integers(0, 2**31 - 1)), max_size=6
)


@given(http2_frames, st.lists(st.integers(0, 1000), max_size=8))
def test_goaway_is_taken_out_and_nothing_else(sent: list[tuple[int, bytes, int]], places: list[int]) -> None:
    data, passing, leaving = b"", b"", []
    for type, body, stream in sent:
        encoded = len(body).to_bytes(3, "big") + bytes([type, 0]) + stream.to_bytes(4, "big") + body
        data += encoded
        if type == 7:
            last, code = struct.unpack_from(">II", body)
            leaving.append(GoAway(last & 0x7FFFFFFF, code))
        else:
            passing += encoded
    filter = GoAwayFilter()
    out = [item for piece in cut(data, places) for item in filter.feed(piece)]
    assert b"".join(item for item in out if isinstance(item, bytes)) == passing
    assert [item for item in out if isinstance(item, GoAway)] == leaving
