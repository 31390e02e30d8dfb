"""The services of examples/ticket_reservation on betterproto's classes, both generations: dataclasses, lists and datetimes."""

from __future__ import annotations

import importlib
from datetime import timedelta
from functools import partial
from typing import Any

from outside import MailServer, PaymentProvider

from restate_runtime import KeyedContext, RetryPolicy, SingletonContext, TerminalError, UnkeyedContext

pb: Any = importlib.import_module("gen.tour.v1")
rs: Any = importlib.import_module("gen.tour.v1.tour_restate")
BoolValue: Any = rs.USER_SESSION.method("AddTicket").response

PRICE = 4_200


class UserSession(rs.UserSessionBase):
    async def add_ticket(self, ctx: KeyedContext, request: Any) -> Any:
        reserved = await rs.TicketServiceClient(ctx).reserve(pb.Ticket(ticket_id=request.ticket_id, user_id=ctx.key))
        if not reserved.value:
            return BoolValue(value=False)
        cart = await ctx.get("cart", pb.Cart) or pb.Cart()
        item = pb.CartItem(ticket_id=request.ticket_id, reserved_at=await ctx.now())
        cart.items.append(item)
        ctx.set("cart", cart)
        expiry = pb.ExpireTicketRequest(user_id=ctx.key, ticket_id=item.ticket_id, reserved_at=item.reserved_at)
        rs.UserSessionClient(ctx).expire_ticket.delayed(expiry, delay=timedelta(minutes=15))
        return BoolValue(value=True)

    async def expire_ticket(self, ctx: KeyedContext, request: Any) -> None:
        cart = await ctx.get("cart", pb.Cart) or pb.Cart()
        kept = [item for item in cart.items if item.ticket_id != request.ticket_id]
        if len(kept) == len(cart.items):
            return
        ctx.set("cart", pb.Cart(items=kept))
        rs.TicketServiceClient(ctx).unreserve.in_background(pb.Ticket(ticket_id=request.ticket_id, user_id=ctx.key))

    async def checkout(self, ctx: KeyedContext, request: Any) -> Any:
        cart = await ctx.get("cart", pb.Cart)
        if cart is None:
            return BoolValue(value=False)
        tickets = [item.ticket_id for item in cart.items]
        bought = await rs.CheckoutClient(ctx).handle(pb.CheckoutFlowRequest(user_id=ctx.key, tickets=tickets))
        ctx.clear("cart")
        return bought


class TicketService(rs.TicketServiceBase):
    async def reserve(self, ctx: KeyedContext, request: Any) -> Any:
        ticket = await ctx.get("ticket", pb.TicketState) or pb.TicketState()
        if ticket.status != pb.TicketStateStatus.AVAILABLE:
            return BoolValue(value=False)
        ctx.set("ticket", pb.TicketState(status=pb.TicketStateStatus.RESERVED, holder=request.user_id))
        return BoolValue(value=True)

    async def unreserve(self, ctx: KeyedContext, request: Any) -> None:
        ctx.clear("ticket")

    async def mark_as_sold(self, ctx: KeyedContext, request: Any) -> None:
        ticket = await ctx.get("ticket", pb.TicketState)
        if ticket is not None and ticket.status == pb.TicketStateStatus.RESERVED:
            ctx.set("ticket", pb.TicketState(status=pb.TicketStateStatus.SOLD, holder=ticket.holder))


class Checkout(rs.CheckoutBase):
    def __init__(self, payments: PaymentProvider, mail: MailServer, retry: RetryPolicy) -> None:
        self.payments = payments
        self.mail = mail
        self.retry = retry

    async def handle(self, ctx: UnkeyedContext, request: Any) -> Any:
        amount = PRICE * len(request.tickets)
        paid = await self.pay(ctx, request.user_id, amount)
        for ticket_id in request.tickets:
            ticket = pb.Ticket(ticket_id=ticket_id, user_id=request.user_id)
            tickets = rs.TicketServiceClient(ctx)
            (tickets.mark_as_sold if paid else tickets.unreserve).in_background(ticket)
        if paid:
            rs.BoxOfficeClient(ctx).record.in_background(pb.Sale(tickets=request.tickets, amount=amount))
        await ctx.run("send mail", partial(self.mail.send, request.user_id, "bought" if paid else "declined"))
        return BoolValue(value=paid)

    async def pay(self, ctx: UnkeyedContext, user: str, amount: int) -> bool:
        key = str(ctx.uuid())
        confirmation = ctx.awakeable(pb.PaymentConfirmation)
        charge = partial(self.payments.charge, key, user, amount, confirmation.id)
        status = await ctx.run("charge", charge, retry=self.retry)
        if status != "pending":
            return bool(status == "charged")
        try:
            return bool((await confirmation.or_timeout(timedelta(hours=1))).approved)
        except TerminalError:
            return False


class BoxOffice(rs.BoxOfficeBase):
    async def record(self, ctx: SingletonContext, request: Any) -> None:
        totals = await self.totals(ctx)
        totals.sales += 1
        totals.tickets += len(request.tickets)
        totals.amount += request.amount
        # A message as the result of an action, with and without a type.
        kept = await ctx.run("pass through", lambda: totals, type=pb.BoxOfficeTotals)
        again = await ctx.run("pass through again", lambda: kept)
        ctx.set("totals", again)

    async def totals(self, ctx: SingletonContext) -> Any:
        return await ctx.get("totals", pb.BoxOfficeTotals) or pb.BoxOfficeTotals()
