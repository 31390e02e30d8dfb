"""The services of examples/ticket_reservation, step by step, on betterproto's classes, both generations."""

from __future__ import annotations

import importlib
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

from outside import MailServer, PaymentProvider

from restate_runtime import Code, KeyedContext, RetryPolicy, SingletonContext, TerminalError, UnkeyedContext

pb: Any = importlib.import_module("gen.tour.v1")
rs: Any = importlib.import_module("gen.tour.v1.tour_restate")
BoolValue: Any = rs.USER_SESSION.method("AddTicket").response

PRICE = 4_200
RESERVED_FOR = timedelta(minutes=15)
CONFIRM_WITHIN = timedelta(hours=1)


class UserSession(rs.UserSessionBase):
    async def add_ticket(self, ctx: KeyedContext, request: Any) -> Any:
        expires_in = reserved_for(ctx)
        reserved = await rs.TicketServiceClient(ctx).reserve(pb.Ticket(ticket_id=request.ticket_id, user_id=ctx.key))
        if not reserved.value:
            return BoolValue(value=False)
        cart = await ctx.get("cart", pb.Cart) or pb.Cart()
        item = pb.CartItem(ticket_id=request.ticket_id, reserved_at=await ctx.now())
        cart.items.append(item)
        ctx.set("cart", cart)
        expiry = pb.ExpireTicketRequest(user_id=ctx.key, ticket_id=item.ticket_id, reserved_at=item.reserved_at)
        rs.UserSessionClient(ctx).expire_ticket.delayed(expiry, delay=expires_in)
        return BoolValue(value=True)

    async def expire_ticket(self, ctx: KeyedContext, request: Any) -> None:
        cart = await ctx.get("cart", pb.Cart) or pb.Cart()
        kept = [item for item in cart.items if not is_expired(item, request)]
        if len(kept) == len(cart.items):
            return
        if kept:
            ctx.set("cart", pb.Cart(items=kept))
        else:
            ctx.clear("cart")
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
        ticket = await ctx.get("ticket", pb.TicketState) or pb.TicketState()
        if ticket.status == pb.TicketStateStatus.RESERVED and request.user_id in ("", ticket.holder):
            ctx.clear("ticket")

    async def mark_as_sold(self, ctx: KeyedContext, request: Any) -> None:
        ticket = await ctx.get("ticket", pb.TicketState) or pb.TicketState()
        if ticket.status == pb.TicketStateStatus.RESERVED and request.user_id in ("", ticket.holder):
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
        outcome = f"You bought {', '.join(request.tickets)}." if paid else "Your payment was declined."
        await ctx.run("send mail", partial(self.mail.send, request.user_id, outcome))
        return BoolValue(value=paid)

    async def pay(self, ctx: UnkeyedContext, user: str, amount: int) -> bool:
        key = await ctx.run("choose payment key", new_payment_key)
        confirmation = ctx.awakeable(pb.PaymentConfirmation)
        charge = partial(self.payments.charge, key, user, amount, confirmation.id)
        status = await ctx.run("charge", charge, retry=self.retry)
        if status != "pending":
            return bool(status == "charged")
        try:
            if (await confirmation.or_timeout(CONFIRM_WITHIN)).approved:
                return True
        except TerminalError as error:
            ctx.logger.info("payment %s: %s", key, error.message)
        await ctx.run("void", partial(self.payments.void, key))
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


def new_payment_key() -> str:
    return str(uuid.uuid4())


def reserved_for(ctx: KeyedContext) -> timedelta:
    text = ctx.headers.get("reserve-seconds")
    if text is None:
        return RESERVED_FOR
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        raise TerminalError(f"header reserve-seconds: '{text}' is no number", Code.INVALID_ARGUMENT) from None


def is_expired(item: Any, request: Any) -> bool:
    if item.ticket_id != request.ticket_id:
        return False
    # Where a Timestamp was not given, betterproto 2.0.0b7 has 1970-01-01 for it, and betterproto2 None.
    return not request.reserved_at or request.reserved_at.timestamp() == 0 or item.reserved_at == request.reserved_at
