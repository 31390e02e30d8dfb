"""Looks into a cluster through its SQL, with values decoded by the contracts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...descriptors import ServiceKind
from ...engine.registry import SINGLETON_KEY
from ...errors import Code
from ...statuses import code_of
from ..ids import check_invocation_id, given_key
from .client import Cluster, literal
from .discovery import Directory
from .journal import journal_rows, settlement
from .values import Values

__all__ = ["STATUSES", "ClusterInspector"]

STATUSES = {"pending": "inboxed"}
"""Restate's words for a status where this project has another."""

_THEIRS = {ours: theirs for theirs, ours in STATUSES.items()}
_FAILURE = re.compile(r"\[(\d+)\] (.*)", re.DOTALL)
_TYPES = {"Service": "SERVICE", "VirtualObject": "VIRTUAL_OBJECT", "Workflow": "WORKFLOW"}


class ClusterInspector:
    """Answers what `Inspector` answers."""

    def __init__(self, cluster: Cluster, directory: Directory) -> None:
        self._cluster = cluster
        self._directory = directory
        self._values = Values(directory)

    async def services(self) -> list[dict[str, Any]]:
        """Rows of sys_service with their methods."""
        await self._directory.refresh()
        rows = []
        for name, service in sorted(self._directory.registry.services.items()):
            methods: list[dict[str, Any]] = []
            for method in sorted(service.methods.values(), key=lambda method: method.name):
                row: dict[str, Any] = {"name": method.name}
                if method.descriptor is not None:
                    row |= {"request": method.descriptor.request_codec.full_name, "response": method.descriptor.response_codec.full_name}
                methods.append(row | {"shared": method.shared, "public": not method.private})
            public = not methods or any(method["public"] for method in methods)
            revision = self._directory.services[name].get("revision", 0)
            rows.append({"name": name, "ty": service.kind.value, "revision": revision, "public": public, "methods": methods})
        return rows

    async def invocations(
        self, *, service: str | None = None, key: str | None = None, statuses: Sequence[str] = (), limit: int = 100
    ) -> list[dict[str, Any]]:
        """Rows of sys_invocation, newest first."""
        conditions = ["true"]
        if service is not None:
            conditions.append(f"target_service_name = {literal(service)}")
        if key is not None:
            conditions.append(f"target_service_key = {literal(key)}")
        if statuses:
            conditions.append(f"status in ({', '.join(literal(_THEIRS.get(status, status)) for status in statuses)})")
        rows = await self._cluster.query(
            f"select * from sys_invocation where {' and '.join(conditions)} order by created_at desc limit {int(limit)}"
        )
        return [self._invocation(row) for row in rows]

    def _invocation(self, row: Mapping[str, Any]) -> dict[str, Any]:
        service, method = row["target_service_name"], row["target_handler_name"]
        key = self._shown_key(service, row.get("target_service_key"))
        status = row["status"]
        completed = status == "completed"
        return {
            "id": row["id"],
            "target": "/".join(part for part in (service, key, method) if part is not None),
            "target_service_name": service,
            "target_service_key": key,
            "target_handler_name": method,
            "status": STATUSES.get(status, status),
            "completion_result": row.get("completion_result"),
            "completion_failure": _failure(row.get("completion_failure")),
            "idempotency_key": given_key(row.get("idempotency_key")),
            "invoked_by": row.get("invoked_by"),
            "invoked_by_id": row.get("invoked_by_id"),
            "created_at": row.get("created_at"),
            "modified_at": row.get("modified_at"),
            "scheduled_start_at": row.get("scheduled_start_at"),
            "running_at": row.get("running_at"),
            "completed_at": row.get("completed_at"),
            "next_retry_at": row.get("next_retry_at"),
            "retry_count": row.get("retry_count", 0),
            "last_failure": None if completed else row.get("last_failure"),
            "last_failure_error_code": f"Restate {code}" if (code := row.get("last_failure_error_code")) else None,  # RT0007 is one of each
            "journal_commands_size": row.get("journal_commands_size", 0),
        }

    async def describe(self, invocation_id: str) -> dict[str, Any] | None:
        """One invocation with its journal and what it waits for."""
        check_invocation_id(invocation_id)
        found, journal, events = await asyncio.gather(
            self._cluster.query(f"select * from sys_invocation where id = {literal(invocation_id)}"),
            self._journal(invocation_id),
            self._cluster.query(
                f"select event_type, event_json from sys_journal_events where id = {literal(invocation_id)} order by appended_at"
            ),
        )
        if not found:
            return None
        row = self._invocation(found[0])
        if row["status"] == "paused" and row["last_failure"] is None and events:
            row["last_failure"] = events[-1].get("event_json")  # the cluster says here why it paused
        rows, waiting_for = journal_rows(self._values, found[0], journal)
        row["journal"] = rows
        row["waiting_for"] = [] if row["status"] == "completed" else waiting_for
        return row

    async def _journal(self, invocation_id: str) -> list[dict[str, Any]]:
        columns = "index, entry_type, name, entry_json, appended_at"
        # `index` is a word of SQL.
        return await self._cluster.query(
            f"select {columns.replace('index', chr(34) + 'index' + chr(34))} from sys_journal "
            f'where id = {literal(invocation_id)} order by "index"'
        )

    async def settlement(self, invocation_id: str, index: int) -> tuple[str, bytes] | None:
        """How the awakeable of an invocation was settled: `resolve` with the bytes, or `reject` with the reason; `None` if it is not."""
        return settlement(await self._journal(invocation_id), index)

    async def state(self, service: str, key: str | None, name: str | None = None) -> list[dict[str, Any]]:
        """Rows of `state`, decoded."""
        if service not in self._directory.registry.services:
            await self._directory.refresh()
        hosted = self._directory.registry.services.get(service)
        if hosted is not None and hosted.kind is ServiceKind.SINGLETON:
            key = SINGLETON_KEY
        conditions = [f"service_name = {literal(service)}"]
        if key is not None:
            conditions.append(f"service_key = {literal(key)}")
        if name is not None:
            conditions.append(f"key = {literal(name)}")
        rows = await self._cluster.query(
            f"select service_key, key, value from state where {' and '.join(conditions)} order by service_key, key"
        )
        found = []
        for row in rows:
            value = self._values.stored(service, bytes.fromhex(row.get("value", "")))
            found.append(
                {
                    "service_name": service,
                    "service_key": self._shown_key(service, row.get("service_key")),
                    "key": row["key"],
                    "type": value.tag.removeprefix("message:"),
                    "value_length": len(value.data),
                    "value_json": self._values.shown(service, value),
                }
            )
        return found

    async def deployments(self) -> list[dict[str, Any]]:
        """Rows of sys_deployment with their services, oldest first."""
        found, pinned = await asyncio.gather(
            self._cluster.admin("GET", "/deployments"),
            self._cluster.query(
                "select pinned_deployment_id, count(*) as n from sys_invocation "
                "where status <> 'completed' and pinned_deployment_id is not null group by pinned_deployment_id"
            ),
        )
        if not self._directory.services:
            await self._directory.refresh()
        began = {row["pinned_deployment_id"]: row["n"] for row in pinned}
        rows = [self._deployment(row, began.get(row["id"], 0)) for row in found["deployments"]]
        return sorted(rows, key=lambda row: str(row["created_at"]))

    def _deployment(self, row: Mapping[str, Any], pinned: int) -> dict[str, Any]:
        return {
            "id": row["id"],
            "ty": "http" if "uri" in row else "lambda",
            "endpoint": row.get("uri") or row.get("arn"),
            "created_at": row.get("created_at"),
            "protocol_type": row.get("protocol_type", "RequestResponse"),
            "http_version": row.get("http_version"),
            "sdk_version": row.get("sdk_version"),
            "min_service_protocol_version": row.get("min_protocol_version"),
            "max_service_protocol_version": row.get("max_protocol_version"),
            "pinned_invocations": pinned,
            "services": [self._service(item) for item in sorted(row["services"], key=lambda item: str(item["name"]))],
        }

    def _service(self, item: Mapping[str, Any]) -> dict[str, Any]:
        known = self._directory.services.get(item["name"], {})
        return {
            "name": item["name"],
            "ty": _TYPES.get(known.get("ty", ""), ""),
            "revision": item["revision"],
            "handlers": sorted(handler["name"] for handler in known.get("handlers", ())),
        }

    def _shown_key(self, service: str, key: str | None) -> str | None:
        hosted = self._directory.registry.services.get(service)
        return None if hosted is not None and hosted.kind is ServiceKind.SINGLETON else key


def _failure(text: str | None) -> str | None:
    """`[499] message` with the code's name."""
    found = None if text is None else _FAILURE.fullmatch(text)
    if found is None:
        return text
    code: Code = code_of(int(found[1]), found[2], None)
    return f"{code.name}: {found[2]}"
