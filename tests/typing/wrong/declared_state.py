"""Declared state has names and types, and shared handlers only read it."""

from __future__ import annotations

from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import CartBase, CartContext, SharedCartContext

from restate_runtime import KeyedContext, SharedKeyedContext


async def turn(ctx: CartContext) -> None:
    items: Items | None = await ctx.state.items.get()
    ctx.state.items.set(items or Items())
    ctx.state.total.set(1)
    ctx.state.items.clear()
    # expect mypy: "CartState" has no attribute "item"; maybe "items"?
    # expect pyright: Cannot access attribute "item" for class "CartState"
    ctx.state.item.get()
    # expect mypy: Argument 1 to "set" of "StateValue" has incompatible type "User"; expected "Items"
    # expect pyright: "User" is not assignable to "Items"
    ctx.state.items.set(User())
    # expect mypy: Argument 1 to "set" of "StateValue" has incompatible type "str"; expected "int"
    # expect pyright: "Literal['one']" is not assignable to "int"
    ctx.state.total.set("one")
    # expect mypy: Argument 1 to "set" of "StateValue" has incompatible type "None"; expected "Items"
    # expect pyright: "None" is not assignable to "Items"
    ctx.state.items.set(None)
    # expect mypy: Incompatible types in assignment (expression has type "int | None", variable has type "int")
    # expect pyright: "None" is not assignable to "int"
    total: int = await ctx.state.total.get()
    print(total)


async def look(ctx: SharedCartContext) -> None:
    items: Items | None = await ctx.state.items.get()
    print(items, ctx.key, await ctx.state_keys(), await ctx.get("other", int))
    # expect mypy: "ReadOnlyStateValue[Items]" has no attribute "set"
    # expect pyright: Cannot access attribute "set" for class "ReadOnlyStateValue[Items]"
    ctx.state.items.set(Items())
    # expect mypy: "ReadOnlyStateValue[Items]" has no attribute "clear"
    # expect pyright: Cannot access attribute "clear" for class "ReadOnlyStateValue[Items]"
    ctx.state.items.clear()
    # expect mypy: "SharedCartContext" has no attribute "set"
    # expect pyright: Cannot access attribute "set" for class "SharedCartContext"
    ctx.set("other", 1)
    # expect mypy: "SharedCartContext" has no attribute "clear_all"
    # expect pyright: Cannot access attribute "clear_all" for class "SharedCartContext"
    ctx.clear_all()


async def read(ctx: SharedKeyedContext) -> None:
    """Takes any context that reads: those that write too."""


async def write(ctx: KeyedContext) -> None: ...


async def pass_on(turn: CartContext, look: SharedCartContext) -> None:
    await read(turn)
    await read(look)
    await write(turn)
    # expect mypy: Argument 1 to "write" has incompatible type "SharedCartContext"; expected "KeyedContext"
    # expect pyright: "SharedCartContext" is not assignable to "KeyedContext"
    await write(look)


class Cart(CartBase):
    async def add(self, ctx: KeyedContext, request: Item) -> Items:
        return Items()

    async def turn(self, ctx: CartContext, request: Item) -> Items:
        return Items()

    # expect mypy: Argument 1 of "show" is incompatible with supertype "sample.v1.cart_restate.CartBase"
    # expect pyright: Method "show" overrides class "CartBase" in an incompatible manner
    async def show(self, ctx: CartContext, request: User) -> Items:
        return Items()

    async def look(self, ctx: SharedCartContext, request: Item) -> Items:
        return Items()

    async def sleepy(self, ctx: CartContext, request: Item) -> Items:
        return Items()
