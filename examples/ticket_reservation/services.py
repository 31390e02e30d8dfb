"""The ticket shop: four services, one of each kind and one more. The contract is tour.proto, README.md explains each step."""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial

from google.protobuf.wrappers_pb2 import BoolValue
from outside import MailServer, PaymentProvider

from restate_runtime import Code, KeyedContext, RetryPolicy, SingletonContext, TerminalError, UnkeyedContext
from tour.v1.tour_pb2 import (
    BoxOfficeTotals,
    Cart,
    CheckoutFlowRequest,
    CheckoutRequest,
    ExpireTicketRequest,
    PaymentConfirmation,
    ReserveTicket,
    Sale,
    Ticket,
    TicketState,
)
from tour.v1.tour_restate import (
    BoxOfficeBase,
    BoxOfficeClient,
    CheckoutBase,
    CheckoutClient,
    TicketServiceBase,
    TicketServiceClient,
    UserSessionBase,
    UserSessionClient,
)

PRICE = 4_200
"""Of one ticket, in cents."""

RESERVED_FOR = timedelta(minutes=15)
"""How long a ticket waits in a cart, unless the header `reserve-seconds` says otherwise."""

CONFIRM_WITHIN = timedelta(hours=1)
"""How long a customer may take to confirm a payment."""

PAYMENT_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), factor=2, max_interval=timedelta(seconds=30))


class UserSession(UserSessionBase):
    """KEYED by user: calls for one user run one after another, so nobody else changes the cart meanwhile."""

    async def add_ticket(self, ctx: KeyedContext, request: ReserveTicket) -> BoolValue:
        expires_in = reserved_for(ctx)
        ticket = Ticket(ticket_id=request.ticket_id, user_id=ctx.key)
        reserved = await TicketServiceClient(ctx).reserve(ticket)
        if not reserved.value:
            return BoolValue(value=False)

        cart = await ctx.get("cart", Cart) or Cart()
        item = cart.items.add(ticket_id=request.ticket_id)
        item.reserved_at.FromDatetime(await ctx.now())
        ctx.set("cart", cart)

        expiry = ExpireTicketRequest(user_id=ctx.key, ticket_id=item.ticket_id, reserved_at=item.reserved_at)
        UserSessionClient(ctx).expire_ticket.delayed(expiry, delay=expires_in)
        return BoolValue(value=True)

    async def expire_ticket(self, ctx: KeyedContext, request: ExpireTicketRequest) -> None:
        cart = await ctx.get("cart", Cart) or Cart()
        expired = [item for item in cart.items if is_expired(item, request)]
        if not expired:
            return  # bought meanwhile
        for item in expired:
            cart.items.remove(item)
        save(ctx, cart)
        TicketServiceClient(ctx).unreserve.in_background(Ticket(ticket_id=request.ticket_id, user_id=ctx.key))

    async def checkout(self, ctx: KeyedContext, request: CheckoutRequest) -> BoolValue:
        cart = await ctx.get("cart", Cart)
        if cart is None:
            return BoolValue(value=False)
        tickets = [item.ticket_id for item in cart.items]
        bought = await CheckoutClient(ctx).handle(CheckoutFlowRequest(user_id=ctx.key, tickets=tickets))
        ctx.clear("cart")  # bought, or back on sale
        return bought


class TicketService(TicketServiceBase):
    """KEYED by ticket: available, reserved, sold. Two users who want the same ticket are served one after the other."""

    async def reserve(self, ctx: KeyedContext, request: Ticket) -> BoolValue:
        ticket = await ctx.get("ticket", TicketState) or TicketState()
        if ticket.status != TicketState.AVAILABLE:
            return BoolValue(value=False)
        ctx.set("ticket", TicketState(status=TicketState.RESERVED, holder=request.user_id))
        return BoolValue(value=True)

    async def unreserve(self, ctx: KeyedContext, request: Ticket) -> None:
        ticket = await ctx.get("ticket", TicketState) or TicketState()
        if ticket.status == TicketState.RESERVED and request.user_id in ("", ticket.holder):
            ctx.clear("ticket")

    async def mark_as_sold(self, ctx: KeyedContext, request: Ticket) -> None:
        ticket = await ctx.get("ticket", TicketState) or TicketState()
        if ticket.status == TicketState.RESERVED and request.user_id in ("", ticket.holder):
            ctx.set("ticket", TicketState(status=TicketState.SOLD, holder=ticket.holder))


