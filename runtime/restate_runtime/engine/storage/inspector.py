"""Reads for people: rows of the tables under Restate's names, values decoded by the contracts beside them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import apsw
import msgspec
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from ...errors import Code
from ...identifiers import FIRST_AWAKEABLE_INDEX, awakeable_id, invocation_id, parse_invocation_id
from ...journal.entries import (
    CANCEL,
    Attach,
    Call,
    Command,
    CompleteAwakeable,
    CompletePromise,
    Failure,
    GetPromise,
    GetState,
    GetStateKeys,
    Input,
    Notification,
    OneWayCall,
    Outcome,
    Output,
    Ref,
    Run,
    SendSignal,
    SetState,
    Sleep,
    Success,
)
from ...journal.model import Invocation, Status
from ...journal.replay import describe_command
from ...journal.waits import Wait
from ...serde import Value
from ..registry import Privacy, is_private
from .contracts import load_access, load_pool
from .reader import Reader
from .rows import checked, damage_reported, invocation_from_row

__all__ = ["LiveWait", "StorageInspector"]

_LAST_S = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()

_Pending = Call | Sleep | Run | Attach | GetPromise

LiveWait = Callable[[int], Wait | None]


class StorageInspector:
    """Implements `engine.protocol.Inspector` on a read-only connection of its own.

    Args:
        connection: closed by `close`.
        live_wait: what an invocation in memory waits for, which no row says; `None` where nothing is in memory.
    """

    def __init__(self, connection: apsw.Connection, live_wait: LiveWait | None = None) -> None:
        self._connection = connection
        self._live_wait = live_wait
        self._reader = Reader(connection)
        self._pool: descriptor_pool.DescriptorPool | None = None

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    @damage_reported()
    def services(self) -> list[dict[str, Any]]:
        """Rows of sys_service."""
        access = load_access(self._connection)
        found = []
        for row in self._connection.execute("SELECT * FROM service ORDER BY name"):
            name, kind, text, _, revision = checked("service", row)
            methods = json.loads(text)
            for method in methods:
                privacy = Privacy(method.pop("private", Privacy.OPEN.value))
                method["public"] = not is_private(privacy, access.get(name))
            public = not methods or any(method["public"] for method in methods)
            found.append({"name": name, "ty": kind, "revision": revision, "public": public, "methods": methods})
        return found

    @damage_reported()
    def invocations(
        self, *, service: str | None = None, key: str | None = None, statuses: Sequence[str] = (), limit: int = 100
    ) -> list[dict[str, Any]]:
        """Rows of sys_invocation, newest first."""
        conditions = ["1"]
        values: list[Any] = []
        if service is not None:
            conditions.append("service = ?")
            values.append(service)
        if key is not None:
            conditions.append("key = ?")
            values.append(key)
        if statuses:
            conditions.append(f"status IN ({','.join('?' * len(statuses))})")
            values.extend(statuses)
        rows = self._connection.execute(
            f"SELECT * FROM invocation WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT ?", (*values, limit)
        )
        return [self._invocation(invocation_from_row(row)) for row in rows]

    def _invocation(self, invocation: Invocation) -> dict[str, Any]:
        target = invocation.target
        completed = invocation.status is Status.COMPLETED
        failure = invocation.outcome_failure
        invoker = None
        if invocation.invoker:  # which may be purged by now
            row = self._connection.execute("SELECT * FROM invocation WHERE seq = ?", (invocation.invoker,)).fetchone()
            invoker = None if row is None else invocation_from_row(row)
        return {
            "id": invocation_id(invocation.id),
            "target": str(target),
            "target_service_name": target.service,
            "target_service_key": target.key or None,
            "target_handler_name": target.method,
            "status": invocation.status.value,
            "completion_result": None if not completed else "success" if failure is None else "failure",
            "completion_failure": None if failure is None else f"{Code(failure.code).name}: {failure.message}",
            "idempotency_key": invocation.idempotency_key,
            "invoked_by": "service" if invocation.invoker else "ingress",
            "invoked_by_id": None if invoker is None else invocation_id(invoker.id),
            "invoked_by_service_name": None if invoker is None else invoker.target.service,
            "invoked_by_target": None if invoker is None else str(invoker.target),
            "created_at": _time(invocation.created_ms),
            "modified_at": _time(invocation.modified_ms),
            "scheduled_start_at": _time(invocation.due_ms),
            "running_at": _time(invocation.started_ms),
            "completed_at": _time(invocation.completed_ms),
            "next_retry_at": _time(invocation.retry_ms) if invocation.status is Status.BACKING_OFF else None,
            "retry_count": invocation.failures,
            "last_failure": None if completed or not invocation.failure else invocation.failure,
            "last_failure_error_code": invocation.fault or None,
            "journal_commands_size": invocation.command_count,
        }

    @damage_reported()
    def describe(self, invocation_id: str) -> dict[str, Any] | None:
        """One invocation with its decoded journal and what it waits for."""
        raw = parse_invocation_id(invocation_id)
        if raw is None:
            return None
        with self._reader.snapshot():
            return self._describe(raw)

    def _describe(self, id: bytes) -> dict[str, Any] | None:
        invocation = self._reader.find(id)
        if invocation is None:
            return None
        commands, notifications = self._reader.journal(invocation.seq, invocation.command_count, invocation.notification_count)
        found = self._invocation(invocation)
        found["journal"] = self._journal(invocation, commands, notifications)
        found["waiting_for"] = self._waiting_for(invocation, commands, notifications)
        return found

    # --- the journal

    def _journal(self, invocation: Invocation, commands: list[Command], notifications: list[Notification]) -> list[dict[str, Any]]:
        results: dict[Ref, Outcome] = {}
        for entry in notifications:
            results.setdefault(entry.ref, entry.outcome)
        targets = {
            command.completion_id: (command.target.service, command.target.method) for command in commands if isinstance(command, Call)
        }
        rows = []
        for index, command in enumerate(commands):
            row: dict[str, Any] = {"index": index, "entry": describe_command(command), "at": command.at or None}
            row |= self._command(invocation, command)
            completion = getattr(command, "completion_id", None)
            if completion is not None:
                outcome = results.pop(completion, None)
                row["completed"] = outcome is not None
                row |= self._outcome(outcome, targets.get(completion))
            id_completion = getattr(command, "id_completion_id", 0)
            if id_completion:
                results.pop(id_completion, None)  # the row has the id already
            rows.append(row)
        results.pop(CANCEL, None)  # each of them counts
        cancel = {"index": None, "entry": "cancel", "at": None, "completed": True}
        rows += [cancel for entry in notifications if entry.ref == CANCEL]
        for ref, outcome in results.items():
            rows.append({"index": None, "entry": _signal(invocation, ref), "at": None, "completed": True} | self._outcome(outcome, None))
        return rows

    def _command(self, invocation: Invocation, command: Command) -> dict[str, Any]:
        own = (invocation.target.service, invocation.target.method)
        match command:
            case Input():
                return {"value": self._message(own, "request", command.payload)}
            case Output():
                return self._outcome(command.outcome, own)
            case GetState(value=value):
                return {"value": None if value is None else self._value(value)}
            case SetState(value=value):
                return {"value": self._value(value)}
            case GetStateKeys():
                return {"value": list(command.names)}
            case CompletePromise() | SendSignal():
                return self._outcome(command.outcome, None)
            case Call() | OneWayCall():
                called = (command.target.service, command.target.method)
                row = {"invoked_id": invocation_id(command.callee), "request": self._message(called, "request", command.payload)}
                if isinstance(command, OneWayCall) and command.due_ms:
                    row["due_at"] = _time(command.due_ms)
                return row
            case Sleep():
                return {"wakeup_at": _time(command.due_ms)}
            case CompleteAwakeable():
                return self._outcome(command.outcome, None)
            case _:
                return {}

    def _outcome(self, outcome: Outcome | None, method: tuple[str, str] | None) -> dict[str, Any]:
        match outcome:
            case None:
                return {}
            case Failure():
                return {"failure": f"{Code(outcome.code).name}: {outcome.message}"}
            case Success(value=value):
                if not value.tag:
                    return {"value": self._message(method, "response", value.data) if method else None}
                return {"value": self._value(value)}

    def _waiting_for(self, invocation: Invocation, commands: list[Command], notifications: list[Notification]) -> list[str]:
        if invocation.status is Status.COMPLETED:
            return []
        arrived = {entry.ref for entry in notifications}
        by_completion = {command.completion_id: command for command in commands if isinstance(command, _Pending)}
        wait = invocation.wait if invocation.status is Status.SUSPENDED else None
        if invocation.status is Status.RUNNING and self._live_wait is not None:
            wait = self._live_wait(invocation.seq)
        if wait is not None:
            refs = [ref for ref in wait.leaves() if ref not in arrived and ref != CANCEL]
        else:
            refs = [ref for ref in by_completion if ref not in arrived]
        found = []
        for ref in refs:
            if isinstance(ref, str) or ref < 0:
                found.append(_signal(invocation, ref))
            elif ref in by_completion:
                found.append(self._pending(by_completion[ref]))
        return found

    def _pending(self, command: _Pending) -> str:
        match command:
            case Call():
                return f"{describe_command(command)} ({invocation_id(command.callee)})"
            case Sleep():
                return f"sleep until {_time(command.due_ms)}"
            case Run() | Attach() | GetPromise():
                return describe_command(command)

    # --- state

    @damage_reported()
    def state(self, service: str, key: str | None, name: str | None = None) -> list[dict[str, Any]]:
        """Rows of `state`, decoded."""
        conditions = ["service = ?"]
        values: list[Any] = [service]
        for column, value in (("key", key), ("name", name)):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)
        found = []
        for row in self._connection.execute(
            f"SELECT service, key, name, tag, value, crc FROM state WHERE {' AND '.join(conditions)} ORDER BY key, name", values
        ):
            service_name, service_key, state_name, tag, data = checked("state", row)
            found.append(
                {
                    "service_name": service_name,
                    "service_key": service_key or None,
                    "key": state_name,
                    "type": tag.removeprefix("message:"),
                    "value_length": len(data),
                    "value_json": self._value(Value(tag, data)),
                }
            )
        return found

    # --- deployments

    @damage_reported()
    def deployments(self) -> list[dict[str, Any]]:
        """Rows of sys_deployment, oldest first."""
        rows = self._reader.deployments()
        if not rows:
            return []
        from ..remote.hosting import describe, load_deployment  # only a runtime with deployments needs them

        pinned = "SELECT count(*) FROM invocation WHERE status <> 'completed' AND deployment = ?"
        return [describe(load_deployment(*row), self._connection.execute(pinned, row[:1]).get) for row in rows]

    # --- values

    def _value(self, value: Value) -> Any:
        if value.tag == "json":
            try:
                return msgspec.json.decode(value.data)
            except (msgspec.DecodeError, RecursionError):  # a number beyond a double, for one
                return _bytes(value.data)
        if value.tag.startswith("message:"):
            return self._decode(value.tag.removeprefix("message:"), value.data)
        return _bytes(value.data)

    def _message(self, method: tuple[str, str] | None, side: str, payload: bytes) -> Any:
        if method is None:
            return _bytes(payload)
        row = self._connection.execute("SELECT * FROM service WHERE name = ?", (method[0],)).fetchone()
        for known in json.loads(checked("service", row)[2]) if row is not None else ():
            if known["name"] == method[1]:
                return self._decode(known[side], payload) if side in known else _json_or_bytes(payload)
        return _bytes(payload)

    def _decode(self, full_name: str, data: bytes) -> Any:
        try:
            return self._to_json(full_name, data)
        except KeyError:
            # A service may have come since the contracts were read.
            self._pool = None
        try:
            return self._to_json(full_name, data)
        except KeyError:
            return _bytes(data)

    def _to_json(self, full_name: str, data: bytes) -> Any:
        if self._pool is None:
            self._pool = load_pool(self._connection)
        type_ = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full_name))
        try:
            return json_format.MessageToDict(type_.FromString(data), descriptor_pool=self._pool)
        except (DecodeError, json_format.Error, TypeError, ValueError):  # an Any of an unknown type, a Timestamp beyond its range, ...
            return _bytes(data)


def _signal(invocation: Invocation, ref: Ref) -> str:
    if isinstance(ref, str):
        return f"signal '{ref}'"
    return f"awakeable {awakeable_id(invocation.id, -ref)}" if -ref >= FIRST_AWAKEABLE_INDEX else f"signal {-ref}"


def _json_or_bytes(data: bytes) -> Any:
    """What a service without a .proto takes and gives is JSON most of the time."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _bytes(data)


def _bytes(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def _time(milliseconds: int) -> str | None:
    # A sleep may be longer than what dates can say.
    return datetime.fromtimestamp(min(milliseconds / 1000, _LAST_S), UTC).isoformat(timespec="milliseconds") if milliseconds else None
