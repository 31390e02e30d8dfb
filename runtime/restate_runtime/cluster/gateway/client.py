"""HTTP with a Restate cluster: its ingress, its admin API, its SQL."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from ...errors import Code, TerminalError
from ...statuses import code_of
from .nodes import Answer, Nodes, node_urls

__all__ = ["Cluster", "literal", "part"]

_CONNECT_TIMEOUT_S = 10
_ADMIN_TIMEOUT_S = 30
_BUSY = (502, 503, 504)
_URI_TOO_LONG = 414
_NO_DEFAULTS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_JSON = {"content-type": "application/json", "accept": "application/json"}
_REFUSALS = {
    400: Code.INVALID_ARGUMENT,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.FAILED_PRECONDITION,
    425: Code.FAILED_PRECONDITION,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
}


# In seconds, the last in milliseconds: a machine that is gone without a word, as one without power, is noticed within half a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


def _watched_socket(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not everywhere
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class Cluster:
    """A cluster by the addresses of its nodes. Made and closed in an event loop.

    Args:
        ingress: URLs of its nodes' ingresses.
        admin: URLs of their admin APIs.

    Raises:
        RuntimeFault: RT0002, one of them is no URL.
    """

    def __init__(self, ingress: Sequence[str], admin: Sequence[str]) -> None:
        ingress, admin = node_urls(ingress, "--cluster"), node_urls(admin, "--cluster-admin")
        # A result that is waited for holds a connection: there is no bound on their number.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_watched_socket),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            skip_auto_headers=_NO_DEFAULTS,
            auto_decompress=True,
        )
        self._ingress = Nodes(self._session, ingress, "--cluster")
        self._admin = Nodes(self._session, admin, "--cluster-admin")

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def ingress(
        self, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *, repeatable: bool = True
    ) -> Answer:
        """A request at the ingress; an answer below 400, or 470.

        Args:
            repeatable: whether it may arrive twice; then it is made again while the cluster has no leader.

        Raises:
            TerminalError: the invocation failed, or the request was refused.
            ConnectionError: nothing answers, or the cluster cannot serve at the moment.
        """
        answer = await self._ingress.request(verb, path, body, headers, busy=_has_no_leader, repeatable=repeatable)
        if answer.status < 400 or answer.status == 470:
            return answer
        error = answer.json()
        if answer.status == _URI_TOO_LONG:
            raise TerminalError(
                "the key is too long: on a Restate cluster it is part of a URL, which has 65,534 bytes", Code.INVALID_ARGUMENT
            )
        if not isinstance(error, dict) or "message" not in error:
            raise ConnectionError(f"{self._ingress.name} (--cluster) answered {answer.status}, but not as a Restate cluster does")
        if _has_no_leader(answer):
            raise ConnectionError(f"the cluster at {self._ingress.name} cannot serve at the moment: {answer.message}")
        metadata = error.get("metadata")
        code = code_of(int(error.get("code", answer.status)), answer.message, metadata if isinstance(metadata, dict) else None)
        raise TerminalError(answer.message, code)

    async def ask_admin(self, verb: str, path: str, body: Any = None, *, busy: Container[int] = _BUSY, repeatable: bool = True) -> Answer:
        """A request at the admin API, whatever its status.

        Args:
            busy: statuses that say that the cluster cannot serve at the moment.
            repeatable: as for the ingress.

        Raises:
            ConnectionError: nothing answers.
        """
        data = None if body is None else json.dumps(body).encode()
        return await self._admin.request(
            verb, path, data, _JSON, busy=lambda answer: answer.status in busy, timeout_s=_ADMIN_TIMEOUT_S, repeatable=repeatable
        )

    async def admin(self, verb: str, path: str, body: Any = None) -> Any:
        """A request at the admin API; the JSON that it answers.

        Raises:
            TerminalError: it was refused.
            ConnectionError: nothing answers, or the cluster cannot serve at the moment.
        """
        answer = await self.ask_admin(verb, path, body)
        if answer.status < 400:
            return answer.json()
        raise self.refusal(answer)

    async def agree(self, path: str, agrees: Callable[[Answer], bool]) -> None:
        """Waits until all nodes know of a change: others than the one that made it go on as before for a moment.

        Args:
            path: of what has changed, at the admin API.
            agrees: whether a node's answer shows the change.

        Raises:
            ConnectionError: some do not, after many seconds.
        """
        await self._admin.agree(path, _JSON, agrees, timeout_s=_ADMIN_TIMEOUT_S)

    def refusal(self, answer: Answer) -> Exception:
        """The error that an answer of the admin API stands for."""
        if answer.status in _BUSY:
            return self._cannot_serve(answer)
        return TerminalError(answer.message, _REFUSALS.get(answer.status, Code.INTERNAL))

    def _cannot_serve(self, answer: Answer) -> ConnectionError:
        return ConnectionError(f"the cluster at {self._admin.name} cannot serve at the moment: {answer.message}")

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query; columns without a value are left out.

        Raises:
            TerminalError: the cluster does not know the tables.
            ConnectionError: nothing answers, or the cluster cannot serve at the moment.
        """
        busy = (500, *_BUSY)  # 500: a partition has no leader
        answer = await self.ask_admin("POST", "/query", {"query": sql}, busy=busy)
        if answer.status >= 400:
            raise self._cannot_serve(answer) if answer.status in busy else self.refusal(answer)
        found = answer.json()
        if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
            raise ConnectionError(f"{self._admin.name} (--cluster-admin) does not answer as a Restate cluster does")
        rows: list[dict[str, Any]] = found["rows"]
        return rows


def part(text: str) -> str:
    """One part of a path. Dots alone would be taken for a way up or down."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def literal(text: str) -> str:
    """A text in SQL."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _has_no_leader(answer: Answer) -> bool:
    if answer.status not in (429, 500, *_BUSY):
        return False
    error = answer.json()
    return isinstance(error, dict) and "message" in error and error.get("source", "ingress") == "ingress"
