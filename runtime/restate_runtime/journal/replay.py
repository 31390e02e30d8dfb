"""The handler's side of the journal: matches what a handler asks against what it asked before.

While commands are left, the n-th thing that the handler asks must be the n-th command, by kind and target; its value is taken from
the journal. After the last one, commands are new and go to the core.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NoReturn

from ..identifiers import FIRST_AWAKEABLE_INDEX, invocation_id
from .entries import (
    Attach,
    Call,
    ClearAllState,
    ClearState,
    Command,
    CompleteAwakeable,
    CompletePromise,
    GetInvocationOutput,
    GetLazyState,
    GetLazyStateKeys,
    GetPromise,
    GetState,
    GetStateKeys,
    Input,
    OneWayCall,
    Output,
    PeekPromise,
    Ref,
    Run,
    SendSignal,
    SetState,
    Sleep,
)
from .model import Journal
from .nodes import Leaf

__all__ = ["Mismatch", "Replay", "describe_command"]

_IDENTITY: dict[type, Callable[[Any], object]] = {
    Input: lambda _: None,
    Output: lambda _: None,
    GetState: attrgetter("name"),
    SetState: attrgetter("name"),
    ClearState: attrgetter("name"),
    ClearAllState: lambda _: None,
    GetStateKeys: lambda _: None,
    GetLazyState: attrgetter("name"),
    GetLazyStateKeys: lambda _: None,
    GetPromise: attrgetter("name"),
    PeekPromise: attrgetter("name"),
    CompletePromise: attrgetter("name"),
    Sleep: lambda _: None,
    # Whether the target is shared may change with its contract; the recorded call counts.
    Call: attrgetter("target.service", "target.method", "target.key"),
    OneWayCall: attrgetter("target.service", "target.method", "target.key"),
    Run: attrgetter("name"),
    SendSignal: attrgetter("invocation", "index", "name"),
    Attach: attrgetter("invocation"),
    GetInvocationOutput: attrgetter("invocation"),
    CompleteAwakeable: attrgetter("invocation", "index"),
}


def describe_command(command: Command) -> str:
    """A command for people: its kind and its target."""
    match command:
        case Input():
            return "input"
        case Output():
            return "return"
        case GetState() | GetLazyState():
            return f"get state '{command.name}'"
        case SetState():
            return f"set state '{command.name}'"
        case ClearState():
            return f"clear state '{command.name}'"
        case ClearAllState():
            return "clear all state"
        case GetStateKeys() | GetLazyStateKeys():
            return "get state keys"
        case GetPromise():
            return f"get promise '{command.name}'"
        case PeekPromise():
            return f"peek promise '{command.name}'"
        case CompletePromise():
            return f"complete promise '{command.name}'"
        case Sleep():
            return "sleep"
        case Call():
            return f"call {command.target}"
        case OneWayCall():
            return f"{'delayed' if command.due_ms else 'background'} call {command.target}"
        case Run():
            return f"run '{command.name}'"
        case SendSignal(index=1, name=""):
            return f"cancel {invocation_id(command.invocation)}"
        case SendSignal():
            return f"send signal '{command.name or command.index}' to {invocation_id(command.invocation)}"
        case Attach():
            return f"attach to {invocation_id(command.invocation)}"
        case GetInvocationOutput():
            return f"look at the output of {invocation_id(command.invocation)}"
        case CompleteAwakeable():
            return f"settle awakeable {command.index} of {invocation_id(command.invocation)}"


class Mismatch(Exception):
    """The handler does not do what its journal says."""

    def __init__(self, index: int, recorded: str, recorded_at: str, attempted: str, attempted_at: str) -> None:
        super().__init__(
            f"entry {index} of the journal is: {recorded}{_place(recorded_at)}; "
            f"the handler now attempts: {attempted}{_place(attempted_at)}. "
            f"Nothing was performed after the difference. Restore the code and resume the invocation, or kill it."
        )


def _place(at: str) -> str:
    return f" ({at})" if at else ""


def _over(_: object) -> NoReturn:
    raise AssertionError("the attempt is over")


class Replay:
    """One attempt's way along the journal.

    Args:
        journal: owned by the core, which appends to it.
        seen: notifications that had arrived when the attempt before was suspended; `None` where none was.
        emit: gives a new command to the core, which appends it; returns it as it was recorded.
        want_action: a side effect is to be run: it has no result, and nothing recorded is left that could differ.
        warn: takes a sentence about a value that differs from the recorded one.
    """

    __slots__ = (
        "_cancels_taken",
        "_deferred",
        "_emit",
        "_next_completion",
        "_next_signal",
        "_quiet_until",
        "_want_action",
        "_warn",
        "journal",
        "position",
        "recorded",
    )

    def __init__(
        self,
        journal: Journal,
        seen: int | None,
        emit: Callable[[Command], Command],
        want_action: Callable[[int], None],
        warn: Callable[[str], None],
    ) -> None:
        self.journal = journal
        self.position = 1  # the input
        self.recorded = len(journal.commands)
        self._emit = emit
        self._want_action = want_action
        self._warn = warn
        self._next_completion = 1
        self._next_signal = FIRST_AWAKEABLE_INDEX
        self._cancels_taken = 0
        self._deferred: list[int] = []
        self._quiet_until = seen

    def close(self) -> None:
        """The attempt is over: nobody is told of anything any more."""
        self._emit = self._want_action = self._warn = _over

    @property
    def replaying(self) -> bool:
        """Whether the handler is where an earlier attempt has been already."""
        return self.position < self.recorded or self._quiet_until is not None

    def new_completion(self) -> int:
        """The id of the next result."""
        number = self._next_completion
        self._next_completion = number + 1
        return number

    def new_signal(self) -> int:
        """The index of the next awakeable."""
        number = self._next_signal
        self._next_signal = number + 1
        return number

    def leaf(self, ref: Ref) -> Leaf:
        """The node of a result, settled where it has arrived already."""
        return Leaf(ref, self.journal.arrivals.get(ref))

    def issue(self, command: Command) -> Command:
        """What the handler asks: the recorded command where there is one, else this one, recorded now.

        Raises:
            Mismatch: recorded is something else.
        """
        position = self.position
        if position >= self.recorded:
            recorded = self._emit(command)
            self.position = position + 1
            self._quiet_until = None
            return recorded
        recorded = self.journal.commands[position]
        kind = type(command)
        if type(recorded) is not kind or _IDENTITY[kind](recorded) != _IDENTITY[kind](command):
            raise Mismatch(position, describe_command(recorded), recorded.at, describe_command(command), command.at)
        self._compare_values(position, recorded, command)
        self.position = position + 1
        if self.position == self.recorded:
            self._start_deferred()
        return recorded

    def _compare_values(self, position: int, recorded: Command, command: Command) -> None:
        match recorded, command:
            case SetState(), SetState():
                differs = recorded.value != command.value
            case ((Call() | OneWayCall()), (Call() | OneWayCall())):
                differs = recorded.payload != command.payload
            case _:
                return
        if differs:
            self._warn(f"entry {position} ({describe_command(recorded)}) carries another value than recorded; the recorded one counts")

    def run(self, completion_id: int) -> None:
        """A side effect without a result is wanted; it begins when nothing recorded is left, so that a mismatch is found before."""
        if self.position < self.recorded:
            self._deferred.append(completion_id)
        else:
            self._want_action(completion_id)

    def _start_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for completion_id in deferred:
            self._want_action(completion_id)

    def consumed(self, index: int) -> None:
        """The handler awaited something that the notification at `index` settled."""
        if self._quiet_until is not None and index >= self._quiet_until:
            self._quiet_until = None

    def cancelled(self, index: int) -> int | None:
        """Where the cancellation arrived that an await runs into: one that the handler has not got, before what it awaits was settled.

        By positions alone, so that every replay raises at the same await: what had come before the cancellation passes as it did.

        Args:
            index: what settled that, -1 while nothing has.
        """
        cancels = self.journal.cancels
        if self._cancels_taken == len(cancels):
            return None
        at = cancels[self._cancels_taken]
        return at if index < 0 or at < index else None

    def take_cancel(self) -> bool:
        """The handler gets the next cancellation; whether it was the last."""
        self._cancels_taken += 1
        return self._cancels_taken == len(self.journal.cancels)

    def blocked(self, at: str) -> None:
        """The handler waits for something that has not arrived.

        Raises:
            Mismatch: commands are left; when they were recorded, what it waits for had arrived.
        """
        if self.position < self.recorded:
            recorded = self.journal.commands[self.position]
            raise Mismatch(self.position, describe_command(recorded), recorded.at, "await of a result that is not recorded", at)
        self._quiet_until = None
