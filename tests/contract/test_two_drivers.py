"""The same handler in this process and at an endpoint: two drivers give the same events to one core, and get the same effects."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sample.v1.sample_pb2 import AddRequest
from sample.v1.sample_restate import CounterClient

import restate_runtime.engine.shell as shell
from restate_runtime import TerminalError, gather
from restate_runtime.journal.effects import Deliver, Effect, PutCommand, PutInvocation, PutNotification, PutState, PutTimer
from restate_runtime.journal.entries import Call, Command, Completion, OneWayCall
from restate_runtime.journal.events import ActionWanted, Event, Evict, Issue, Loaded, Pin, Tick
from restate_runtime.journal.model import State
from restate_runtime.journal.replay import describe_command

from .engines import Engine, embedded
from .remote import remote
from .services import play, script

Line = tuple[object, ...]

# What only one driver says. The endpoint's SDK decides by itself when a side effect begins, and asks for the ids of its calls; where an
# invocation began is known of endpoints only. Whether a journal is in memory is a matter of time.
_ONE_SIDED = (ActionWanted, Pin, Evict, Loaded)


class Trace:
    """What the core was told about each invocation, and what it wanted done, in words that do not depend on ids of invocations."""

    def __init__(self) -> None:
        self.lines: dict[str, list[Line]] = defaultdict(list)
        self._names: dict[int, str] = {}
        self._ids: dict[int, set[int]] = defaultdict(set)

    def step(self, real: Callable[[State, Event, int], list[Effect]]) -> Callable[[State, Event, int], list[Effect]]:
        def recorded(state: State, event: Event, now: int) -> list[Effect]:
            if isinstance(event, Issue) and isinstance(event.command, (Call, OneWayCall)):
                self._ids[event.seq].add(event.command.id_completion_id)
            effects = real(state, event, now)
            self._take(state, event, effects)
            return effects

        return recorded

    def _take(self, state: State, event: Event, effects: list[Effect]) -> None:
        for invocation in state.invocations.values():
            self._names.setdefault(invocation.seq, str(invocation.target))
        if isinstance(event, _ONE_SIDED):
            return
        seq = getattr(event, "seq", 0)
        if seq and not isinstance(event, Tick):
            what = _words(event.command) if isinstance(event, Issue) else ""
            self.lines[self._names[seq]].append(("event", type(event).__name__, what))
        for effect in effects:
            self._take_effect(effect)

    def _take_effect(self, effect: Effect) -> None:
        match effect:
            case PutCommand():
                line: Line = ("command", _words(effect.command))
            case PutNotification(notification=Completion() as completion):
                if completion.completion_id in self._ids[effect.seq]:
                    return
                line = ("completion", type(completion.outcome).__name__, getattr(completion.outcome, "message", ""))
            case PutNotification():
                line = ("signal", type(effect.notification.outcome).__name__)
            case PutInvocation():
                invocation = effect.invocation
                self._names.setdefault(invocation.seq, str(invocation.target))
                self.lines[self._names[invocation.seq]].append(("status", invocation.status.value))
                return
            case PutTimer():
                line = ("timer",)
            case Deliver() if effect.ref in self._ids[effect.seq]:
                return
            case Deliver():
                line = ("deliver",)
            case PutState():
                self.lines[str(effect.lane)].append(("state", effect.name, effect.value))
                return
            case _:
                return
        self.lines[self._names[effect.seq]].append(line)


def _words(command: Command) -> str:
    return re.sub("inv_1[-_0-9A-Za-z]+", "an invocation", describe_command(command))


@script
async def everything(ctx: Any, argument: Any) -> list[Any]:
    """One of each: the order of what is recorded depends on nothing but the handler."""
    counter = CounterClient(ctx)
    ctx.set("first", 1)
    before = await ctx.get("first", int)
    effect = await ctx.run("effect", lambda: f"done {argument}")
    await ctx.sleep(timedelta(milliseconds=5))
    total = await counter.add(AddRequest(name=f"{argument}-called", amount=2))
    counter.add.in_background(AddRequest(name=f"{argument}-sent", amount=3))
    try:
        await ctx.run("fails", _fails)
    except TerminalError as error:
        ctx.set("failed", error.message)
    awakeable = ctx.awakeable(str)
    ctx.resolve_awakeable(awakeable.id, "settled")
    settled = await awakeable
    both = await gather(ctx.run("one", lambda: 1), ctx.sleep(timedelta(milliseconds=400)))
    ctx.clear("first")
    return [before, effect, total.value, settled, both[0], await ctx.state_keys()]


def _fails() -> None:
    raise TerminalError("as it should")


async def traced(engine: Engine, folder: Path, key: str) -> tuple[Any, dict[str, list[Line]]]:
    trace = Trace()
    real = shell.step
    shell.step = trace.step(real)  # type: ignore[assignment]
    try:
        async with engine.start(folder) as running:
            result = await play(running.caller, everything, key, key=key)
    finally:
        shell.step = real  # type: ignore[assignment]
    return result, {name: _without_repeats(lines) for name, lines in trace.lines.items()}


def _without_repeats(lines: list[Line]) -> list[Line]:
    """A row that is written twice with the same status says nothing new."""
    return [line for before, line in zip([None, *lines], lines, strict=False) if line[0] != "status" or line != before]


async def test_one_trace_through_both_drivers(tmp_path: Path, key: str) -> None:
    here, there = embedded[0], remote[0]
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    result, trace = await traced(here, tmp_path / "here", key)
    other_result, other_trace = await traced(there, tmp_path / "there", key)
    assert result == other_result
    assert len(trace) > 3
    assert trace.keys() == other_trace.keys()
    for name, lines in trace.items():
        assert lines == other_trace[name], name
