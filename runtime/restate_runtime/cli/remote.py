"""Talking to a live runtime from the command line, without an event loop."""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from ..admin.registration import registration
from ..engine.protocol import Inspector
from ..errors import RuntimeFault
from ..urls import split_url, why_unreached

__all__ = ["REFUSED", "Admin", "Answer", "admin_option", "data_dir_option", "inspecting", "read_json", "request"]

DEFAULT_ADMIN = "http://127.0.0.1:9070"
REFUSED = "RT0502"
"""The fault of what a runtime was asked for, and did not do."""
_TIMEOUT_S = 40
"""Longer than a runtime asks an endpoint that is registered: what it says of that comes first."""
_IN_PATHS = "!$&'()*+,;=:@"
"""What stands for itself in a path, beside letters, digits and `-._~`."""
_FAULT = re.compile(r"(?P<message>.*) \[(?P<code>RT\d{4})\]", re.DOTALL)
_TYPES = {"Service": "SERVICE", "VirtualObject": "VIRTUAL_OBJECT", "Workflow": "WORKFLOW"}

admin_option = click.option(
    "--admin",
    "admin_url",
    metavar="URL",
    envvar="RESTATE_RUNTIME_ADMIN_URL",
    default=DEFAULT_ADMIN,
    show_default=True,
    help="Admin API of a live runtime.",
)
data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Read the files of a stopped runtime instead; nothing is changed."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with a status below 300."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request(
    verb: str,
    url: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    option: str,
    timeout_s: float | None = _TIMEOUT_S,
) -> Answer:
    """One request.

    Args:
        verb: GET, POST or PATCH.
        url: the runtime's URL as the user gave it.
        path: below it.
        body: what is sent.
        headers: beside those of HTTP.
        option: the option that gives the URL, for messages.
        timeout_s: bound on the wait; `None` for no bound.

    Raises:
        RuntimeFault: RT0501 where no runtime answers, RT0502 where it refuses, RT0503 for an invocation's failure.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        raise RuntimeFault("RT0501", f"{option}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RuntimeFault("RT0501", f"{option}: '{url}' is no URL: write one such as http://127.0.0.1:8080")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    base = quote(parts.path.rstrip("/"), safe="/%" + _IN_PATHS)
    try:
        # As bytes: http.client would send text as Latin-1, and the runtime reads UTF-8.
        encoded: Any = {name: value.encode() for name, value in (headers or {}).items()}
        connection.request(verb, base + path, body, encoded)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = why_unreached(error) if isinstance(error, OSError) else str(error) or type(error).__name__
        raise RuntimeFault("RT0501", f"no runtime answers at {url} ({option}): {reason}") from None
    finally:
        connection.close()
    answered = {name.lower(): value for name, value in response.getheaders()}
    if response.status >= 300:
        raise _fault(response.status, answered, content, url, option)
    return Answer(response.status, answered, content)


def _fault(status: int, headers: Mapping[str, str], content: bytes, url: str, option: str) -> RuntimeFault:
    try:
        error = json.loads(content)
        # A Restate cluster's admin API, which takes registrations too, has codes of its own, and they begin the message.
        text = str(error["message"]) if "restate_code" in error else f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return RuntimeFault("RT0501", f"what answers at {url} ({option}) is no runtime: HTTP status {status}")
    fault = _FAULT.fullmatch(text)
    if fault is not None:  # the runtime's own
        return RuntimeFault(fault["code"], fault["message"])
    failed = headers.get("x-restate-error-source") == "invocation"
    if failed and "x-restate-id" in headers:
        text += f" (invocation {headers['x-restate-id']})"
    return RuntimeFault("RT0503" if failed else REFUSED, text)


def read_json(argument: str, what: str) -> bytes:
    """The argument as it is sent, or standard input where it is `-`, once it is JSON.

    Raises:
        RuntimeFault: RT0504, it is not.
    """
    try:
        text = sys.stdin.read() if argument == "-" else argument
        json.loads(text)
        return text.encode()
    except UnicodeError:
        raise RuntimeFault("RT0504", f"{what} is no JSON: it is no UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise RuntimeFault("RT0504", f"{what} is no JSON: {error}") from None


class Admin:
    """The admin API of a live runtime, as the same `Inspector` that an engine has.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def _ask(self, path: str, verb: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
        try:
            return self._json(request(verb, self._url, path, body, headers, option="--admin"))
        except RuntimeFault as fault:
            raise self._at_a_cluster() or fault from None

    def _json(self, answer: Answer) -> Any:
        try:
            return json.loads(answer.body)
        except ValueError:
            raise RuntimeFault("RT0501", f"what answers at {self._url} (--admin) is no admin API") from None

    def _rows(self, path: str) -> list[dict[str, Any]]:
        found = self._ask(path)
        if not isinstance(found, list):
            raise self._at_a_cluster() or RuntimeFault("RT0501", f"what answers at {self._url} (--admin) is no admin API")
        return found

    def _at_a_cluster(self) -> RuntimeFault | None:
        """What to say where a Restate cluster's own admin API answers."""
        try:
            version = self._json(request("GET", self._url, "/version", option="--admin"))
        except RuntimeFault:
            return None
        if not isinstance(version, dict) or "min_admin_api_version" not in version:
            return None
        return RuntimeFault(
            "RT0501",
            f"{self._url} (--admin) is the admin API of a Restate cluster, which takes `deployments register` only: "
            f"for everything else start `restate-runtime gateway` and ask that, or use Restate's own command",
        )

    def services(self) -> list[dict[str, Any]]:
        return self._rows("/services")

    def set_public(self, service: str, public: bool | None) -> None:
        """Opens or closes a service to callers outside; with `None` code and contract decide again."""
        self._ask(f"/services/{_part(service)}", "PATCH", json.dumps({"public": public}).encode(), {"Content-Type": "application/json"})

    def invocations(
        self, *, service: str | None = None, key: str | None = None, statuses: Sequence[str] = (), limit: int = 100
    ) -> list[dict[str, Any]]:
        query: list[tuple[str, str]] = [("limit", str(limit)), *(("status", status) for status in statuses)]
        query += [(name, value) for name, value in (("service", service), ("key", key)) if value is not None]
        return self._rows(f"/invocations?{urlencode(query)}")

    def describe(self, invocation_id: str) -> dict[str, Any] | None:
        row: dict[str, Any] = self._ask(f"/invocations/{_part(invocation_id)}")
        return row

    def state(self, service: str, key: str | None, name: str | None = None) -> list[dict[str, Any]]:
        path = f"/services/{_part(service)}/state"
        if key is not None:
            path += f"/{_part(key)}"
        return [row for row in self._rows(path) if name is None or row["key"] == name]

    def deployments(self) -> list[dict[str, Any]]:
        return self._rows("/deployments")

    def register(self, url: str, *, force: bool, http1: bool) -> dict[str, Any]:
        """Registers an endpoint, at a runtime, a gateway or a Restate cluster; its row, and `created`: whether something has changed."""
        body = json.dumps(registration(url, force=force, http1=http1)).encode()
        answer = request("POST", self._url, "/deployments", body, {"Content-Type": "application/json"}, option="--admin")
        row: dict[str, Any] = self._json(answer)
        return row if "created" in row else _row_of_a_cluster(url, answer.status, row)

    def remove_deployment(self, id: str, *, force: bool) -> None:
        """Forgets a deployment."""
        self._ask(f"/deployments/{_part(id)}{'?force=true' if force else ''}", "DELETE")

    def change(self, invocation_id: str, verb: str) -> None:
        """Does something to an invocation: `cancel`, `kill`, `pause`, `resume` or `purge`."""
        self._ask(f"/invocations/{_part(invocation_id)}/{verb}", "PATCH")

    def restart(self, invocation_id: str) -> str:
        """Makes a new invocation of a completed one's request; its id."""
        return str(self._ask(f"/invocations/{_part(invocation_id)}/restart-as-new", "PATCH")["new_invocation_id"])

    def settle(self, awakeable_id: str, verb: str, body: bytes, content_type: str) -> None:
        """Resolves or rejects an awakeable."""
        self._ask(f"/awakeables/{_part(awakeable_id)}/{verb}", "POST", body, {"Content-Type": content_type})


def _row_of_a_cluster(url: str, status: int, row: Mapping[str, Any]) -> dict[str, Any]:
    services = [
        {
            "name": service["name"],
            "ty": _TYPES.get(service["ty"], service["ty"]),
            "revision": service["revision"],
            "handlers": sorted(handler["name"] for handler in service["handlers"]),
        }
        for service in sorted(row["services"], key=lambda service: str(service["name"]))
    ]
    return {"id": row["id"], "endpoint": url, "services": services, "created": status == 201}


def _part(text: str) -> str:
    return quote(text, safe="")


@contextmanager
def inspecting(admin_url: str, data_dir: Path | None) -> Iterator[Inspector]:
    """What can be looked at: a live runtime, or the files of a stopped one.

    Raises:
        RuntimeFault: RT0001 where both are given; what goes wrong with either.
    """
    if data_dir is None:
        yield Admin(admin_url)
        return
    source = click.get_current_context().get_parameter_source("admin_url")
    if source is not None and source.name == "COMMANDLINE":
        raise click.UsageError("give --admin for a live runtime or --data-dir for a stopped one, not both")
    from ..engine.storage.offline import open_offline

    with open_offline(data_dir) as inspector:
        yield inspector
