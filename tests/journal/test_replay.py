"""The handler's side of the journal: what matches, what does not, and what a difference says."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from restate_runtime.journal.entries import (
    CANCEL_INDEX,
    CANCELLED,
    Attach,
    Call,
    ClearAllState,
    ClearState,
    Command,
    CompleteAwakeable,
    Completion,
    GetState,
    GetStateKeys,
    Input,
    Notification,
    OneWayCall,
    Output,
    Run,
    SetState,
    Signal,
    Sleep,
    Success,
    Target,
    decode_command,
)
from restate_runtime.journal.model import Journal
from restate_runtime.journal.replay import Mismatch, Replay, describe_command
from restate_runtime.serde import Value

ONE, TWO = Value("json", b"1"), Value("json", b"2")
DONE = Success(ONE)
HERE, THERE = "shop/cart.py:10", "shop/cart.py:20"
ADD = Target("shop.Cart", "Add", "alice")
ID, OTHER_ID = bytes(16), bytes(15) + b"\1"


@dataclass
class Handler:
    """A replay with its surroundings, which write down what they are told."""

    recorded: list[Command]
    notifications: list[Notification] = field(default_factory=list)
    seen: int | None = None
    emitted: list[Command] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = Journal([Input(b"", {}), *self.recorded], self.notifications)
        self.replay = Replay(self.journal, self.seen, self._emit, self.actions.append, self.warnings.append)

    def _emit(self, command: Command) -> Command:
        self.emitted.append(command)
        self.journal.commands.append(command)
        return command


RECORDED_AND_ATTEMPTED: list[tuple[str, Command, Command, str, str]] = [
    ("another state name", SetState("a", ONE, HERE), SetState("b", ONE, THERE), "set state 'a'", "set state 'b'"),
    ("read instead of write", SetState("a", ONE, HERE), GetState("a", None, THERE), "set state 'a'", "get state 'a'"),
    ("clear another name", ClearState("a", HERE), ClearState("b", THERE), "clear state 'a'", "clear state 'b'"),
    ("clear one, not all", ClearAllState(HERE), ClearState("a", THERE), "clear all state", "clear state 'a'"),
    ("names instead of a value", GetState("a", ONE, HERE), GetStateKeys((), THERE), "get state 'a'", "get state keys"),
    ("sleep became call", Sleep(1, 5, HERE), Call(1, ADD, b"", ID, None, None, THERE), "sleep", "call shop.Cart/Add of 'alice'"),
    ("call became sleep", Call(1, ADD, b"", ID, None, None, HERE), Sleep(1, 5, THERE), "call shop.Cart/Add of 'alice'", "sleep"),
    (
        "another service",
        Call(1, ADD, b"", ID, None, None, HERE),
        Call(1, Target("shop.Till", "Add", "alice"), b"", ID, None, None, THERE),
        "call shop.Cart/Add of 'alice'",
        "call shop.Till/Add of 'alice'",
    ),
    (
        "another method",
        Call(1, ADD, b"", ID, None, None, HERE),
        Call(1, Target("shop.Cart", "Drop", "alice"), b"", ID, None, None, THERE),
        "call shop.Cart/Add of 'alice'",
        "call shop.Cart/Drop of 'alice'",
    ),
    (
        "another key",
        Call(1, ADD, b"", ID, None, None, HERE),
        Call(1, Target("shop.Cart", "Add", "bob"), b"", ID, None, None, THERE),
        "call shop.Cart/Add of 'alice'",
        "call shop.Cart/Add of 'bob'",
    ),
    (
        "no longer awaited",
        Call(1, ADD, b"", ID, None, None, HERE),
        OneWayCall(ADD, b"", ID, 0, None, None, THERE),
        "call shop.Cart/Add of 'alice'",
        "background call shop.Cart/Add of 'alice'",
    ),
    ("another side effect", Run(1, "charge", HERE), Run(1, "mail", THERE), "run 'charge'", "run 'mail'"),
    ("side effect became sleep", Run(1, "charge", HERE), Sleep(1, 5, THERE), "run 'charge'", "sleep"),
    (
        "another invocation attached to",
        Attach(1, ID, HERE),
        Attach(1, OTHER_ID, THERE),
        "attach to inv_1AAAAAAAAAAAAAAAAAAAAAA",
        "attach to inv_1AAAAAAAAAAAAAAAAAAAAAQ",
    ),
    (
        "another awakeable",
        CompleteAwakeable(ID, 17, DONE, HERE),
        CompleteAwakeable(ID, 18, DONE, THERE),
        "settle awakeable 17 of inv_1AAAAAAAAAAAAAAAAAAAAAA",
        "settle awakeable 18 of inv_1AAAAAAAAAAAAAAAAAAAAAA",
    ),
    ("returns early", Sleep(1, 5, HERE), Output(DONE, THERE), "sleep", "return"),
]


@pytest.mark.rule("R20")
@pytest.mark.parametrize(
    ("recorded", "attempted", "says", "but"),
    [case[1:] for case in RECORDED_AND_ATTEMPTED],
    ids=[case[0] for case in RECORDED_AND_ATTEMPTED],
)
def test_a_difference_is_found_before_anything_happens(recorded: Command, attempted: Command, says: str, but: str) -> None:
    handler = Handler([GetStateKeys(()), recorded])
    handler.replay.issue(GetStateKeys(()))
    with pytest.raises(Mismatch) as error:
        handler.replay.issue(attempted)
    assert f"entry 2 of the journal is: {says} ({HERE})" in str(error.value)
    assert f"attempts: {but} ({THERE})" in str(error.value)
    assert not handler.emitted
    assert not handler.actions


@pytest.mark.rule("R20")
@pytest.mark.parametrize(
    ("recorded", "attempted"), [case[1:3] for case in RECORDED_AND_ATTEMPTED], ids=[c[0] for c in RECORDED_AND_ATTEMPTED]
)
def test_what_was_recorded_matches_itself(recorded: Command, attempted: Command) -> None:
    handler = Handler([recorded])
    assert handler.replay.issue(recorded) is recorded
    assert not handler.replay.replaying
    handler.replay.issue(attempted)
    assert handler.emitted == [attempted]


@pytest.mark.rule("R20")
def test_waiting_for_something_unrecorded_is_a_difference() -> None:
    handler = Handler([Sleep(1, 5), Sleep(2, 5, HERE)], [Completion(1, DONE)])
    handler.replay.issue(Sleep(1, 9))
    with pytest.raises(Mismatch) as error:
        handler.replay.blocked(THERE)
    assert f"entry 2 of the journal is: sleep ({HERE})" in str(error.value)
    assert f"await of a result that is not recorded ({THERE})" in str(error.value)


def test_waiting_after_the_last_command_is_none() -> None:
    handler = Handler([Sleep(1, 5)])
    handler.replay.issue(Sleep(1, 9))
    handler.replay.blocked(THERE)


def test_values_come_from_the_journal() -> None:
    handler = Handler([GetState("a", ONE), OneWayCall(ADD, b"old", ID, 5)])
    read = handler.replay.issue(GetState("a", TWO))
    sent = handler.replay.issue(OneWayCall(ADD, b"old", OTHER_ID, 7))
    assert isinstance(read, GetState)
    assert read.value == ONE
    assert isinstance(sent, OneWayCall)
    assert (sent.callee, sent.due_ms) == (ID, 5)


@pytest.mark.parametrize(
    ("recorded", "attempted"),
    [
        (SetState("a", ONE), SetState("a", TWO)),
        (Call(1, ADD, b"1", ID), Call(1, ADD, b"2", ID)),
        (OneWayCall(ADD, b"1", ID), OneWayCall(ADD, b"2", ID)),
    ],
)
def test_another_value_is_a_warning(recorded: Command, attempted: Command) -> None:
    handler = Handler([recorded])
    assert handler.replay.issue(attempted) is recorded
    assert len(handler.warnings) == 1
    assert "entry 1" in handler.warnings[0]


def test_delays_and_due_times_are_not_compared() -> None:
    handler = Handler([Sleep(1, 5), OneWayCall(ADD, b"", ID, 5)])
    handler.replay.issue(Sleep(1, 500))
    handler.replay.issue(OneWayCall(ADD, b"", ID, 500))
    assert not handler.warnings


@pytest.mark.rule("R20")
def test_side_effects_begin_when_nothing_recorded_can_differ() -> None:
    handler = Handler([Run(1, "charge"), Run(2, "mail"), SetState("a", ONE)])
    for number, name in ((1, "charge"), (2, "mail")):
        handler.replay.issue(Run(number, name))
        handler.replay.run(number)
    assert handler.actions == []
    handler.replay.issue(SetState("a", ONE))
    assert handler.actions == [1, 2]
    handler.replay.issue(Run(3, "later"))
    handler.replay.run(3)
    assert handler.actions == [1, 2, 3]


@pytest.mark.rule("R20")
def test_side_effects_do_not_begin_where_something_differs() -> None:
    handler = Handler([Run(1, "charge"), SetState("a", ONE)])
    handler.replay.issue(Run(1, "charge"))
    handler.replay.run(1)
    with pytest.raises(Mismatch):
        handler.replay.issue(SetState("b", ONE))
    assert handler.actions == []


def test_silent_until_the_handler_is_where_it_was() -> None:
    handler = Handler([Sleep(1, 5), Sleep(2, 5)], [Completion(1, DONE), Completion(2, DONE)], seen=1)
    replay = handler.replay
    assert replay.replaying
    replay.issue(Sleep(1, 5))
    replay.consumed(0)
    assert replay.replaying
    replay.issue(Sleep(2, 5))
    assert replay.replaying  # suspended here: the second result had not arrived
    replay.consumed(1)
    assert not replay.replaying


def test_ids_count_upwards_and_awakeables_begin_after_the_reserved_ones() -> None:
    replay = Handler([]).replay
    assert [replay.new_completion() for _ in range(3)] == [1, 2, 3]
    assert [replay.new_signal() for _ in range(2)] == [17, 18]


@pytest.mark.rule("R34")
def test_the_first_settlement_of_an_awakeable_counts_from_disk_as_well() -> None:
    handler = Handler([], [Signal(17, DONE), Signal(17, Success(TWO))])
    assert handler.replay.leaf(-17).outcome == DONE
    assert handler.replay.leaf(-17).index == 0


def test_every_command_has_words() -> None:
    words = {describe_command(command) for _, recorded, attempted, *_ in RECORDED_AND_ATTEMPTED for command in (recorded, attempted)}
    assert all(words)
    assert describe_command(OneWayCall(ADD, b"", ID, 5)) == "delayed call shop.Cart/Add of 'alice'"
    assert describe_command(Input(b"", {})) == "input"


def test_a_call_replays_although_its_target_became_shared() -> None:
    now = Target("shop.Cart", "Add", "alice", shared=True)
    journal = Journal([Input(b"", {}), Call(1, ADD, b"", ID)], [])
    replay = Replay(journal, None, lambda command: command, lambda _: None, lambda _: None)
    assert replay.issue(Call(1, now, b"", OTHER_ID)) == Call(1, ADD, b"", ID)


@pytest.mark.rule("R46")
def test_targets_of_before_shared_handlers_can_be_read() -> None:
    old = msgspec.msgpack.encode([0x040D, 1, ["shop.Cart", "Add", "alice"], b"x", ID])
    assert decode_command(old) == Call(1, ADD, b"x", ID)


# --- cancellation


@pytest.mark.rule("R15")
def test_positions_alone_decide_which_await_is_cancelled() -> None:
    cancel = Signal(CANCEL_INDEX, CANCELLED)
    handler = Handler([], [Completion(1, DONE), cancel, Completion(2, DONE), Completion(3, DONE), cancel])
    replay = handler.replay
    assert replay.cancelled(0) is None, "what was settled before passes"
    assert replay.cancelled(2) == 1, "what was settled after it is cancelled"
    assert replay.cancelled(-1) == 1, "and what is not settled"
    assert not replay.take_cancel(), "another one has come"
    assert replay.cancelled(3) is None
    assert replay.cancelled(-1) == 4
    assert replay.take_cancel()
    assert replay.cancelled(-1) is None
