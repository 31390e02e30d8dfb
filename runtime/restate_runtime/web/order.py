"""The program order of a connection's calls.

A connection sends side by side on several sockets, so that its requests can overtake one another. It numbers them (`Numbers`), and the
ingress takes them in that order (`Turns`): everything begins in the order in which it was made.

With its number each request says which call of the connection is the oldest one still under way. So an ingress waits for none that has
ended, wherever that was, and one that has just been started takes up the order where it finds it.

An ingress behind a balancer without session affinity gets some of the numbers only, and can keep no order. It finds that out by waiting for
one in vain, and does so once for a connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

__all__ = ["ORDER", "Numbers", "Turn", "Turns"]

ORDER = "x-restate-order"
"""Request header `TOKEN/NUMBER/OLDEST`: the place of a call among those of one connection, counted from 0, and that of the oldest call
under way when it was made."""

_log = logging.getLogger("restate_runtime.http")
_HEADER = re.compile(r"([A-Za-z0-9_-]{1,64})/([0-9]{1,15})/([0-9]{1,15})")
_END = 10**15  # lies behind every number

# A number that never comes (its request was lost on the way) must not hold the others up for long.
_GAP_S = 2.0
_REMEMBERED = 10_000
_AHEAD = 1_000


class Numbers:
    """The numbers that a connection gives its calls."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(12)
        self._next = 0
        self._under_way: OrderedDict[int, None] = OrderedDict()  # its first is found at once, however many have ended before

    def begin(self) -> tuple[int, str]:
        """Numbers a call that is being made, and says so as `ORDER`."""
        number = self._next
        self._next += 1
        self._under_way[number] = None
        return number, f"{self._token}/{number}/{next(iter(self._under_way))}"

    def end(self, number: int) -> None:
        """There is an answer, or will be none: calls made from now on have nothing to wait for there."""
        del self._under_way[number]


@dataclass(slots=True)
class _Order:
    """One connection's order, as far as this process knows it.

    Attributes:
        next: the place whose turn it is; all before it have passed.
        arrived: places whose requests are here and have not passed.
        passed: places that have passed before it was their turn.
        waiting: places whose calls wait, and what tells them that it is their turn.
        watched: somebody looks whether the order moves on.
    """

    next: int = 0
    arrived: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    waiting: dict[int, asyncio.Event] = field(default_factory=dict)
    watched: bool = False

    def passes(self, place: int) -> None:
        self.arrived.discard(place)
        if place < self.next:
            return
        self.passed.add(place)
        self._advance()
        if len(self.passed) > _AHEAD:  # more than a connection leaves behind: nobody makes this process remember them all
            self._give_up()

    async def reach(self, place: int) -> None:
        """Returns once it is a place's turn. A proxy may have sent a request twice: both wait for the same event."""
        if place > self.next:
            reached = self.waiting.setdefault(place, asyncio.Event())
            if not self.watched:
                self._watch()
            await reached.wait()

    def skip_to(self, place: int) -> None:
        """Waits for nothing before a place. What comes late is taken as it comes."""
        if place <= self.next:
            return
        self.next = place
        self.passed = {later for later in self.passed if later >= place}
        for early in sorted(waiting for waiting in self.waiting if waiting <= place):
            self.waiting.pop(early).set()
        self._advance()

    def _advance(self) -> None:
        while self.next in self.passed:
            self.passed.discard(self.next)
            self.next += 1
            reached = self.waiting.pop(self.next, None)
            if reached is not None:
                reached.set()

    def _watch(self) -> None:
        self.watched = bool(self.waiting)
        if self.watched:
            asyncio.get_running_loop().call_later(_GAP_S, self._look, self.next)

    def _look(self, seen: int) -> None:
        """Ends a wait that leads nowhere: nothing has moved since it was at `seen`."""
        if self.waiting and self.next == seen:
            if self.next in self.arrived:  # slow, a large body perhaps, but not lost: the order goes on behind it
                self.skip_to(min(self.waiting))
            else:
                self._give_up()
        self._watch()

    def _give_up(self) -> None:
        _log.warning("calls of a connection do not all arrive here, and are taken as they come: several gateways need session affinity")
        self.skip_to(_END)


class Turn:
    """The place of one call. Leaving the block passes the turn on, whatever became of the call; doing so again changes nothing."""

    __slots__ = ("_order", "_place")

    def __init__(self, order: _Order, place: int) -> None:
        self._order = order
        self._place = place

    async def wait(self) -> None:
        """Returns once the calls before this one have passed."""
        await self._order.reach(self._place)

    def __enter__(self) -> Turn:
        self._order.arrived.add(self._place)
        return self

    def __exit__(self, *_: object) -> None:
        self._order.passes(self._place)


_UNORDERED = Turn(_Order(next=_END), 0)


class Turns:
    """Whose turn it is, for each connection."""

    def __init__(self) -> None:
        self._orders: OrderedDict[str, _Order] = OrderedDict()

    def turn(self, header: str | None) -> Turn:
        """The place that a header gives. Without one, or with one of another form, a call has no place in any order and need not wait."""
        given = None if header is None else _HEADER.fullmatch(header)
        if given is None:
            return _UNORDERED
        token, place, oldest = given.groups()
        order = self._orders.get(token)
        if order is None:
            order = self._orders[token] = _Order()
            if len(self._orders) > _REMEMBERED:
                self._orders.popitem(last=False)
        else:
            self._orders.move_to_end(token)
        order.skip_to(int(oldest))
        return Turn(order, int(place))