class Checkout(CheckoutBase):
    """UNKEYED: any number of checkouts at once.

    Args:
        payments: the payment provider.
        mail: the mail server.
        retry: how long to wait for a provider that is out of order.
    """

    def __init__(self, payments: PaymentProvider, mail: MailServer, retry: RetryPolicy = PAYMENT_RETRY) -> None:
        self.payments = payments
        self.mail = mail
        self.retry = retry

    async def handle(self, ctx: UnkeyedContext, request: CheckoutFlowRequest) -> BoolValue:
        amount = PRICE * len(request.tickets)
        paid = await self.pay(ctx, request.user_id, amount)

        tickets = TicketServiceClient(ctx)
        for ticket_id in request.tickets:
            ticket = Ticket(ticket_id=ticket_id, user_id=request.user_id)
            if paid:
                tickets.mark_as_sold.in_background(ticket)
            else:
                tickets.unreserve.in_background(ticket)
        if paid:
            BoxOfficeClient(ctx).record.in_background(Sale(tickets=request.tickets, amount=amount))

        outcome = f"You bought {', '.join(request.tickets)}." if paid else "Your payment was declined."
        await ctx.run("send mail", partial(self.mail.send, request.user_id, outcome))
        return BoolValue(value=paid)

    async def pay(self, ctx: UnkeyedContext, user: str, amount: int) -> bool:
        key = await ctx.run("choose payment key", new_payment_key)
        confirmation = ctx.awakeable(PaymentConfirmation)
        charge = partial(self.payments.charge, key, user, amount, confirmation.id)
        status = await ctx.run("charge", charge, retry=self.retry)
        if status != "pending":
            return status == "charged"
        try:
            answer = await confirmation.or_timeout(CONFIRM_WITHIN)
        except TerminalError as error:  # rejected, or too late
            ctx.logger.info("payment %s: %s", key, error.message)
        else:
            if answer.approved:
                return True
        await ctx.run("void", partial(self.payments.void, key))
        return False


class BoxOffice(BoxOfficeBase):
    """SINGLETON: one counter for the whole shop, which sees one sale at a time."""

    async def record(self, ctx: SingletonContext, request: Sale) -> None:
        totals = await self.totals(ctx)
        totals.sales += 1
        totals.tickets += len(request.tickets)
        totals.amount += request.amount
        ctx.set("totals", totals)

    async def totals(self, ctx: SingletonContext) -> BoxOfficeTotals:
        return await ctx.get("totals", BoxOfficeTotals) or BoxOfficeTotals()


def new_payment_key() -> str:
    """Another one each time: that is why it is a side effect, whose first result counts."""
    return str(uuid.uuid4())


def reserved_for(ctx: KeyedContext) -> timedelta:
    """From the header, where there is one. Headers are recorded with the call, so a replay sees the same."""
    text = ctx.headers.get("reserve-seconds")
    if text is None:
        return RESERVED_FOR
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        raise TerminalError(f"header reserve-seconds: '{text}' is no number", Code.INVALID_ARGUMENT) from None


def is_expired(item: Cart.Item, request: ExpireTicketRequest) -> bool:
    """Whether the request means this reservation, and not a later one of the same ticket."""
    if item.ticket_id != request.ticket_id:
        return False
    return not request.HasField("reserved_at") or item.reserved_at == request.reserved_at


def save(ctx: KeyedContext, cart: Cart) -> None:
    """Keeps the cart; an empty one is no state at all."""
    if cart.items:
        ctx.set("cart", cart)
    else:
        ctx.clear("cart")
