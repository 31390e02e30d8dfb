"""Requests to whichever node of a cluster answers."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
from yarl import URL

from ...errors import RuntimeFault
from ...retry import RetryPolicy
from ...urls import split_url, why_unreached

__all__ = ["Answer", "Nodes", "node_urls"]

_PATIENCE = RetryPolicy(max_interval=timedelta(seconds=1), max_duration=timedelta(seconds=10))
"""A cluster may have no leader for a while: electing one took Restate 1.7 about three seconds."""

_AGREEMENT = RetryPolicy(max_interval=timedelta(seconds=1), max_duration=timedelta(seconds=20))
"""Until every node of Restate 1.7 knew of a change whose node was killed right after it, up to twelve seconds went by."""

_REFUSED_S = 0.5
"""A node that is not there refuses a connection sooner."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; `None` where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def message(self) -> str:
        """What an error response says."""
        error = self.json()
        message = error.get("message") if isinstance(error, dict) else None
        return message if isinstance(message, str) else self.body.decode(errors="replace")[:500] or f"HTTP status {self.status}"


def node_urls(urls: Sequence[str], option: str) -> list[str]:
    """The URLs without a slash at their ends.

    Args:
        option: of the command line, that they come from.

    Raises:
        RuntimeFault: RT0002, one of them is no URL.
    """
    for url in urls:
        try:
            parts = split_url(url)
        except ValueError as error:
            raise RuntimeFault("RT0002", f"{option}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise RuntimeFault("RT0002", f"{option}: '{url}' is no URL: write one such as http://127.0.0.1:8080")
    return [url.rstrip("/") for url in urls]


class _Unreached(ConnectionError):
    """Nothing was sent."""


class Nodes:
    """The same port of every node.

    Args:
        session: makes the requests.
        urls: one for each node that is known, as `node_urls` gives them.
        option: of the command line, that they come from.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], option: str) -> None:
        self._session = session
        self._urls = list(urls)
        self._option = option
        self._first = 0

    @property
    def name(self) -> str:
        """The nodes, for people."""
        return ", ".join(self._urls)

    async def request(
        self,
        verb: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        *,
        busy: Callable[[Answer], bool],
        timeout_s: float | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """An answer of the first node that has one; the next request begins with that node.

        Where the cluster has no leader at the moment, the request is made again for some seconds.

        Args:
            busy: whether an answer says that the cluster cannot serve at the moment.
            timeout_s: for one node.
            repeatable: whether it may arrive twice. Where it may not, it is sent once, and only to a node that can be reached.

        Raises:
            ConnectionError: no node can be reached; the connection broke, in the end.
        """
        loop = asyncio.get_running_loop()
        failed_s, failures, sent = 0.0, 0, False
        while True:
            answer: Answer | None = None
            problem: ConnectionError | None = None
            for number, url in self._in_turn():
                try:
                    answer = await self._once(verb, url, path, body, headers, timeout_s)
                except _Unreached as error:
                    problem = problem or error
                    continue
                except ConnectionError as error:
                    if not repeatable:
                        raise
                    problem, sent = error, True
                    continue
                self._first, sent = number, True
                if not (repeatable and busy(answer)):
                    return answer
            if not failures:
                failed_s = loop.time()  # it may have waited for a result before that
            failures += 1
            wait_ms = _PATIENCE.delay_ms(failures, round((loop.time() - failed_s) * 1000))
            # A cluster that was never there is told at once: more likely the URL is wrong.
            if wait_ms is None or not sent:
                if answer is not None:
                    return answer
                assert problem is not None, "a node that does not answer has a problem"
                raise problem
            await asyncio.sleep(wait_ms / 1000)

    async def agree(self, path: str, headers: Mapping[str, str], agrees: Callable[[Answer], bool], *, timeout_s: float) -> None:
        """Asks the nodes until all agree that answer; the next request begins with one of these.

        Args:
            agrees: whether a node's answer is the one that is waited for.
            timeout_s: for one node; one that is there and says nothing takes that long.

        Raises:
            ConnectionError: some do not, after many seconds.
        """
        loop = asyncio.get_running_loop()
        began, failures = loop.time(), 0
        while True:
            asked = (self._once("GET", url, path, None, headers, timeout_s) for url in self._urls)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            agreed = {number: agrees(answer) for number, answer in enumerate(answers) if isinstance(answer, Answer)}
            if all(agreed.values()):
                self._first = next(iter(agreed), self._first)  # one that was not there may come back, and not know of it
                return
            failures += 1
            wait_ms = _AGREEMENT.delay_ms(failures, round((loop.time() - began) * 1000))
            if wait_ms is None:
                late = ", ".join(self._urls[number] for number, knows in agreed.items() if not knows)
                raise ConnectionError(
                    f"the cluster has taken the change, but does not know of it yet at {late} ({self._option}): look again"
                )
            await asyncio.sleep(wait_ms / 1000)

    def _in_turn(self) -> Iterator[tuple[int, str]]:
        first = self._first
        for number in range(len(self._urls)):
            at = (first + number) % len(self._urls)
            yield at, self._urls[at]

    async def _once(
        self, verb: str, base: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, timeout_s: float | None
    ) -> Answer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                # As it is: a key in the path may hold what is reserved.
                url = URL(base + path, encoded=True)
                async with self._session.request(verb, url, data=body, headers=headers, allow_redirects=False) as response:
                    return Answer(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorError as error:
            reason = why_unreached(error)
            if error.errno == errno.ECONNREFUSED and loop.time() - began > _REFUSED_S:
                raise self._broken(base, reason) from None  # aiohttp made the request a second time, and says how that ended
            raise _Unreached(f"no Restate cluster can be reached at {self.name} ({self._option}): {reason}") from None
        except aiohttp.ConnectionTimeoutError:
            raise _Unreached(f"no Restate cluster can be reached at {self.name} ({self._option}): connecting takes too long") from None
        except TimeoutError:
            raise ConnectionError(f"the Restate cluster at {base} ({self._option}) does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(base, str(error) or type(error).__name__) from None

    def _broken(self, base: str, reason: str) -> ConnectionError:
        return ConnectionError(
            f"the connection to the Restate cluster at {base} ({self._option}) broke before there was an answer ({reason}); "
            "a retry under the same idempotency key is safe"
        )
