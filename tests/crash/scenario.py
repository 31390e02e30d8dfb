"""The tour as one serial client drives it: every call has an idempotency key, so that it can be driven again from its beginning.

The oracle lies outside the runtime: what the client was told, and what the payment provider and the mail server wrote down.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from outside import MailServer, PaymentProvider
from services import BoxOffice, Checkout, TicketService, UserSession

from restate_runtime import App, Caller, RetryPolicy
from tour.v1.tour_pb2 import CheckoutRequest, PaymentConfirmation, ReserveTicket
from tour.v1.tour_restate import BoxOfficeClient, UserSessionClient

SERVICES = tuple(f"tour.v1.{name}" for name in ("UserSession", "TicketService", "Checkout", "BoxOffice"))
QUICK_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=40), max_interval=timedelta(milliseconds=40))
_POLL_S = 0.005

Row = Mapping[str, Any]


class Target(Caller, Protocol):
    """A runtime in process, or a connection."""

    async def resolve_awakeable(self, id: str, value: object) -> None: ...
    async def reject_awakeable(self, id: str, reason: str) -> None: ...


class Look(Protocol):
    """Reads what is committed."""

    async def invocations(self) -> Sequence[Row]: ...
    async def describe(self, id: str) -> Row: ...
    async def state(self, service: str) -> Sequence[Row]: ...


class InProcess:
    """Looks into a runtime in this process."""

    def __init__(self, runtime: Any) -> None:
        self._inspector = runtime.inspector

    async def invocations(self) -> Sequence[Row]:
        rows: Sequence[Row] = self._inspector.invocations(limit=10_000)
        return rows

    async def describe(self, id: str) -> Row:
        row: Row = self._inspector.describe(id)
        return row

    async def state(self, service: str) -> Sequence[Row]:
        rows: Sequence[Row] = self._inspector.state(service, None)
        return rows


def shop(payments: Any, mail: Any) -> App:
    """The shop with a payment provider that is asked again at once."""
    return App(UserSession(), TicketService(), Checkout(payments, mail, retry=QUICK_RETRY), BoxOffice())


@dataclass
class Scenario:
    """One run, from the first call to the last.

    Attributes:
        answers: what the client was told, by idempotency key.
        between: makes the run serial: nothing is under way when the next step begins, and this is called before it.
    """

    target: Target
    look: Look
    outside: Path
    answers: dict[str, str] = field(default_factory=dict)
    between: Callable[[], None] | None = None

    async def run(self) -> None:
        """Drives everything, and returns once nothing is under way."""
        await self._add("ada", "seat-1")
        await self._add("bob", "seat-1")
        await self._add("bob", "seat-2", seconds="0.1")
        await self._until(self._expired)
        await self._settled()
        await self._add("bob", "seat-2", again="again/")
        await self._checkout("ada")
        await self._checkout("ada", again="again/")
        for seat in ("seat-3", "seat-4", "seat-5"):
            await self._add("carol", seat)
        await self._confirmed_checkout("carol", lambda id: self.target.resolve_awakeable(id, PaymentConfirmation(approved=True)))
        for seat in ("seat-6", "seat-7", "seat-8"):
            await self._add("dave", seat)
        await self._confirmed_checkout("dave", lambda id: self.target.reject_awakeable(id, "not me"))
        await self._add("broke", "seat-9")
        await self._checkout("broke")
        await self._step("totals", BoxOfficeClient(self.target).totals(idempotency_key="totals"))
        await self._until(self._quiet)

    @property
    def _users(self) -> UserSessionClient:
        return UserSessionClient(self.target)

    async def _add(self, user: str, seat: str, *, seconds: str | None = None, again: str = "") -> None:
        headers = None if seconds is None else {"reserve-seconds": seconds}
        key = f"{again}{user} adds {seat}"
        await self._step(key, self._users.add_ticket(ReserveTicket(user_id=user, ticket_id=seat), idempotency_key=key, headers=headers))

    async def _checkout(self, user: str, *, again: str = "") -> None:
        key = f"{again}{user} checks out"
        await self._step(key, self._users.checkout(CheckoutRequest(user_id=user), idempotency_key=key))

    async def _confirmed_checkout(self, user: str, confirm: Callable[[str], Awaitable[None]]) -> None:
        key = f"{user} checks out"
        handle = self._users.checkout.in_background(CheckoutRequest(user_id=user), idempotency_key=key)
        self._told(f"{key}: id", await handle.invocation_id())
        payment = await self._until(partial(self._pending, user))
        await confirm(payment["callback"])
        self._told(f"{key}: confirmation", "taken")
        await self._step(key, handle.result())

    async def _step(self, key: str, call: Awaitable[Message]) -> None:
        answer = await call
        self._told(key, MessageToJson(answer, indent=None))
        await self._settled()

    def _told(self, key: str, answer: str) -> None:
        before = self.answers.setdefault(key, answer)
        assert before == answer, f"{key}: {before} was acknowledged, and now {answer}"

    async def _settled(self) -> None:
        # After a crash a later step may be under way when an earlier one is driven again.
        if self.between is not None:
            await self._until(self._quiet)
            self.between()

    async def _quiet(self, rows: Sequence[Row]) -> bool:
        return all(row["status"] in ("completed", "scheduled") for row in rows)

    async def _expired(self, rows: Sequence[Row]) -> bool:
        return any(row["target"] == "tour.v1.TicketService/Unreserve of 'seat-2'" and row["status"] == "completed" for row in rows)

    async def _pending(self, user: str, rows: Sequence[Row]) -> Row | None:
        """The user's payment, once it is pending and every checkout that is under way waits for its customer, which its timer shows."""
        for row in rows:
            if row["target"] == "tour.v1.Checkout/Handle" and row["status"] != "completed":
                described = await self.look.describe(row["id"])
                if not any(what.startswith("sleep") for what in described["waiting_for"]):
                    return None
        payments = PaymentProvider(self.outside).payments.lines()
        return next((payment for payment in payments if payment.get("user") == user and payment["status"] == "pending"), None)

    async def _until(self, condition: Callable[[Sequence[Row]], Awaitable[Any]]) -> Any:
        while True:
            # Asked each time, so that a runtime that has died is noticed.
            found = await condition(await self.look.invocations())
            if found:
                return found
            await asyncio.sleep(_POLL_S)


