"""What the processes of test_serving.py host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoBase

from restate_runtime import App, UnkeyedContext
from restate_runtime.cluster import serving

if "CHILD_GRACE" in os.environ:
    serving._GRACE_S = float(os.environ["CHILD_GRACE"])
    serving._LAST_RESORT_S = serving._GRACE_S + 1.5


def write(line: str) -> int:
    with Path(os.environ["CHILD_LOG"]).open("a") as log:
        log.write(line + "\n")
    return 0


def blocking() -> None:
    write("began")
    time.sleep(60)


async def waiting() -> None:
    write("began")
    await asyncio.sleep(60)


async def stubborn() -> None:
    write("began")
    for _ in range(60):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


class Echo(EchoBase):
    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        match request.text:
            case "a thread":
                await ctx.run("slow", blocking)
            case "a task":
                await ctx.run("slow", waiting)
            case "a stubborn task":
                await ctx.run("slow", stubborn)
            case "something foreign":
                await waiting()
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        awakeable = ctx.awakeable(str)
        await ctx.run("before", lambda: write(awakeable.id))
        text = await awakeable
        await ctx.run("after", lambda: write("after"))
        return Text(text=text)


app = App(Echo())
