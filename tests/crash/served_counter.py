"""Counters as the crash tests serve them: each addition is written down outside the runtime before it counts."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, Number, Text
from sample.v1.sample_restate import CounterBase

from restate_runtime import App, KeyedContext

EXECUTED = Path(os.environ["EXECUTED"])


def append(line: str) -> None:
    """One write, which a kill -9 cannot tear."""
    file = os.open(EXECUTED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


class Counter(CounterBase):
    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        await ctx.run("append", partial(append, f"{ctx.key} {ctx.headers['call']}"))
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        return Text()


app = App(Counter())
