"""An endpoint of Restate's Python SDK alone: nothing in it knows of this project. `python foreign_endpoint.py PORT [http1]` serves it.

It appends a line to the file FOREIGN_LOG for each thing that happens outside the journal.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import restate
from restate import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)


def log(line: str) -> None:
    path = os.environ.get("FOREIGN_LOG")
    if path:
        with open(path, "a") as file:
            file.write(line + "\n")


greeter = Service("Greeter")
counter = VirtualObject("Counter")
signup = Workflow("Signup")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}!"


@greeter.handler()
async def effects(ctx: Context, name: str) -> list[str]:
    """Two side effects around a sleep."""

    def effect(what: str) -> str:
        log(f"{what} {name}")
        return f"{what} {name}"

    first = await ctx.run_typed("first", effect, what="first")
    await ctx.sleep(timedelta(milliseconds=200))
    second = await ctx.run_typed("second", effect, what="second")
    return [first, second]


@greeter.handler()
async def fails(ctx: Context, code: int) -> None:
    raise TerminalError("as asked", status_code=code)


@greeter.handler()
async def flaky(ctx: Context, times: int) -> int:
    """Fails so many times before it succeeds."""
    log("flaky")
    path = os.environ["FOREIGN_LOG"]
    with open(path) as file:
        tries = file.read().split().count("flaky")
    if tries <= times:
        raise ValueError(f"try {tries}")
    return tries


@greeter.handler()
async def flaky_run(ctx: Context, times: int) -> str:

    def effect() -> str:
        log("flaky_run")
        with open(os.environ["FOREIGN_LOG"]) as file:
            tries = file.read().split().count("flaky_run")
        if tries <= times:
            raise ValueError(f"try {tries}")
        return f"after {tries}"

    return await ctx.run_typed(
        "flaky", effect, restate.RunOptions(initial_retry_interval=timedelta(milliseconds=20), max_attempts=times + 5)
    )


@greeter.handler()
async def counts(ctx: Context, key: str) -> list[int]:
    """Calls another service, one after the other, side by side, and in the background."""
    one = await ctx.object_call(add, key=key, arg=1)
    two, three = await restate.gather(ctx.object_call(add, key=key + "x", arg=2), ctx.object_call(add, key=key + "y", arg=3))
    handle = ctx.object_send(add, key=key, arg=10)
    id = await handle.invocation_id()
    attached = await ctx.attach_invocation(id, type_hint=int)
    return [one, await two, await three, attached]


@greeter.handler()
async def waits(ctx: Context, name: str) -> str:
    id, promise = ctx.awakeable(type_hint=str)
    await ctx.run_typed("publish", log, line=f"awakeable {id}")
    return f"{name}: {await promise}"


@greeter.handler()
async def resolves(ctx: Context, id: str) -> None:
    ctx.resolve_awakeable(id, "resolved by a handler")


@greeter.handler()
async def cancelled(ctx: Context, name: str) -> str:
    """Compensates when it is cancelled."""
    log(f"waiting {name}")
    try:
        await ctx.service_call(never, arg=name)
    except TerminalError as error:
        await ctx.run_typed("compensate", log, line=f"compensated {name} {error.status_code}")
        return f"cancelled: {error.status_code}"
    return "not cancelled"


@greeter.handler()
async def never(ctx: Context, name: str) -> None:
    log(f"never {name}")
    try:
        await ctx.sleep(timedelta(days=1))
    except TerminalError as error:
        log(f"never ended {error.status_code}")
        raise


@greeter.handler()
async def stuck(ctx: Context, seconds: float) -> str:
    """Blocks without the journal."""
    log("stuck")
    await asyncio.sleep(seconds)
    return "moved"


@greeter.handler()
async def calls_raw(ctx: Context, what: dict[str, Any]) -> str:
    """Calls a service of anybody by its name, with bytes."""
    reply = await ctx.generic_call(what["service"], what["handler"], bytes.fromhex(what["request"]), key=what.get("key"))
    return reply.hex()


@greeter.handler()
async def differs(ctx: Context, name: str) -> str:
    """Does something else once the file `changed` exists."""
    if os.path.exists(os.environ["FOREIGN_LOG"] + ".changed"):
        await ctx.sleep(timedelta(milliseconds=1))
    else:
        await ctx.run_typed("before", log, line="before")
    id, promise = ctx.awakeable(type_hint=str)
    await ctx.run_typed("publish", log, line=f"awakeable {id}")
    return await promise


@greeter.handler()
async def combines(ctx: Context, name: str) -> list[object]:
    """Waits for two of three, and for the first of the last two."""
    waiting = []
    for n in ("one", "two", "three"):
        id, promise = ctx.awakeable(type_hint=int)
        await ctx.run_typed("publish", log, line=f"{n} awakeable {id}")
        waiting.append(promise)
    one, two, three = waiting
    both, first = restate.gather(one, two), restate.select(two=two, three=three)
    results = [await promise for promise in await both]
    _, value = await first
    return [results, value]


@greeter.handler()
async def signalled(ctx: Context, name: str) -> str:
    log("signalled")
    return await ctx.signal("go", type_hint=str)


@greeter.handler()
async def signals(ctx: Context, id: str) -> None:
    ctx.resolve_signal(id, "go", "signal")


@counter.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    value = (await ctx.get("value", type_hint=int) or 0) + amount
    ctx.set("value", value)
    return value


@counter.handler(kind="shared")
async def value(ctx: ObjectSharedContext) -> int:
    return await ctx.get("value", type_hint=int) or 0


@counter.handler()
async def reset(ctx: ObjectContext) -> list[str]:
    names = await ctx.state_keys()
    ctx.set("other", 1)
    ctx.clear("value")
    ctx.clear_all()
    return names


@counter.handler()
async def fill(ctx: ObjectContext, size: int) -> list[str]:
    ctx.set("big", "x" * size)
    return list(await ctx.state_keys())


@counter.handler()
async def slowly(ctx: ObjectContext, amount: int) -> int:
    value = await ctx.get("value", type_hint=int) or 0
    await ctx.sleep(timedelta(milliseconds=30))
    ctx.set("value", value + amount)
    return value + amount


@signup.main()
async def run(ctx: WorkflowContext, email: str) -> str:
    ctx.set("status", "waiting")
    code = await ctx.promise("code", type_hint=str).value()
    ctx.set("status", "done")
    return f"{email} {code}"


@signup.handler()
async def confirm(ctx: WorkflowSharedContext, code: str) -> None:
    await ctx.promise("code", type_hint=str).resolve(code)


@signup.handler()
async def peek(ctx: WorkflowSharedContext) -> str | None:
    return await ctx.promise("code", type_hint=str).peek()


@signup.handler()
async def wait_too(ctx: WorkflowSharedContext) -> str:
    return await ctx.promise("code", type_hint=str).value()


@signup.handler()
async def status(ctx: WorkflowSharedContext) -> str | None:
    return await ctx.get("status", type_hint=str)


def other_greeter() -> Service:
    other = Service("Greeter")

    async def greet(ctx: Context, name: str) -> str:
        return f"Goodbye {name}!"

    async def waits(ctx: Context, name: str) -> str:
        return "not waiting"

    other.handler()(greet)
    other.handler()(waits)
    return other


def main() -> None:
    http1 = sys.argv[2:] == ["http1"]
    services: list[Any] = [greeter, counter, signup]
    match os.environ.get("FOREIGN_VARIANT"):
        case "other":  # another version of the greeter, and nothing else
            services = [other_greeter()]
        case "kind":  # the counter is no virtual object any more
            services = [Service("Counter")]
            services[0].handler("add")(greet)
    app = restate.app(services=services, protocol="request_response" if http1 else "bidi")
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = None
    if http1:
        config.alpn_protocols = ["http/1.1"]
    asyncio.run(hypercorn.asyncio.serve(app, config))


if __name__ == "__main__":
    main()
