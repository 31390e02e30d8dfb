"""Doubles answer with what the method returns, and nothing else."""

from __future__ import annotations

from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardClient, CartClient, CartContext, CartSyncClient

from restate_runtime.testing import Double

double = Double()
cart = CartClient(double)
sync = CartSyncClient(double)
board = BoardClient(double)

double.on(cart.show).returns(Items(), Items())
double.on(cart.show).does(lambda user: Items(names=[user.user]))
double.on(sync.show).returns(Items())
double.on(board.read).does(lambda: Items())
context: CartContext = double.context(CartContext, key="ann")
item: Item = double.calls(cart.add)[0].request

# expect mypy: Argument 1 to "returns" of "EmptyAnswers" has incompatible type "User"; expected "Items"
# expect pyright: "User" is not assignable to "Items"
double.on(cart.show).returns(User())
# expect mypy: "User" has no attribute "name"
# expect pyright: Cannot access attribute "name" for class "User"
double.on(cart.show).does(lambda user: Items(names=[user.name]))
# expect mypy: Incompatible types in assignment (expression has type "Item", variable has type "User")
# expect pyright: Type "Item" is not assignable to declared type "User"
user: User = double.calls(cart.add)[0].request
