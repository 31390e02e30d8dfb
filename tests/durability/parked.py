"""Invocations that are parked in every way: what the fixtures hold, and how they carry on.

A fixture of a released version stays as it is, so this code must go on matching the journals in it: only add to it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from sample.v1.sample_pb2 import AddRequest, KeyedText, Text
from sample.v1.sample_restate import CounterClient, EchoClient

from restate_runtime import Runtime
from restate_runtime.identifiers import parse_invocation_id

from .harness import invocation, milliseconds, until, until_status

HOUR = timedelta(hours=1)
OPTIONS: dict[str, Any] = {
    "inactivity_timeout": milliseconds(20),
    "retry_initial_interval": HOUR,
    "retry_max_interval": HOUR,
    "shutdown_timeout": milliseconds(200),
    "idempotency_retention": timedelta(days=36_500),
    "journal_retention": timedelta(days=36_500),
}
STATUSES = {
    "delayed": "scheduled",
    "sleeper": "suspended",
    "awakeable": "suspended",
    "behind": "inboxed",
    "parent": "suspended",
    "child": "suspended",
    "combined": "suspended",
    "retried": "backing-off",
    "effect": "suspended",
    "paused": "paused",
    "done": "completed",
}


class Handlers:
    """The scripts; `broken` while the fixture is made."""

    def __init__(self, *, broken: bool) -> None:
        self.broken = broken
        self.changed = False
        self.effects: list[str] = []

    async def __call__(self, ctx: Any, text: str) -> Any:
        match text:
            case "sleeper":
                await ctx.sleep(HOUR)
                return "slept"
            case "awakeable":
                ctx.set("note", text)
                await ctx.run("before", lambda: self.effects.append(text))
                return f"{await ctx.awakeable(str)} {await ctx.get('note', str)}"
            case "parent":
                reply = await CounterClient(ctx).script(KeyedText(key="child", text="awakeable"))
                return f"parent of {reply.text}"
            case "combined":
                word = await ctx.awakeable(str).or_timeout(HOUR * 100)
                return f"{word} in time"
            case "retried":
                if self.broken:
                    raise ValueError("not yet")
                return f"attempt {ctx.attempt}"
            case "effect":
                await ctx.run("fails", self._effect)
                return "effect done"
            case "paused":
                await ctx.run("before", lambda: self.effects.append(text))
                await ctx.run("other" if self.changed else "fixed", lambda: None)
                await ctx.awakeable(str)
        return text

    def _effect(self) -> None:
        if self.broken:
            raise OSError("not yet")


async def park(runtime: Runtime, handlers: Handlers) -> dict[str, str]:
    """Makes them; their ids by name."""
    counter, echo = CounterClient(runtime), EchoClient(runtime)
    await counter.add(AddRequest(name="sum", amount=40))
    await echo.call(Text(text="answer"), idempotency_key="used")
    handles = {
        "delayed": counter.add.delayed(AddRequest(name="sum", amount=2), delay=HOUR),
        "sleeper": echo.script.in_background(Text(text="sleeper")),
        "awakeable": counter.script.in_background(KeyedText(key="held", text="awakeable")),
        "behind": counter.add.in_background(AddRequest(name="held", amount=7)),
        "parent": echo.script.in_background(Text(text="parent")),
        "combined": echo.script.in_background(Text(text="combined")),
        "retried": echo.script.in_background(Text(text="retried")),
        "paused": counter.script.in_background(KeyedText(key="paused", text="paused")),
        "done": echo.script.in_background(Text(text="done")),
    }
    ids = {name: await handle.invocation_id() for name, handle in handles.items()}
    for name in ("sleeper", "awakeable", "parent", "combined", "paused"):
        await until_status(runtime, ids[name], "suspended")
    (child,) = runtime.inspector.invocations(service="sample.v1.Counter", key="child")
    ids["child"] = child["id"]
    handlers.changed = True  # the code of the last one
    await runtime.resolve_awakeable(awakeable_of(runtime, ids["paused"]), "go")
    await until_status(runtime, ids["paused"], "paused")
    ids["effect"] = await echo.script.in_background(Text(text="effect")).invocation_id()
    await until(lambda: runtime._machinery.state.invocations[runtime._machinery.state.by_id[_raw(ids["effect"])]].actions)
    await echo.call(Text(text="on disk"))
    return ids


def _raw(id: str) -> bytes:
    raw = parse_invocation_id(id)
    assert raw is not None
    return raw


def awakeable_of(runtime: Runtime, id: str) -> str:
    waiting = invocation(runtime, id)["waiting_for"]
    return str(next(one for one in waiting if one.startswith("awakeable ")).removeprefix("awakeable "))


async def carry_on(runtime: Runtime, ids: dict[str, str]) -> dict[str, Any]:
    """Ends them all, an hour later; their results by name."""
    for name in ("awakeable", "child", "combined"):
        await runtime.resolve_awakeable(awakeable_of(runtime, ids[name]), "released")
    await runtime.resume(ids["paused"])
    results = await asyncio.gather(*(runtime.invocation(ids[name]).result() for name in STATUSES))
    return {name: getattr(result, "text", None) or result.value for name, result in zip(STATUSES, results, strict=True)}


RESULTS: dict[str, Any] = {
    "delayed": 42,
    "sleeper": "slept",
    "awakeable": "released awakeable",
    "behind": 7,
    "parent": "parent of released awakeable",
    "child": "released awakeable",
    "combined": "released in time",
    "retried": "attempt 2",
    "effect": "effect done",
    "paused": "paused",
    "done": "done",
}
