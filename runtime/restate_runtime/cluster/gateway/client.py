"""HTTP with a Restate cluster: its ingress, its admin API, its SQL."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from ...errors import Code, RuntimeFault, TerminalError
from ...statuses import code_of

__all__ = ["Answer", "Cluster", "literal", "part"]

_CONNECT_TIMEOUT_S = 10
_ADMIN_TIMEOUT_S = 30
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
        return str(message) if message else self.body.decode(errors="replace")[:500] or f"HTTP status {self.status}"


class Cluster:
    """A cluster by its two addresses. Made and closed in an event loop.

    Args:
        ingress: URL of its ingress.
        admin: URL of its admin API.

    Raises:
        RuntimeFault: RT0002, one of them is no URL.
    """

    def __init__(self, ingress: str, admin: str) -> None:
        self._ingress = _checked(ingress, "--cluster")
        self._admin = _checked(admin, "--cluster-admin")
        # A result that is waited for holds a connection: there is no bound on their number.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            skip_auto_headers=_NO_DEFAULTS,
            auto_decompress=True,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def ingress(self, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """A request at the ingress; an answer below 400, or 470.

        Raises:
            TerminalError: the invocation failed, or the request was refused.
            ConnectionError: nothing answers, or the cluster cannot serve at the moment.
        """
        answer = await self._request(verb, self._ingress, path, body, headers, "--cluster", None)
        if answer.status < 400 or answer.status == 470:
            return answer
        error = answer.json()
        if not isinstance(error, dict) or "message" not in error:
            raise ConnectionError(f"{self._ingress} (--cluster) answered {answer.status}, but not as a Restate cluster does")
        if error.get("source", "ingress") == "ingress" and answer.status in (429, 500, 502, 503, 504):
            raise ConnectionError(f"the cluster at {self._ingress} cannot serve at the moment: {answer.message}")
        metadata = error.get("metadata")
        code = code_of(int(error.get("code", answer.status)), answer.message, metadata if isinstance(metadata, dict) else None)
        raise TerminalError(answer.message, code)

    async def ask_admin(self, verb: str, path: str, body: Any = None) -> Answer:
        """A request at the admin API, whatever its status.

        Raises:
            ConnectionError: nothing answers.
        """
        data = None if body is None else json.dumps(body).encode()
        return await self._request(verb, self._admin, path, data, _JSON, "--cluster-admin", _ADMIN_TIMEOUT_S)

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

    def refusal(self, answer: Answer) -> Exception:
        """The error that an answer of the admin API stands for."""
        if answer.status in (502, 503, 504):
            return ConnectionError(f"the cluster at {self._admin} cannot serve at the moment: {answer.message}")
        return TerminalError(answer.message, _REFUSALS.get(answer.status, Code.INTERNAL))

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query; columns without a value are left out.

        Raises:
            TerminalError: the cluster does not know the tables.
            ConnectionError: nothing answers, or the cluster cannot serve at the moment.
        """
        found = await self.admin("POST", "/query", {"query": sql})
        if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
            raise ConnectionError(f"{self._admin} (--cluster-admin) does not answer as a Restate cluster does")
        rows: list[dict[str, Any]] = found["rows"]
        return rows

    async def _request(
        self, verb: str, base: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, option: str, timeout_s: float | None
    ) -> Answer:
        try:
            async with asyncio.timeout(timeout_s):
                # As it is: a key in the path may hold what is reserved.
                url = URL(base + path, encoded=True)
                async with self._session.request(verb, url, data=body, headers=headers, allow_redirects=False) as response:
                    return Answer(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ConnectionError(f"no Restate cluster can be reached at {base} ({option}): {reason}") from None
        except TimeoutError:
            raise ConnectionError(f"the Restate cluster at {base} ({option}) does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(
                f"the connection to the Restate cluster at {base} ({option}) broke before there was an answer "
                f"({str(error) or type(error).__name__}); a retry under the same idempotency key is safe"
            ) from None


def part(text: str) -> str:
    """One part of a path. Dots alone would be taken for a way up or down."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def literal(text: str) -> str:
    """A text in SQL."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _checked(url: str, option: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise RuntimeFault("RT0002", f"{option}: '{url}' is no URL: write one such as http://127.0.0.1:8080")
    return url.rstrip("/")
