"""The ticket shop, piece by piece, in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import services
from outside import MailServer, PaymentProvider
from services import BoxOffice, Checkout, TicketService, UserSession

from restate_runtime import App, Code, RetryPolicy, Runtime, TerminalError
from tour.v1.tour_pb2 import BoxOfficeTotals, CheckoutRequest, ExpireTicketRequest, PaymentConfirmation, ReserveTicket, Ticket
from tour.v1.tour_restate import BoxOfficeClient, TicketServiceClient, UserSessionClient

QUICK_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=1))


@dataclass
class Shop:
    """A running shop, and what its users do."""

    runtime: Runtime
    payments: PaymentProvider
    mail: MailServer

    async def add(self, user: str, ticket: str, **headers: str) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await UserSessionClient(self.runtime).add_ticket(ReserveTicket(user_id=user, ticket_id=ticket), headers=named)
        return answer.value

    async def checkout(self, user: str) -> bool:
        return (await UserSessionClient(self.runtime).checkout(CheckoutRequest(user_id=user))).value

    async def reserve(self, ticket: str) -> bool:
        return (await TicketServiceClient(self.runtime).reserve(Ticket(ticket_id=ticket, user_id="test"))).value

    async def totals(self) -> BoxOfficeTotals:
        return await BoxOfficeClient(self.runtime).totals()

    def cart(self, user: str) -> list[str]:
        for row in self.runtime.inspector.state("tour.v1.UserSession", user):
            return [item["ticketId"] for item in row["value_json"]["items"]]
        return []

    def ticket(self, ticket: str) -> str:
        for row in self.runtime.inspector.state("tour.v1.TicketService", ticket):
            return str(row["value_json"]["status"])
        return "AVAILABLE"

    def statuses(self) -> list[str]:
        return [payment["status"] for payment in self.payments.payments.lines()]

    async def pending(self) -> str:
        """The awakeable of the payment that waits for its confirmation."""
        await until(lambda: "pending" in self.statuses())
        return str(self.payments.payments.lines()[-1]["callback"])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
async def shop(tmp_path: Path, runtime_options: dict[str, Any]) -> AsyncIterator[Shop]:
    payments, mail = PaymentProvider(tmp_path), MailServer(tmp_path)
    app = App(UserSession(), TicketService(), Checkout(payments, mail, retry=QUICK_RETRY), BoxOffice())
    async with app.start(data_dir=tmp_path / "data", **runtime_options) as runtime:
        yield Shop(runtime, payments, mail)


@pytest.mark.rule("R42")
async def test_two_users_cannot_have_the_same_ticket(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.add(f"user-{number}", "seat-1") for number in range(10)))
    assert sorted(answers) == [False] * 9 + [True]


async def test_a_ticket_that_is_not_bought_goes_back_on_sale(shop: Shop) -> None:
    assert await shop.add("ada", "seat-1", reserve_seconds="0.1")
    assert await shop.add("ada", "seat-2")
    await until(lambda: shop.ticket("seat-1") == "AVAILABLE")
    assert shop.cart("ada") == ["seat-2"]
    assert await shop.add("bob", "seat-1")


async def test_a_reservation_does_not_expire_for_an_earlier_one(shop: Shop) -> None:
    users = UserSessionClient(shop.runtime)
    assert await shop.add("ada", "seat-1")
    earlier = ExpireTicketRequest(user_id="ada", ticket_id="seat-1")
    earlier.reserved_at.FromSeconds(1)
    await users.expire_ticket(earlier)
    assert shop.cart("ada") == ["seat-1"]
    await users.expire_ticket(ExpireTicketRequest(user_id="ada", ticket_id="seat-1"))
    assert shop.cart("ada") == []


async def test_a_bought_ticket_does_not_expire(shop: Shop) -> None:
    assert await shop.add("ada", "seat-1")
    assert await shop.checkout("ada")
    await UserSessionClient(shop.runtime).expire_ticket(ExpireTicketRequest(user_id="ada", ticket_id="seat-1"))
    assert not await shop.reserve("seat-1")
    assert shop.ticket("seat-1") == "SOLD"


@pytest.mark.rule("R12")
async def test_a_payment_that_fails_twice_is_charged_once(shop: Shop) -> None:
    assert await shop.add("ada", "seat-1")
    assert await shop.checkout("ada")
    assert shop.statuses() == ["charged"]
    (payment,) = shop.payments.payments.lines()
    assert [request["key"] for request in shop.payments.requests.lines()] == [payment["key"]] * 3
    assert [mail["to"] for mail in shop.mail.mails.lines()] == ["ada"]
    assert shop.cart("ada") == []


async def test_an_empty_cart_cannot_be_bought(shop: Shop) -> None:
    assert not await shop.checkout("ada")
    assert shop.payments.requests.lines() == []


async def test_a_declined_payment_puts_the_tickets_back_on_sale(shop: Shop) -> None:
    assert await shop.add("broke", "seat-1")
    assert not await shop.checkout("broke")
    assert shop.statuses() == ["declined"]
    assert shop.cart("broke") == []
    assert await shop.reserve("seat-1")


async def three_seats(shop: Shop) -> Awaitable[bool]:
    """A checkout that has to be confirmed."""
    for seat in ("seat-1", "seat-2", "seat-3"):
        assert await shop.add("ada", seat)
    return asyncio.ensure_future(shop.checkout("ada"))


async def test_a_payment_that_is_confirmed(shop: Shop) -> None:
    checkout = await three_seats(shop)
    await shop.runtime.resolve_awakeable(await shop.pending(), PaymentConfirmation(approved=True))
    assert await checkout
    assert not await shop.reserve("seat-2")
    totals = await shop.totals()
    assert (totals.sales, totals.tickets, totals.amount) == (1, 3, 3 * services.PRICE)


@pytest.mark.parametrize("answer", ["rejected", "not approved"])
async def test_a_payment_that_is_not_confirmed(shop: Shop, answer: str) -> None:
    checkout = await three_seats(shop)
    callback = await shop.pending()
    if answer == "rejected":
        await shop.runtime.reject_awakeable(callback, "not me")
    else:
        await shop.runtime.resolve_awakeable(callback, PaymentConfirmation(approved=False))
    assert not await checkout
    assert shop.statuses() == ["pending", "void"]
    assert await shop.reserve("seat-2")
    assert (await shop.totals()).sales == 0


async def test_a_payment_that_nobody_confirms(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CONFIRM_WITHIN", timedelta(milliseconds=50))
    assert not await (await three_seats(shop))
    assert shop.statuses() == ["pending", "void"]
    assert await shop.reserve("seat-2")


async def test_the_box_office_counts_every_sale(shop: Shop) -> None:
    users = [f"user-{number}" for number in range(20)]
    assert all(await asyncio.gather(*(shop.add(user, f"seat-{user}") for user in users)))
    assert all(await asyncio.gather(*map(shop.checkout, users)))
    totals = await shop.totals()
    assert (totals.sales, totals.tickets, totals.amount) == (20, 20, 20 * services.PRICE)
    assert len({payment["key"] for payment in shop.payments.payments.lines()}) == 20


async def test_a_header_that_is_no_number(shop: Shop) -> None:
    with pytest.raises(TerminalError, match="reserve-seconds") as caught:
        await shop.add("ada", "seat-1", reserve_seconds="soon")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await shop.reserve("seat-1")
