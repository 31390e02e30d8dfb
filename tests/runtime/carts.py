"""The services with options, declared state and shared handlers, which do what the test at hand says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardBase, CartBase, CartContext, SharedCartContext

from restate_runtime import App, SharedSingletonContext, SingletonContext
from restate_runtime.app import Started

Script = Callable[[Any], Awaitable[list[str]]]


class Cart(CartBase):
    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = scripts

    async def add(self, ctx: CartContext, request: Item) -> Items:
        items = await ctx.state.items.get() or Items()
        items.names.append(request.name)
        ctx.state.items.set(items)
        ctx.state.total.set(len(items.names))
        return items

    async def turn(self, ctx: CartContext, request: Item) -> Items:
        return Items(names=await self.scripts[request.name](ctx))

    async def show(self, ctx: SharedCartContext, request: User) -> Items:
        return await ctx.state.items.get() or Items()

    async def look(self, ctx: SharedCartContext, request: Item) -> Items:
        return Items(names=await self.scripts[request.name](ctx))

    async def sleepy(self, ctx: CartContext, request: Item) -> Items:
        return Items(names=await self.scripts[request.name](ctx))


class Board(BoardBase):
    async def write(self, ctx: SingletonContext, request: Item) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.name])

    async def read(self, ctx: SharedSingletonContext) -> Items:
        return Items(names=await ctx.get("lines", list[str]) or [])


class Shop:
    """Those services on one data directory; each `start` is a runtime of its own on what the one before left."""

    def __init__(self, data_dir: Path, options: Mapping[str, Any]) -> None:
        self.scripts: dict[str, Script] = {}
        self._options: dict[str, Any] = {"data_dir": data_dir} | dict(options)

    def script(self, body: Script) -> Script:
        """Decorator: `turn`, `look` and `sleepy` play it for an item of its name."""
        self.scripts[body.__name__] = body
        return body

    def start(self, **options: Any) -> Started:
        """A runtime, for `async with`."""
        return App(Cart(self.scripts), Board()).start(**self._options | options)
