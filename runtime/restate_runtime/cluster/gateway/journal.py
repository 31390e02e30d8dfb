"""A journal as the cluster's SQL shows it, in the words that this project has for entries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ...identifiers import FIRST_AWAKEABLE_INDEX
from ...statuses import code_of
from ..ids import awakeable_id
from .values import Values

__all__ = ["journal_rows", "settlement"]

_NAMES = {
    "Input": "input",
    "Output": "return",
    "ClearAllState": "clear all state",
    "GetLazyStateKeys": "get state keys",
    "GetEagerStateKeys": "get state keys",
    "Sleep": "sleep",
}
_STATE = {"GetLazyState": "get", "GetEagerState": "get", "SetState": "set", "ClearState": "clear"}
_PROMISE = {"GetPromise": "get", "PeekPromise": "peek", "CompletePromise": "complete"}
_CANCEL = "CANCEL"
_LAST_S = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()


def settlement(journal: Iterable[Mapping[str, Any]], index: int) -> tuple[str, bytes] | None:
    """How a signal was settled: `resolve` with the bytes, or `reject` with the reason; `None` where it is not.

    Args:
        journal: rows of sys_journal.
        index: of the signal.
    """
    for row in journal:
        kind, entry = _entry(row)
        if kind == "Signal" and _signal_index(entry) == index:
            match entry.get("result"):
                case {"Success": list(data)}:
                    return "resolve", bytes(data)
                case {"Failure": {"message": str(message)}}:
                    return "reject", message.encode()
                case _:
                    return "resolve", b""
    return None


def journal_rows(
    values: Values, invocation: Mapping[str, Any], journal: Iterable[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The commands with their results, then the signals that came; and what is waited for.

    Args:
        values: decodes.
        invocation: row of sys_invocation.
        journal: its rows of sys_journal.
    """
    service, method = invocation["target_service_name"], invocation["target_handler_name"]
    commands: list[dict[str, Any]] = []
    signals: list[dict[str, Any]] = []
    open_commands: dict[int, tuple[dict[str, Any], tuple[str, str] | None]] = {}
    for row in journal:
        kind, entry = _entry(row)
        if str(row.get("entry_type", "")).startswith("Command"):
            shown = {"index": len(commands), "entry": _name(kind, entry), "at": row.get("appended_at")}
            shown |= _command(values, kind, entry, service, method)
            commands.append(shown)
            completion = entry.get("completion_id", entry.get("result_completion_id"))
            if isinstance(completion, int):
                shown["completed"] = False
                open_commands[completion] = (shown, _target(entry))
        elif kind == "Signal":
            shown = {"index": None, "entry": _signal(invocation["id"], entry), "at": row.get("appended_at"), "completed": True}
            signals.append(shown | _result(values, entry, service))
        else:
            completion = entry.get("completion_id")
            if completion in open_commands:
                shown, target = open_commands.pop(completion)
                shown["completed"] = True
                shown |= _result(values, entry, service, target)
    waiting_for = [str(shown["entry"]) for shown, _ in open_commands.values()]
    waiting_for += [
        f"awakeable {awakeable_id(invocation['id'], index)}"
        for index in invocation.get("suspended_waiting_for_signals") or ()
        if isinstance(index, int) and index >= FIRST_AWAKEABLE_INDEX
    ]
    return commands + signals, waiting_for


def _entry(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The innermost name of `{"Notification": {"Completion": {"Sleep": {...}}}}` and what it holds."""
    try:
        found: Any = json.loads(row.get("entry_json") or "{}")
    except ValueError:
        return str(row.get("entry_type", "")), {}
    kind = ""
    for _ in range(3):
        if not (isinstance(found, dict) and len(found) == 1):
            break
        name, inner = next(iter(found.items()))
        if not isinstance(inner, dict):
            break
        kind, found = name, inner
        if kind not in ("Command", "Notification", "Completion"):
            break
    return kind, found if isinstance(found, dict) else {}


def _target(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    request = entry.get("request")
    target = request.get("invocation_target") if isinstance(request, dict) else None
    for kind in (target or {}).values() if isinstance(target, dict) else ():
        if isinstance(kind, dict) and "name" in kind and "handler" in kind:
            return str(kind["name"]), str(kind["handler"])
    return None


def _name(kind: str, entry: Mapping[str, Any]) -> str:
    if kind in _NAMES:
        return _NAMES[kind]
    if kind in _STATE:
        return f"{_STATE[kind]} state '{entry.get('key', '')}'"
    if kind in _PROMISE:
        return f"{_PROMISE[kind]} promise '{entry.get('key', '')}'"
    target = _target(entry)
    called = "/".join(target) if target else ""
    match kind:
        case "Call":
            return f"call {called}"
        case "OneWayCall":
            return f"{'delayed' if entry.get('invoke_time') else 'background'} call {called}"
        case "Run":
            return f"run '{entry.get('name', '')}'"
        case _:
            return kind


def _command(values: Values, kind: str, entry: Mapping[str, Any], service: str, method: str) -> dict[str, Any]:
    match kind:
        case "Input":
            return {"value": values.payload(service, method, "request", _data(entry.get("payload")))}
        case "Output":
            return _result(values, entry, service, (service, method))
        case "SetState":
            return {"value": values.shown(service, values.stored(service, _data(entry.get("value"))))}
        case "GetEagerState":
            return _result(values, entry, service)
        case "Call" | "OneWayCall":
            request, target = entry.get("request"), _target(entry)
            if not isinstance(request, dict) or target is None:
                return {}
            shown: dict[str, Any] = {"request": values.payload(*target, "request", _data(request.get("parameter")))}
            return shown | ({"invoked_id": request["invocation_id"]} if isinstance(request.get("invocation_id"), str) else {})
        case "Sleep" if isinstance(entry.get("wake_up_time"), int):
            return {"wakeup_at": datetime.fromtimestamp(min(entry["wake_up_time"] / 1000, _LAST_S), UTC).isoformat(timespec="milliseconds")}
        case _:
            return {}


def _result(values: Values, entry: Mapping[str, Any], service: str, target: tuple[str, str] | None = None) -> dict[str, Any]:
    match entry.get("result"):
        case {"Success": list(data)}:
            raw = bytes(data)
            return {"value": values.payload(*target, "response", raw) if target else values.shown(service, values.stored(service, raw))}
        case {"Failure": {"message": str(message), **rest}}:
            code = rest.get("code")
            metadata = rest.get("metadata")
            name = code_of(code if isinstance(code, int) else 500, message, metadata if isinstance(metadata, dict) else None).name
            return {"failure": f"{name}: {message}"}
        case _:
            return {}


def _signal_index(entry: Mapping[str, Any]) -> int | None:
    match entry.get("id", entry.get("signal_id")):
        case {"Index": int(index)} | {"BuiltIn": int(index)}:
            return index
        case {"BuiltIn": str(name)} if name.upper() == _CANCEL:
            return 1
        case int(index):
            return index
        case _:
            return None


def _signal(invocation_id: str, entry: Mapping[str, Any]) -> str:
    index = _signal_index(entry)
    if index is None:
        match entry.get("id", entry.get("signal_id")):
            case {"Name": str(name)}:
                return f"signal '{name}'"
            case _:
                return "signal"
    if index >= FIRST_AWAKEABLE_INDEX:
        return f"awakeable {awakeable_id(invocation_id, index)}"
    return "cancel" if index == 1 else f"signal {index}"


def _data(value: Any) -> bytes:
    return bytes(value) if isinstance(value, list) else b""
