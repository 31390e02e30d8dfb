"""Many clients on few keys, a runtime that is killed meanwhile, and an oracle outside it.

Each client writes down when it begins a call and when it is told that the call was taken; the handlers write down what they execute.
Every call has an idempotency key, and a client repeats it until it is told.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sample.v1.sample_pb2 import AddRequest, CounterKey
from sample.v1.sample_restate import CounterClient

from restate_runtime import Connection, connect

__all__ = ["Clients", "check"]

_AGAIN_S = 0.1


@dataclass
class Sent:
    """One call, as its client saw it; `begun` and `acknowledged` are ticks of one clock of all clients."""

    name: str
    sender: int
    number: int
    key: str
    amount: int
    begun: int
    acknowledged: int
    answer: int | None


class Clients:
    """The clients of one run.

    Args:
        url: the ingress, which stays the same through all restarts.
        log: where what the clients saw is written down.
    """

    def __init__(self, url: str, log: Path, *, clients: int, keys: int, seed: int) -> None:
        self._url = url
        self._log = log.open("a")
        self._clock = itertools.count()
        self._clients = clients
        self._keys = [f"key-{number}" for number in range(keys)]
        self._seed = seed
        self.acknowledged = 0

    async def run(self, more: Callable[[int], bool]) -> dict[str, int]:
        """Sends until `more`, which gets the number of a client's next call, says no.

        Returns the sums, once every call has been executed.
        """
        await asyncio.gather(*(self._send(sender, more) for sender in range(self._clients)))
        self._log.close()
        async with connect(self._url) as connection:
            counters = CounterClient(connection)
            # Takes its turn behind every addition.
            numbers = await asyncio.gather(*(counters.get(CounterKey(name=key)) for key in self._keys))
        return {key: number.value for key, number in zip(self._keys, numbers, strict=True)}

    async def _send(self, sender: int, more: Callable[[int], bool]) -> None:
        chance = random.Random(f"{self._seed}/{sender}")
        async with connect(self._url) as connection:
            for number in itertools.count():
                if not more(number):
                    return
                key, amount, background = chance.choice(self._keys), chance.randrange(1, 100), chance.random() < 0.5
                begun = next(self._clock)
                answer = await self._told(connection, f"{sender}/{number}", key, amount, background)
                self.acknowledged += 1
                fields = (sender, number, key, amount, begun, next(self._clock), "-" if answer is None else answer)
                self._log.write(" ".join(map(str, fields)) + "\n")
                self._log.flush()

    async def _told(self, connection: Connection, name: str, key: str, amount: int, background: bool) -> int | None:
        add = CounterClient(connection).add
        request, headers = AddRequest(name=key, amount=amount), {"call": name}
        while True:
            try:
                if background:
                    await add.in_background(request, idempotency_key=name, headers=headers)
                    return None
                return (await add(request, idempotency_key=name, headers=headers)).value
            except ConnectionError:
                await asyncio.sleep(_AGAIN_S)


def check(sums: dict[str, int], log: Path, executed: Path) -> None:
    """Compares what the clients saw with what was executed."""
    calls = {call.name: call for call in map(_sent, log.read_text().splitlines())}
    order: dict[str, list[Sent]] = defaultdict(list)
    for line in executed.read_text().splitlines():
        key, name = line.split()
        if not order[key] or order[key][-1].name != name:  # a side effect that a crash cut off runs again before anything else of its key
            order[key].append(calls[name])
    assert sorted(call.name for key in order for call in order[key]) == sorted(calls), "each call is executed once"

    for key, execution in order.items():
        total = last_begun = 0
        numbers: dict[int, int] = {}
        for call in execution:
            assert call.key == key
            total += call.amount
            assert call.answer in (None, total), f"{call} was told another sum than {total}"
            assert call.acknowledged > last_begun, f"{call} was acknowledged before an earlier one had begun"
            last_begun = max(last_begun, call.begun)
            assert numbers.get(call.sender, -1) < call.number, f"{call} overtook another of its sender"
            numbers[call.sender] = call.number
        assert sums[key] == total


def _sent(line: str) -> Sent:
    *numbers, answer = line.split()
    sender, number, key, amount, begun, acknowledged = numbers
    told = None if answer == "-" else int(answer)
    return Sent(f"{sender}/{number}", int(sender), int(number), key, int(amount), int(begun), int(acknowledged), told)
