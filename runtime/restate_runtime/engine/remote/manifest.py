"""What an endpoint says about itself: its services, their handlers and options, and the versions of the protocol that it speaks.

`parse_manifest` takes the JSON of Restate's endpoint manifest, versions 2 to 4, checks it, and resolves what is left out: an option of a
handler that is missing is the service's, and one that is `None` here is the runtime's.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal, TypeVar

import msgspec

from ...errors import RuntimeFault
from ...retry import OnExhausted, RetryOptions
from .frames import Version

__all__ = ["Handler", "HandlerType", "Manifest", "Payload", "Service", "ServiceType", "Settings", "parse_manifest"]


class ServiceType(enum.Enum):
    """Restate's kinds of services."""

    SERVICE = "SERVICE"
    """Without keys: UNKEYED."""
    VIRTUAL_OBJECT = "VIRTUAL_OBJECT"
    """One at a time for each key, with state: KEYED."""
    WORKFLOW = "WORKFLOW"
    """Runs once for each key, with state and promises."""


class HandlerType(enum.Enum):
    """How the handlers of one key go together."""

    EXCLUSIVE = "EXCLUSIVE"
    """Takes the key's turn."""
    SHARED = "SHARED"
    """Runs beside others."""
    WORKFLOW = "WORKFLOW"
    """The run of a workflow: once for each key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of a handler, or of a service; `None` is for the runtime to say.

    Attributes:
        inactivity_timeout: a handler that waits longer is asked to suspend.
        abort_timeout: one that does not do so within this time is cut off.
        journal_retention: how long the journal of a completed invocation is kept.
        idempotency_retention: how long a completed invocation answers repeats of its idempotency key.
        workflow_retention: how long a completed workflow is kept.
        lazy_state: state does not come along, but is asked for.
        private: it cannot be called from outside.
        retry: what it fixes of its retry policy.
    """

    inactivity_timeout: timedelta | None = None
    abort_timeout: timedelta | None = None
    journal_retention: timedelta | None = None
    idempotency_retention: timedelta | None = None
    workflow_retention: timedelta | None = None
    lazy_state: bool | None = None
    private: bool | None = None
    retry: RetryOptions = field(default_factory=RetryOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a handler takes or returns.

    Attributes:
        content_type: may hold wildcards where it is taken; `None` where there is no payload.
        json_schema: as JSON; `None` where there is none.
        required: a request must have a content type, even without a body.
        set_if_empty: a response has its content type, even without a body.
    """

    content_type: str | None
    json_schema: bytes | None = None
    required: bool = False
    set_if_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One handler.

    Attributes:
        type: `None` for the handlers of a SERVICE.
        settings: its own, and the service's for what it leaves out.
    """

    name: str
    type: HandlerType | None
    input: Payload
    output: Payload
    settings: Settings
    documentation: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service with its handlers, by name."""

    name: str
    type: ServiceType
    handlers: Mapping[str, Handler]
    settings: Settings
    documentation: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An endpoint.

    Attributes:
        bidirectional: it takes part in streams both ways; `None` where it does not say.
        versions: of the service protocol, lowest and highest; at least one is spoken here.
        services: by name.
        text: the JSON that all of this was read from.
    """

    bidirectional: bool | None
    versions: tuple[int, int]
    services: Mapping[str, Service]
    text: bytes = field(repr=False)


# ---- The JSON ----


class _Options(msgspec.Struct, rename="camel", kw_only=True):
    inactivity_timeout: int | None = None
    abort_timeout: int | None = None
    journal_retention: int | None = None
    idempotency_retention: int | None = None
    workflow_completion_retention: int | None = None
    enable_lazy_state: bool | None = None
    ingress_private: bool | None = None
    retry_policy_initial_interval: int | None = None
    retry_policy_max_interval: int | None = None
    retry_policy_max_attempts: int | None = None
    retry_policy_exponentiation_factor: float | None = None
    retry_policy_on_max_attempts: Literal["PAUSE", "KILL"] | None = None
    documentation: str | None = None
    metadata: dict[str, str] | None = None


class _Input(msgspec.Struct, rename="camel"):
    content_type: str | None = None
    required: bool = False
    json_schema: msgspec.Raw = msgspec.Raw()  # not `| None`, which msgspec does not decode


class _Output(msgspec.Struct, rename="camel"):
    content_type: str | None = None
    set_content_type_if_empty: bool = False
    json_schema: msgspec.Raw = msgspec.Raw()  # not `| None`, which msgspec does not decode


class _Handler(_Options, kw_only=True):
    name: str
    ty: HandlerType | None = None
    input: _Input | None = None
    output: _Output | None = None


class _Service(_Options, kw_only=True):
    name: str
    ty: ServiceType
    handlers: list[_Handler]


class _Endpoint(msgspec.Struct, rename="camel"):
    min_protocol_version: int
    max_protocol_version: int
    services: list[_Service]
    protocol_mode: Literal["BIDI_STREAM", "REQUEST_RESPONSE"] | None = None


_SERVICE_NAME = re.compile(r"([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9._-]*")
_HANDLER_NAME = re.compile(r"([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*")
_LONGEST = timedelta(days=365 * 1000)


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Reads and checks a manifest.

    Args:
        text: JSON.
        where: the endpoint's URL, for messages.

    Raises:
        RuntimeFault: RT0602, there is no version of the service protocol in common; RT0603, a rule is broken.
    """
    try:
        endpoint = msgspec.json.decode(text, type=_Endpoint)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RuntimeFault("RT0603", f"{where} describes itself in a way that cannot be read: {error}") from None
    lowest, highest = endpoint.min_protocol_version, endpoint.max_protocol_version
    if not any(lowest <= version <= highest for version in Version):
        ours = f"{min(Version)} to {max(Version)}"
        raise RuntimeFault("RT0602", f"{where} speaks versions {lowest} to {highest} of the service protocol, this runtime {ours}")
    if not endpoint.services:
        raise RuntimeFault("RT0603", f"{where} hosts no services")
    return Manifest(
        bidirectional=None if endpoint.protocol_mode is None else endpoint.protocol_mode == "BIDI_STREAM",
        versions=(lowest, highest),
        services=_unique((_service(item, where) for item in endpoint.services), f"{where} has two services"),
        text=text,
    )


def _service(item: _Service, where: str) -> Service:
    name = item.name
    if not _SERVICE_NAME.fullmatch(name):
        raise RuntimeFault("RT0603", f"{where}: '{name}' is no name for a service: letters, digits and ._- after a letter")
    lower = name.lower()
    if lower.startswith(("restate", "dev.restate.")) or lower == "openapi":
        raise RuntimeFault("RT0603", f"{where}: the service '{name}' has a name that belongs to the runtime: choose another one")
    settings = _settings(item, f"{where}: service {name}")
    handlers = _unique(
        (_handler(handler, item.ty, settings, f"{where}: {name}") for handler in item.handlers), f"{where}: {name} has two handlers"
    )
    if item.ty is ServiceType.WORKFLOW and sum(handler.type is HandlerType.WORKFLOW for handler in handlers.values()) != 1:
        raise RuntimeFault("RT0603", f"{where}: the workflow {name} needs one handler of type WORKFLOW, and no more")
    return Service(
        name=name,
        type=item.ty,
        handlers=handlers,
        settings=settings,
        documentation=item.documentation or "",
        metadata=item.metadata or {},
    )


def _handler(item: _Handler, ty: ServiceType, outer: Settings, where: str) -> Handler:
    name = item.name
    if not _HANDLER_NAME.fullmatch(name):
        raise RuntimeFault("RT0603", f"{where}: '{name}' is no name for a handler: letters, digits and _ after a letter")
    match ty:
        case ServiceType.SERVICE:
            kind = None
        case ServiceType.VIRTUAL_OBJECT:
            kind = item.ty or HandlerType.EXCLUSIVE
        case ServiceType.WORKFLOW:
            kind = item.ty or HandlerType.WORKFLOW
    if (ty, kind) in ((ServiceType.VIRTUAL_OBJECT, HandlerType.WORKFLOW), (ServiceType.WORKFLOW, HandlerType.EXCLUSIVE)):
        assert kind is not None
        raise RuntimeFault("RT0603", f"{where}/{name}: a {ty.value} has no handlers of type {kind.value}")
    taken = _Input("*/*") if item.input is None else item.input
    given = _Output("application/json") if item.output is None else item.output
    return Handler(
        name=name,
        type=kind,
        input=Payload(content_type=taken.content_type, json_schema=_schema(taken.json_schema), required=taken.required),
        output=Payload(
            content_type=given.content_type, json_schema=_schema(given.json_schema), set_if_empty=given.set_content_type_if_empty
        ),
        settings=_over(_settings(item, f"{where}/{name}"), outer),
        documentation=item.documentation or "",
        metadata=item.metadata or {},
    )


def _settings(item: _Options, where: str) -> Settings:
    def duration(name: str) -> timedelta | None:
        value: int | None = getattr(item, name)
        if value is None:
            return None
        if value < 0:
            raise RuntimeFault("RT0603", f"{where}: {name} is negative")
        return timedelta(milliseconds=value) if value < _LONGEST / timedelta(milliseconds=1) else _LONGEST

    factor, attempts = item.retry_policy_exponentiation_factor, item.retry_policy_max_attempts
    if factor is not None and not 1 <= factor < float("inf"):
        raise RuntimeFault("RT0603", f"{where}: the factor of its retry policy is {factor}, and must be 1 or more")
    if attempts is not None and attempts < 0:
        raise RuntimeFault("RT0603", f"{where}: the attempts of its retry policy are {attempts}")
    return Settings(
        inactivity_timeout=duration("inactivity_timeout"),
        abort_timeout=duration("abort_timeout"),
        journal_retention=duration("journal_retention"),
        idempotency_retention=duration("idempotency_retention"),
        workflow_retention=duration("workflow_completion_retention"),
        lazy_state=item.enable_lazy_state,
        private=item.ingress_private,
        retry=RetryOptions(
            initial_interval=duration("retry_policy_initial_interval"),
            max_interval=duration("retry_policy_max_interval"),
            factor=factor,
            max_attempts=attempts,
            on_exhausted={"PAUSE": OnExhausted.PAUSE, "KILL": OnExhausted.FAIL, None: None}[item.retry_policy_on_max_attempts],
        ),
    )


def _schema(raw: msgspec.Raw) -> bytes | None:
    return bytes(raw) or None


_T = TypeVar("_T")
_Named = TypeVar("_Named", Service, Handler)


def _over(inner: Settings, outer: Settings) -> Settings:
    """The inner settings, and the outer ones where they say nothing."""
    merged = {item.name: _first(getattr(inner, item.name), getattr(outer, item.name)) for item in fields(Settings) if item.name != "retry"}
    retry = {item.name: _first(getattr(inner.retry, item.name), getattr(outer.retry, item.name)) for item in fields(RetryOptions)}
    return Settings(**merged, retry=RetryOptions(**retry))


def _first(inner: _T | None, outer: _T | None) -> _T | None:
    return outer if inner is None else inner


def _unique(items: Iterable[_Named], problem: str) -> dict[str, Any]:
    found: dict[str, _Named] = {}
    for item in items:
        if item.name in found:
            raise RuntimeFault("RT0603", f"{problem} called '{item.name}'")
        found[item.name] = item
    return found
