"""Clients without an event loop: their own callers, their own results."""

from __future__ import annotations

from datetime import timedelta

from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardSyncClient, CartClient, CartSyncClient

from restate_runtime import SyncConnection, UnkeyedContext, connect, connect_sync


def call(connection: SyncConnection) -> None:
    cart = CartSyncClient(connection)
    items: Items = cart.show(User(user="ann"), timeout=1)
    items = cart.add.in_background(Item()).result(timeout=timedelta(seconds=1))
    items = BoardSyncClient(connection).read()
    print(items)
    # expect mypy: Argument 1 to "__call__" of "SyncMethod" has incompatible type "Item"; expected "User"
    # expect pyright: "Item" is not assignable to "User"
    cart.show(Item())
    # expect mypy: Missing positional argument "delay" in call to "delayed" of "SyncMethod"
    # expect pyright: Argument missing for parameter "delay"
    cart.add.delayed(Item())
    # expect mypy: Incompatible types in assignment (expression has type "Items", variable has type "int")
    # expect pyright: Type "Items" is not assignable to declared type "int"
    number: int = cart.show(User())
    print(number)


def callers(ctx: UnkeyedContext) -> None:
    # expect mypy: Argument 1 to "CartSyncClient" has incompatible type "UnkeyedContext"; expected "SyncCaller"
    # expect pyright: "UnkeyedContext" is incompatible with protocol "SyncCaller"
    CartSyncClient(ctx)
    # expect mypy: Argument 1 to "CartSyncClient" has incompatible type "Connection"; expected "SyncCaller"
    # expect pyright: "Connection" is incompatible with protocol "SyncCaller"
    CartSyncClient(connect("http://127.0.0.1:8080"))
    # expect mypy: Argument 1 to "CartClient" has incompatible type "SyncConnection"; expected "Caller"
    # expect pyright: "SyncConnection" is incompatible with protocol "Caller"
    CartClient(connect_sync("http://127.0.0.1:8080"))
