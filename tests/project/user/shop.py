"""What a user writes against an installed package; the session `typecheck` checks it strictly, outside the checkout."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from google.protobuf.wrappers_pb2 import BoolValue

from dev.restate.events_pb2 import Event
from restate_runtime import App, Code, KeyedContext, RetryPolicy, SingletonContext, TerminalError, connect, gather, select
from tour.v1.tour_pb2 import BoxOfficeTotals, Sale, Ticket, TicketState
from tour.v1.tour_restate import TICKET_SERVICE, BoxOfficeBase, BoxOfficeClient, TicketServiceBase, TicketServiceClient


class TicketService(TicketServiceBase):
    async def reserve(self, ctx: KeyedContext, request: Ticket) -> BoolValue:
        state = await ctx.get("state", TicketState) or TicketState()
        assert_type(state, TicketState)
        if state.status != TicketState.AVAILABLE:
            return BoolValue(value=False)
        ctx.set("state", TicketState(status=TicketState.RESERVED, holder=request.user_id))
        key = ctx.key
        receipt = await ctx.run("receipt", lambda: f"for {key}", type=str, retry=RetryPolicy(max_attempts=3))
        assert_type(receipt, str)
        event = await ctx.get("event", Event)
        assert_type(event, Event | None)
        ctx.logger.info("%s %s", receipt, event)
        TicketServiceClient(ctx).unreserve.delayed(request, delay=timedelta(minutes=15))
        return BoolValue(value=True)

    async def unreserve(self, ctx: KeyedContext, request: Ticket) -> None:
        ctx.clear("state")

    async def mark_as_sold(self, ctx: KeyedContext, request: Ticket) -> None:
        first, second = BoxOfficeClient(ctx).record(Sale(tickets=[ctx.key])), BoxOfficeClient(ctx).totals()
        _, totals = await gather(first, second)
        assert_type(totals, BoxOfficeTotals)
        paid = ctx.awakeable(bool)
        name, _ = await select(paid=paid, late=ctx.sleep(timedelta(seconds=5)))
        if name == "late" or totals.tickets < 0:
            raise TerminalError("not paid", code=Code.FAILED_PRECONDITION)


class BoxOffice(BoxOfficeBase):
    async def record(self, ctx: SingletonContext, request: Sale) -> None:
        ctx.set("amount", request.amount)

    async def totals(self, ctx: SingletonContext) -> BoxOfficeTotals:
        return BoxOfficeTotals(amount=await ctx.get("amount", int) or 0)


app = App(TicketService(), BoxOffice())


async def main() -> None:
    async with app.start(always_suspend=True) as runtime:
        reply = await TicketServiceClient(runtime).reserve(Ticket(ticket_id="a1"), idempotency_key="1")
        assert_type(reply, BoolValue)
        totals = await BoxOfficeClient(runtime).totals(timeout=timedelta(seconds=5))
        assert_type(totals, BoxOfficeTotals)
        print(reply.value, totals.amount, TICKET_SERVICE.name)
    async with connect("http://127.0.0.1:8080") as connection:
        handle = await TicketServiceClient(connection).reserve.in_background(Ticket(ticket_id="a1"))
        result = await handle.result(timeout=5)
        assert_type(result, BoolValue)
        print(await handle.invocation_id(), await handle.status(), result.value)
