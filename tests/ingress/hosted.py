"""The App that the tests of ingress, connection and command line host."""

from __future__ import annotations

from datetime import timedelta

from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterBase, EchoBase, LedgerBase

from restate_runtime import App, Code, KeyedContext, SingletonContext, TerminalError, UnkeyedContext


class Echo(EchoBase):
    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        """`fail CODE MESSAGE`, `boom`, `sleep SECONDS` or `header NAME`."""
        verb, _, rest = request.text.partition(" ")
        match verb:
            case "fail":
                code, _, message = rest.partition(" ")
                raise TerminalError(message, Code[code])
            case "boom":
                raise ValueError(rest)
            case "sleep":
                await ctx.sleep(timedelta(seconds=float(rest)))
            case "header":
                return Text(text=ctx.headers.get(rest, "(none)"))
        return Text(text="done")


class Counter(CounterBase):
    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        order = await ctx.get("order", list[int]) or []
        ctx.set("total", total)
        ctx.set("order", [*order, request.amount])
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        """Waits for an awakeable whose id is left in the state: `text` or `message`, what it takes."""
        if request.text == "message":
            wanted = ctx.awakeable(Text)
            ctx.set("awakeable", wanted.id)
            return await wanted
        text = ctx.awakeable(str)
        ctx.set("awakeable", text.id)
        return Text(text=await text)


class Ledger(LedgerBase):
    async def append(self, ctx: SingletonContext, request: Text) -> None:
        lines = await ctx.get("lines", LineList) or LineList()
        lines.lines.append(request.text)
        ctx.set("lines", lines)

    async def lines(self, ctx: SingletonContext) -> LineList:
        return await ctx.get("lines", LineList) or LineList()


app = App(Echo(), Counter(), Ledger())

UNSENDABLE: list[dict[str, str]] = [
    {"host": "x"},
    {"Content-Type": "x"},
    {"x": "a\r\nb: c"},
    {"": "x"},
    {"a b": "x"},
    {"a:": "x"},
    {"a\n": "x"},
    {"ä": "x"},
    {"x" * 201: "x"},
    {"x": "x" * 7_501},
]
"""Headers that HTTP cannot carry."""