@dataclass(frozen=True)
class End:
    """Where a run ends, without what differs from run to run: times, ids, payment keys.

    Attributes:
        answers: what the client was told.
        state: every state value.
        invocations: how many there are of each target, idempotency key, caller, status and result.
        payment_keys: how many the provider has seen.
        payments: what the provider wrote down.
        mails: what the mail server sent at least once.
    """

    answers: Mapping[str, str]
    state: Mapping[str, Any]
    invocations: Mapping[tuple[Any, ...], int]
    payment_keys: int
    payments: Sequence[tuple[Any, ...]]
    mails: frozenset[tuple[str, str]]


async def end_of(scenario: Scenario) -> End:
    """Takes the end of a run."""
    state = {}
    for service in SERVICES:
        for row in await scenario.look.state(service):
            state[f"{service}/{row['service_key']}/{row['key']}"] = _without_times(row["value_json"])
    invocations = collections.Counter(
        (row["target"], row["idempotency_key"], row["invoked_by"], row["status"], row["completion_result"])
        for row in await scenario.look.invocations()
    )
    provider = PaymentProvider(scenario.outside)
    payments = provider.payments.lines()
    users = {payment["key"]: payment["user"] for payment in payments if "user" in payment}
    return End(
        {key: answer for key, answer in scenario.answers.items() if not key.endswith(": id")},
        state,
        invocations,
        len({request["key"] for request in provider.requests.lines()}),
        sorted((users[payment["key"]], payment["status"], payment.get("cents")) for payment in payments if payment["status"]),
        frozenset((mail["to"], mail["text"]) for mail in MailServer(scenario.outside).mails.lines()),
    )


def _without_times(value: Any) -> Any:
    match value:
        case {**fields}:
            return {name: _without_times(field) for name, field in fields.items() if name != "reservedAt"}
        case [*items]:
            return [_without_times(item) for item in items]
        case _:
            return value
