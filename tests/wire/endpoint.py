"""An endpoint that knows nothing of this project: Restate's Python SDK alone."""

from __future__ import annotations

import os
from datetime import timedelta

import restate
from restate import Context, ObjectContext, ObjectSharedContext, TerminalError, WorkflowContext
from restate.serde import BytesSerde

RAW = BytesSerde()

greeter = restate.Service("wire.Greeter", description="Greets.", metadata={"team": "a"}, ingress_private=True)
counter = restate.VirtualObject("Counter", inactivity_timeout=timedelta(seconds=7), enable_lazy_state=True)
flow = restate.Workflow("Flow")


@greeter.handler("Echo", input_serde=RAW, output_serde=RAW)
async def echo(ctx: Context, request: bytes) -> bytes:
    return request


@greeter.handler("Wait", input_serde=RAW, output_serde=RAW, abort_timeout=timedelta(seconds=3))
async def wait(ctx: Context, request: bytes) -> bytes:
    await ctx.sleep(timedelta(milliseconds=int(request)))
    return b"slept"


@greeter.handler("Run", input_serde=RAW, output_serde=RAW)
async def run(ctx: Context, request: bytes) -> bytes:
    async def action() -> bytes:
        return b"ran " + request

    return await ctx.run("side effect", action, serde=RAW)


@greeter.handler("Relay", input_serde=RAW, output_serde=RAW)
async def relay(ctx: Context, request: bytes) -> bytes:
    return b"relayed " + await ctx.generic_call("wire.Greeter", "Echo", request)


@greeter.handler("Refuse", input_serde=RAW, output_serde=RAW)
async def refuse(ctx: Context, request: bytes) -> bytes:
    raise TerminalError("not today", 409)


@greeter.handler("Break", input_serde=RAW, output_serde=RAW)
async def broken(ctx: Context, request: bytes) -> bytes:
    raise ValueError("broken")


@greeter.handler("Die", input_serde=RAW, output_serde=RAW)
async def die(ctx: Context, request: bytes) -> bytes:
    await ctx.sleep(timedelta(milliseconds=1))
    os._exit(1)


@greeter.handler("Big", input_serde=RAW, output_serde=RAW)
async def big(ctx: Context, request: bytes) -> bytes:
    return b"x" * int(request)


@counter.handler("Add", input_serde=RAW, output_serde=RAW)
async def add(ctx: ObjectContext, request: bytes) -> bytes:
    total = int(await ctx.get("total", serde=RAW) or b"0") + int(request)
    ctx.set("total", str(total).encode(), serde=RAW)
    return str(total).encode()


@counter.handler("Read", kind="shared", input_serde=RAW, output_serde=RAW)
async def read(ctx: ObjectSharedContext) -> bytes:
    return await ctx.get("total", serde=RAW) or b"0"


@flow.main(workflow_retention=timedelta(hours=1))
async def Run(ctx: WorkflowContext) -> str:  # noqa: N802
    return await ctx.promise("done", type_hint=str).value()


keys = [key for key in os.environ.get("IDENTITY_KEYS", "").split(",") if key]
app = restate.app([greeter, counter, flow], identity_keys=keys or None)
