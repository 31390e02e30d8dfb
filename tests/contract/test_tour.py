"""The ticket shop of the examples."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from outside import MailServer, PaymentProvider
from services import PRICE

from restate_runtime import Code, TerminalError
from tour.v1.tour_pb2 import CheckoutRequest, PaymentConfirmation, ReserveTicket, Ticket
from tour.v1.tour_restate import BoxOfficeClient, TicketServiceClient, UserSessionClient

from .engines import Outer, Running, check_times, until
from .services import OUTSIDE


class Shop:
    """What users do; users and seats are the test's own."""

    def __init__(self, running: Running, name: str) -> None:
        self.running = running
        self.name = name
        world = Path(os.environ[OUTSIDE])
        self.payments, self.mail = PaymentProvider(world), MailServer(world)

    @property
    def caller(self) -> Outer:
        return self.running.caller

    async def add(self, user: str, seat: str, **headers: str) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = ReserveTicket(user_id=f"{user}-{self.name}", ticket_id=f"{seat}-{self.name}")
        return (await UserSessionClient(self.caller).add_ticket(request, headers=named)).value

    async def checkout(self, user: str) -> bool:
        return (await UserSessionClient(self.caller).checkout(CheckoutRequest(user_id=f"{user}-{self.name}"))).value

    async def reserve(self, seat: str) -> bool:
        return (await TicketServiceClient(self.caller).reserve(Ticket(ticket_id=f"{seat}-{self.name}", user_id="test"))).value

    async def reserved(self, seat: str) -> None:
        """Waits until nobody holds it, and takes it."""
        while not await self.reserve(seat):
            await asyncio.sleep(0.02)

    def paid(self, user: str) -> list[dict[str, Any]]:
        """What the provider knows of a user's payments."""
        keys = {payment["key"] for payment in self.payments.payments.lines() if payment.get("user") == f"{user}-{self.name}"}
        return [payment for payment in self.payments.payments.lines() if payment["key"] in keys]

    def mails(self, user: str) -> int:
        return sum(mail["to"] == f"{user}-{self.name}" for mail in self.mail.mails.lines())

    async def pending(self, user: str) -> str:
        """The awakeable of the payment that waits for its confirmation."""
        await until(lambda: any(payment["status"] == "pending" for payment in self.paid(user)))
        return str(self.paid(user)[0]["callback"])


@pytest.fixture
def shop(running: Running, key: str) -> Shop:
    return Shop(running, key)


@pytest.mark.rule("R42")
async def test_two_users_cannot_have_the_same_ticket(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.add(f"user{number}", "seat") for number in range(10)))
    assert sorted(answers) == [False] * 9 + [True]


async def test_a_ticket_that_is_not_bought_goes_back_on_sale(shop: Shop) -> None:
    assert await shop.add("ada", "one", reserve_seconds="0.1")
    assert await shop.add("ada", "two")
    await shop.reserved("one")
    assert not await shop.reserve("two")


@pytest.mark.rule("R12")
@pytest.mark.rule("R41")
async def test_a_payment_that_fails_twice_is_charged_once(shop: Shop) -> None:
    assert await shop.add("ada", "one")
    assert await shop.checkout("ada")
    (payment,) = shop.paid("ada")
    assert payment["status"] == "charged"
    check_times(shop.running, [request["key"] for request in shop.payments.requests.lines()].count(payment["key"]), 3)
    check_times(shop.running, shop.mails("ada"), 1)
    assert not await shop.reserve("one")
    assert not await shop.checkout("ada")


async def test_a_declined_payment_puts_the_tickets_back_on_sale(shop: Shop) -> None:
    assert await shop.add("broke", "one")
    assert not await shop.checkout("broke")
    await shop.reserved("one")


async def three_seats(shop: Shop) -> Awaitable[bool]:
    """A checkout that has to be confirmed."""
    for seat in ("one", "two", "three"):
        assert await shop.add("ada", seat)
    return asyncio.ensure_future(shop.checkout("ada"))


@pytest.mark.smoke
@pytest.mark.rule("R34")
async def test_a_payment_that_is_confirmed(shop: Shop) -> None:
    before = (await BoxOfficeClient(shop.caller).totals()).amount
    checkout = await three_seats(shop)
    await shop.caller.resolve_awakeable(await shop.pending("ada"), PaymentConfirmation(approved=True))
    assert await checkout
    assert not await shop.reserve("two")
    while (await BoxOfficeClient(shop.caller).totals()).amount < before + 3 * PRICE:
        await asyncio.sleep(0.01)


@pytest.mark.rule("R34")
@pytest.mark.parametrize("answer", ["rejected", "not approved"])
async def test_a_payment_that_is_not_confirmed(shop: Shop, answer: str) -> None:
    checkout = await three_seats(shop)
    callback = await shop.pending("ada")
    if answer == "rejected":
        await shop.caller.reject_awakeable(callback, "not me")
    else:
        await shop.caller.resolve_awakeable(callback, PaymentConfirmation(approved=False))
    assert not await checkout
    assert [payment["status"] for payment in shop.paid("ada")] == ["pending", "void"]
    await shop.reserved("one")


@pytest.mark.rule("R40")
@pytest.mark.rule("R41")
async def test_a_checkout_goes_on_after_a_restart(shop: Shop) -> None:
    for seat in ("one", "two", "three"):
        assert await shop.add("ada", seat)
    handle = UserSessionClient(shop.caller).checkout.in_background(CheckoutRequest(user_id=f"ada-{shop.name}"))
    id = await handle.invocation_id()
    callback = await shop.pending("ada")
    await shop.running.restart()
    await shop.caller.resolve_awakeable(callback, PaymentConfirmation(approved=True))
    await shop.caller.invocation(id).result()
    assert [payment["status"] for payment in shop.paid("ada")] == ["pending"]
    check_times(shop.running, shop.mails("ada"), 1)


@pytest.mark.rule("R11")
async def test_a_header_that_is_no_number(shop: Shop) -> None:
    with pytest.raises(TerminalError, match="reserve-seconds") as caught:
        await shop.add("ada", "one", reserve_seconds="soon")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await shop.reserve("one")
