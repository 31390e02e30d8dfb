"""The program order of a connection's calls.

A connection sends side by side on several sockets, so that its requests can overtake one another. It numbers them, and the ingress takes
them in that order: everything begins in the order in which it was made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

__all__ = ["ORDER", "Turn", "Turns"]

ORDER = "x-restate-order"
"""Request header `TOKEN/NUMBER`: the place of a call among those of one connection, counted from 0."""

# A number that never comes (its request was lost on the way) must not hold the others up for long.
_GAP_S = 2.0
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Connection:
    next: int = 0
    passed: set[int] = field(default_factory=set)
    waiting: dict[int, asyncio.Future[None]] = field(default_factory=dict)

    def passes(self, place: int) -> None:
        if place >= self.next:
            self.passed.add(place)
            self._advance(self.next)

    def close_gap(self) -> None:
        """What comes late is taken as it comes."""
        self._advance(min(self.waiting))

    def _advance(self, place: int) -> None:
        while place in self.passed:
            place += 1
        self.next = place
        self.passed = {later for later in self.passed if later > place}
        waiter = self.waiting.get(place)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Turn:
    """The place of one call. Leaving the block passes the turn on, whatever became of the call."""

    def __init__(self, connection: _Connection, place: int) -> None:
        self._connection = connection
        self._place = place

    async def wait(self) -> None:
        """Returns once the calls before this one have passed."""
        connection, place = self._connection, self._place
        while place > connection.next:
            waiter = connection.waiting[place] = asyncio.get_running_loop().create_future()
            try:
                done, _ = await asyncio.wait((waiter,), timeout=_GAP_S)
                if not done:
                    connection.close_gap()
            finally:
                del connection.waiting[place]

    async def __aenter__(self) -> Turn:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connection.passes(self._place)


class Turns:
    """Whose turn it is, for each connection."""

    def __init__(self) -> None:
        self._connections: OrderedDict[str, _Connection] = OrderedDict()

    def turn(self, header: str) -> Turn:
        """The place that a header gives. One of another form has no place in any order, and need not wait."""
        token, _, number = header.partition("/")
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            return Turn(_Connection(), 0)
        connection = self._connections.setdefault(token, _Connection())
        self._connections.move_to_end(token)
        if len(self._connections) > _REMEMBERED:
            self._connections.popitem(last=False)
        return Turn(connection, int(number))
