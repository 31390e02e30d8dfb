"""What the options of a service or an rpc say, as values of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import naming
from .annotations import ANNOTATIONS
from .load import Loaded
from .model import CallOptions, Location, Message, Retry, Scalar, ServiceKind, StateEntry
from .source import SourceMap

if TYPE_CHECKING:
    from google.protobuf import descriptor as _descriptor

__all__ = ["call_options", "handler_type", "is_shared", "service_type", "states"]

_OPTIONS = "dev.restate.options."
_GO = "dev.restate.sdk.go."
_GO_KINDS = {"SERVICE": ServiceKind.UNKEYED, "VIRTUAL_OBJECT": ServiceKind.KEYED}
# Number of the field `options`, in paths of SourceCodeInfo: of a service, of an rpc.
_SERVICE_OPTIONS, _METHOD_OPTIONS = 3, 4
_NUMBERS = {annotation.name: annotation.number for annotation in ANNOTATIONS}
_NO_OPTIONS = CallOptions()


def service_type(given: Mapping[str, Any]) -> tuple[ServiceKind | None, str, str] | None:
    """The kind of a service, the type as it is spelled, and the type that Restate's Go plugin would see where that differs.

    `None` where no annotation makes it a durable service. A type that is none of ours has no kind.
    """
    own = given.get("dev.restate.ext.service_type")
    # Its first version spelled them SERVICE_TYPE_SERVICE, with other numbers.
    go = str(given.get(f"{_GO}service_type", "")).removeprefix("SERVICE_TYPE_")
    go = "" if go == "UNSET" else go
    if own is not None:
        kind = next((kind for kind in ServiceKind if kind.name == own), None)
        return kind, str(own), go if go and _GO_KINDS.get(go) is not kind else ""
    return (_GO_KINDS.get(go), go, "") if go else None


def handler_type(given: Mapping[str, Any]) -> str:
    """What Restate's Go plugin would take an rpc for; empty where that is not said."""
    named = str(given.get(f"{_GO}handler_type", "")).removeprefix("HANDLER_TYPE_")
    return "" if named == "UNSET" else named


def is_shared(given: Mapping[str, Any], kind: ServiceKind | None) -> bool:
    """Whether an rpc is shared; Restate's Go plugin means that only of services with a key."""
    own = given.get(f"{_OPTIONS}shared")
    return bool(own) if own is not None else kind is ServiceKind.KEYED and handler_type(given) == "SHARED"


def call_options(given: Mapping[str, Any], source: SourceMap, path: tuple[int, ...], *, on_service: bool) -> CallOptions:
    """What a service, or an rpc, says of invocations."""
    prefix, number = (f"{_OPTIONS}service_", _SERVICE_OPTIONS) if on_service else (_OPTIONS, _METHOD_OPTIONS)
    found = {name: given[prefix + name] for name in ("private", "retry", "inactivity_timeout", "retention") if prefix + name in given}
    if not found:
        return _NO_OPTIONS
    return CallOptions(
        private=found.get("private"),
        retry=_retry(found["retry"]) if "retry" in found else None,
        inactivity_timeout=_duration(found["inactivity_timeout"]) if "inactivity_timeout" in found else None,
        retention=_duration(found["retention"]) if "retention" in found else None,
        locations={name: source.location(*path, number, _NUMBERS[prefix + name]) for name in found},
    )


def _retry(message: Any) -> Retry:
    def duration(name: str) -> timedelta | None:
        return _duration(getattr(message, name)) if message.HasField(name) else None

    return Retry(
        initial_interval=duration("initial_interval"),
        max_interval=duration("max_interval"),
        factor=message.factor if message.HasField("factor") else None,
        max_attempts=message.max_attempts if message.HasField("max_attempts") else None,
        max_duration=duration("max_duration"),
        fails=message.on_exhausted == 1 if message.HasField("on_exhausted") else None,
    )


def _duration(message: Any) -> timedelta:
    try:
        return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        return timedelta.max if message.seconds > 0 else timedelta.min


def states(
    loaded: Loaded,
    given: Mapping[str, Any],
    source: SourceMap,
    path: tuple[int, ...],
    message: Callable[[_descriptor.Descriptor], Message],
) -> tuple[StateEntry, ...]:
    """The states that a service declares.

    Args:
        message: makes the model of a message.
    """
    found = []
    name = f"{_OPTIONS}state"
    for index, entry in enumerate(given.get(name, ())):
        location: Location = source.location(*path, _SERVICE_OPTIONS, _NUMBERS[name], index)
        value, hint = _type(loaded, entry.type, message)
        found.append(StateEntry(entry.name, naming.method_name(entry.name), entry.type, value, hint, location))
    return tuple(found)


def _type(loaded: Loaded, name: str, message: Callable[[_descriptor.Descriptor], Message]) -> tuple[Message | Scalar | None, str]:
    scalar = next((scalar for scalar in Scalar if scalar.proto == name), None)
    if scalar is not None:
        return scalar, ""
    try:
        # Protobuf in pure Python takes a leading dot, its other implementations do not.
        descriptor = loaded.pool.FindMessageTypeByName("" if name.startswith(".") else name)
    except KeyError:
        return None, _nearest(loaded, name)
    return (None, "") if loaded.is_map_entry(descriptor) else (message(descriptor), "")


def _nearest(loaded: Loaded, name: str) -> str:
    """The full name that may be meant: one that ends like that, else one that is spelled nearly so."""
    import difflib

    known = [name for file in loaded.files for name in _messages(loaded.file(file).message_types_by_name.values())]
    ending = [full for full in known if full.endswith(f".{name.lstrip('.')}") or full == name.lstrip(".")]
    return next(iter(sorted(ending) or difflib.get_close_matches(name, [*known, *(scalar.proto for scalar in Scalar)], n=1)), "")


def _messages(messages: Any) -> list[str]:
    return [name for message in messages for name in (message.full_name, *_messages(message.nested_types))]
