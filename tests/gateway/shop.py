"""The services of these tests: one of each kind."""

from __future__ import annotations

from sample.v1.cart_pb2 import Item, Items
from sample.v1.cart_restate import BoardBase
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterBase, EchoBase, LedgerBase

from restate_runtime import Code, KeyedContext, SharedSingletonContext, SingletonContext, TerminalError, UnkeyedContext

__all__ = ["Boxes", "Notes", "Things", "Wall"]


class Things(EchoBase):
    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        raise TerminalError(request.text, Code.OUT_OF_RANGE)


class Boxes(CounterBase):
    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        """Waits until somebody settles what the state `awakeable` names."""
        promise = ctx.awakeable(str)
        ctx.set("awakeable", promise.id)
        ctx.set("request", request)
        return Text(text=await promise)


class Notes(LedgerBase):
    async def append(self, ctx: SingletonContext, request: Text) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.text])

    async def lines(self, ctx: SingletonContext) -> LineList:
        return LineList(lines=await ctx.get("lines", list[str]) or [])


class Wall(BoardBase):
    """A service that most of these tests do without."""

    async def write(self, ctx: SingletonContext, request: Item) -> None:
        ctx.set("lines", [request.name])

    async def read(self, ctx: SharedSingletonContext) -> Items:
        return Items(names=await ctx.get("lines", list[str]) or [])
