"""What the processes of test_serving.py host."""

from __future__ import annotations

import os
from pathlib import Path

from sample.v1.sample_pb2 import Text
from sample.v1.sample_restate import EchoBase

from restate_runtime import App, UnkeyedContext


def write(line: str) -> int:
    with Path(os.environ["CHILD_LOG"]).open("a") as log:
        log.write(line + "\n")
    return 0


class Echo(EchoBase):
    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        awakeable = ctx.awakeable(str)
        await ctx.run("before", lambda: write(awakeable.id))
        text = await awakeable
        await ctx.run("after", lambda: write("after"))
        return Text(text=text)


app = App(Echo())
