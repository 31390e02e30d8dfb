"""A call with the wrong request, or with its answer taken for something else."""

from __future__ import annotations

from datetime import timedelta

from restate_runtime import KeyedContext
from tour.v1.tour_pb2 import Sale, Ticket
from tour.v1.tour_restate import TicketServiceClient


async def calls(ctx: KeyedContext) -> None:
    tickets = TicketServiceClient(ctx)
    # expect mypy: has incompatible type "Sale"; expected "Ticket"
    # expect pyright: "Sale" is not assignable to "Ticket"
    tickets.reserve(Sale())
    # expect mypy: incompatible type "Sale"; expected "Ticket"
    # expect pyright: "Sale" is not assignable to "Ticket"
    tickets.reserve.in_background(Sale())
    # expect mypy: incompatible type "Sale"
    # expect pyright: "Sale" is not assignable to "Ticket"
    tickets.unreserve.delayed(Sale(), timedelta(1))
    # expect mypy: incompatible type "int"; expected "timedelta"
    # expect pyright: is not assignable to "timedelta"
    tickets.unreserve.delayed(Ticket(), 5)
    # expect mypy: Missing positional argument "request"
    # expect pyright: Argument missing for parameter "request"
    tickets.reserve()
    # expect mypy: Incompatible types in assignment
    # expect pyright: "BoolValue" is not assignable to
    answer: Ticket = await tickets.reserve(Ticket())
    print(answer)
