"""An UNKEYED handler has neither state nor a key."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from restate_runtime import UnkeyedContext
from tour.v1.tour_pb2 import CheckoutFlowRequest
from tour.v1.tour_restate import CheckoutBase


class Checkout(CheckoutBase):
    async def handle(self, ctx: UnkeyedContext, request: CheckoutFlowRequest) -> BoolValue:
        # expect mypy: "UnkeyedContext" has no attribute "set"
        # expect pyright: Cannot access attribute "set" for class "UnkeyedContext"
        ctx.set("seen", True)
        # expect mypy: "UnkeyedContext" has no attribute "get"
        # expect pyright: Cannot access attribute "get" for class
        await ctx.get("seen", bool)
        # expect mypy: "UnkeyedContext" has no attribute "clear_all"
        # expect pyright: Cannot access attribute "clear_all" for class
        ctx.clear_all()
        # expect mypy: "UnkeyedContext" has no attribute "key"
        # expect pyright: Cannot access attribute "key" for class "UnkeyedContext"
        print(ctx.key)
        return BoolValue(value=True)
