"""A service that leaves out an rpc of its base."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BoolValue

from restate_runtime import App, KeyedContext
from tour.v1.tour_pb2 import Ticket
from tour.v1.tour_restate import TicketServiceBase


class TicketService(TicketServiceBase):
    async def reserve(self, ctx: KeyedContext, request: Ticket) -> BoolValue:
        return BoolValue(value=True)

    async def unreserve(self, ctx: KeyedContext, request: Ticket) -> None:
        pass


# expect mypy: abstract class "TicketService" with abstract attribute "mark_as_sold"
# expect pyright: "TicketServiceBase.mark_as_sold" is not implemented
app = App(TicketService())
