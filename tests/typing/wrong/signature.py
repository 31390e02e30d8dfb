"""Handlers that do not fit their rpc."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from restate_runtime import KeyedContext, SingletonContext, UnkeyedContext
from tour.v1.tour_pb2 import BoxOfficeTotals, Sale, Ticket
from tour.v1.tour_restate import BoxOfficeBase, CheckoutBase, TicketServiceBase


class TicketService(TicketServiceBase):
    # expect mypy: Argument 2 of "reserve" is incompatible
    # expect pyright: overrides class "TicketServiceBase" in an incompatible manner
    async def reserve(self, ctx: KeyedContext, request: Sale) -> BoolValue:
        return BoolValue()

    # expect mypy: Return type "Coroutine[Any, Any, BoolValue]" of "unreserve" incompatible
    # expect pyright: overrides class "TicketServiceBase" in an incompatible manner
    async def unreserve(self, ctx: KeyedContext, request: Ticket) -> BoolValue:
        return BoolValue()

    # expect mypy: Return type "None" of "mark_as_sold" incompatible
    # expect pyright: overrides class "TicketServiceBase" in an incompatible manner
    def mark_as_sold(self, ctx: KeyedContext, request: Ticket) -> None:
        return None


class Checkout(CheckoutBase):
    # expect mypy: Signature of "handle" incompatible with supertype
    # expect pyright: overrides class "CheckoutBase" in an incompatible manner
    async def handle(self, ctx: UnkeyedContext) -> BoolValue:
        return BoolValue()


class BoxOffice(BoxOfficeBase):
    # expect mypy: Argument 1 of "record" is incompatible
    # expect pyright: overrides class "BoxOfficeBase" in an incompatible manner
    async def record(self, ctx: KeyedContext, request: Sale) -> None:
        pass

    # expect mypy: Signature of "totals" incompatible with supertype
    # expect pyright: overrides class "BoxOfficeBase" in an incompatible manner
    async def totals(self, ctx: SingletonContext, request: Sale) -> BoxOfficeTotals:
        return BoxOfficeTotals()
