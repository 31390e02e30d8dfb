"""What endpoints host, as the registry and the driver know it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from ...descriptor_set import METADATA, DescriptorSetError, unpack
from ...descriptor_set import describe as describe_services
from ...descriptors import MethodDescriptor, ServiceDescriptor, ServiceKind
from ...errors import RuntimeFault
from ...retry import INVOCATION_RETRY, RetryOptions
from ..registry import HostedMethod, Privacy
from .discovery import Discovered
from .frames import Version
from .manifest import Handler, HandlerType, Manifest, Payload, Service, ServiceType, parse_manifest
from .transport import Address

__all__ = ["Deployment", "RemoteMethod", "RemoteService", "describe", "load_deployment", "make_deployment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteMethod(HostedMethod):
    """A method whose handler runs at an endpoint.

    Attributes:
        deployment: id of the deployment that it belongs to.
        promises: it is part of a workflow, whose handlers share named promises.
        sealed: the endpoint is one of this project's: its values carry their tags.
        json_request, json_response: the endpoint knows the contract's messages as JSON.
        lazy_state: state does not come along with the start.
        abort_timeout: how long a handler may be silent once it is asked to suspend; `None` for the runtime's.
    """

    deployment: str
    promises: bool = False
    sealed: bool = False
    json_request: bool = False
    json_response: bool = False
    lazy_state: bool = False
    abort_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteService:
    """A service of a deployment.

    Attributes:
        ty: Restate's word for what it is: SERVICE, VIRTUAL_OBJECT or WORKFLOW.
        kind: the same in this project's words.
        revision: counts the registrations of the service.
        descriptor: `None` for a service without a .proto.
    """

    name: str
    ty: str
    kind: ServiceKind
    revision: int
    methods: Mapping[str, RemoteMethod]
    descriptor: ServiceDescriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An endpoint as it was when it was registered.

    Attributes:
        id: `dp_1...`.
        address: where it is.
        bidirectional: it takes part in streams both ways; otherwise it is sent everything at once.
        created_ms: when it was registered, milliseconds since 1970.
        manifest: what it answered to discovery.
        server: name and version of its SDK, where it says so.
        revisions: of its services, by name.
        contracts: descriptors, as text, of services that came with none, by name: an operator gave them.
        services: by name.
    """

    id: str
    address: Address
    bidirectional: bool
    created_ms: int
    manifest: Manifest
    server: str
    revisions: Mapping[str, int]
    contracts: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, RemoteService] = field(init=False)

    def __post_init__(self) -> None:
        hosted = {
            name: _hosted(self.id, self.address.url, service, self.revisions.get(name, 0), self.contracts.get(name))
            for name, service in self.manifest.services.items()
        }
        object.__setattr__(self, "services", hosted)

    @property
    def stored(self) -> bytes:
        """For the data directory."""
        row = {
            "http1": self.address.http1,
            "headers": dict(self.address.headers),
            "bidirectional": self.bidirectional,
            "server": self.server,
            "revisions": dict(self.revisions),
            "contracts": dict(self.contracts),
            "manifest": self.manifest.text.decode(),
        }
        return json.dumps(row).encode()

    def version(self) -> Version | None:
        """The version for a new invocation: 6 where that is spoken, else the highest that both sides know."""
        lowest, highest = self.manifest.versions
        for version in (Version.V6, Version.V7, Version.V5):
            if lowest <= version <= highest:
                return version
        return None

    def method(self, service: str, method: str) -> RemoteMethod | None:
        """One of its methods."""
        hosted = self.services.get(service)
        return None if hosted is None else hosted.methods.get(method)


def load_deployment(id: str, url: str, created_ms: int, stored: bytes) -> Deployment:
    """A deployment from its row.

    Args:
        id, url, created_ms: as in `Deployment`.
        stored: what `Deployment.stored` gave.
    """
    row = json.loads(stored)
    return Deployment(
        id=id,
        address=Address.parse(url, http1=row["http1"], headers=row["headers"]),
        bidirectional=row["bidirectional"],
        created_ms=created_ms,
        manifest=parse_manifest(row["manifest"].encode(), url),
        server=row["server"],
        revisions=row["revisions"],
        contracts=row.get("contracts", {}),
    )


def make_deployment(id: str, created_ms: int, found: Discovered, revisions: Mapping[str, int], contracts: Mapping[str, str]) -> Deployment:
    """A deployment of an endpoint that answered.

    Args:
        contracts: as text, of services that come without one.

    Raises:
        RuntimeFault: RT0603, a contract is of something else than what is hosted.
    """
    without = [name for name, service in found.manifest.services.items() if METADATA not in service.metadata]
    return Deployment(
        id=id,
        address=found.address,
        bidirectional=found.bidirectional,
        created_ms=created_ms,
        manifest=found.manifest,
        server=found.server,
        revisions=revisions,
        contracts={name: contracts[name] for name in without if name in contracts},
    )


_KINDS = {
    ServiceType.SERVICE: ServiceKind.UNKEYED,
    ServiceType.VIRTUAL_OBJECT: ServiceKind.KEYED,
    ServiceType.WORKFLOW: ServiceKind.KEYED,
}


def _hosted(deployment: str, where: str, service: Service, revision: int, given: str | None) -> RemoteService:
    descriptor = _descriptor(service, where) if given is None else _given(service, where, given)
    kind = _KINDS[service.type] if descriptor is None else descriptor.kind
    methods = {handler.name: _method(deployment, service, handler, kind, descriptor) for handler in service.handlers.values()}
    return RemoteService(name=service.name, ty=service.type.value, kind=kind, revision=revision, methods=methods, descriptor=descriptor)


def _descriptor(service: Service, where: str) -> ServiceDescriptor | None:
    """The contract that an endpoint of this project sends along.

    Raises:
        RuntimeFault: RT0603, it cannot be read, or is of something else.
    """
    text = service.metadata.get(METADATA)
    if text is None:
        return None
    try:
        descriptor = describe_services(unpack(text)).get(service.name)
    except DescriptorSetError as error:
        raise RuntimeFault("RT0603", f"{where}: the service {service.name}: {error}") from None
    if descriptor is None or {method.name for method in descriptor.methods} != set(service.handlers):
        raise RuntimeFault("RT0603", f"{where}: the service {service.name} does not have the handlers of its contract")
    return descriptor


def _given(service: Service, where: str, text: str) -> ServiceDescriptor:
    """The contract that an operator gave. The endpoint may have less than it, and more.

    Raises:
        RuntimeFault: RT0603, the service is of another kind.
    """
    descriptor = describe_services(unpack(text))[service.name]
    if (descriptor.kind is ServiceKind.UNKEYED) is not (_KINDS[service.type] is ServiceKind.UNKEYED):
        kinds = f"a {service.type.value}, its contract says {descriptor.kind.name}"
        raise RuntimeFault("RT0603", f"{where}: the service {service.name} is {kinds}: give another file as --descriptors")
    return descriptor


def _method(deployment: str, service: Service, handler: Handler, kind: ServiceKind, contract: ServiceDescriptor | None) -> RemoteMethod:
    settings = handler.settings
    run_once = handler.type is HandlerType.WORKFLOW
    own = METADATA in service.metadata
    descriptor = next((method for method in contract.methods if method.name == handler.name), None) if contract is not None else None
    options: list[RetryOptions | None] = [_without_defaults(settings.retry) if own else settings.retry]
    inactivity_timeout = settings.inactivity_timeout
    retention = settings.workflow_retention if run_once else settings.idempotency_retention
    if contract is not None and descriptor is not None and not own:  # an endpoint of this project has passed them on
        options = [contract.retry, descriptor.retry, *options]
        inactivity_timeout = inactivity_timeout or descriptor.inactivity_timeout or contract.inactivity_timeout
        retention = retention or descriptor.retention or contract.retention
    as_json = descriptor is not None and not own and _is_json(handler.input)
    return RemoteMethod(
        descriptor=descriptor,
        sealed=own,
        service=service.name,
        name=handler.name,
        kind=kind,
        shared=handler.type is HandlerType.SHARED,
        privacy=_privacy(service, handler, contract, descriptor),
        content_type=_sendable(handler.output.content_type or "") or "application/octet-stream",
        options=tuple(given for given in options if given is not None),
        inactivity_timeout=inactivity_timeout,
        retention=retention,
        deployment=deployment,
        run_once=run_once,
        promises=service.type is ServiceType.WORKFLOW,
        json_request=as_json,
        json_response=as_json and _is_json(handler.output),
        lazy_state=bool(settings.lazy_state),
        abort_timeout=settings.abort_timeout,
    )


def _sendable(content_type: str) -> str:
    """What fits into a header of HTTP."""
    return content_type if content_type.isascii() and content_type.isprintable() else ""


def _is_json(payload: Payload) -> bool:
    return "json" in (payload.content_type or "").lower()


def _privacy(service: Service, handler: Handler, contract: ServiceDescriptor | None, method: MethodDescriptor[Any, Any] | None) -> Privacy:
    """A handler's own word stays; the service's can be changed by what is stored."""
    by_method = method is not None and method.private
    by_contract = contract is not None and contract.private
    if by_method:
        return Privacy.METHOD
    if by_contract or (handler.settings.private and (METADATA in service.metadata or service.settings.private)):
        return Privacy.SERVICE
    return Privacy.METHOD if handler.settings.private else Privacy.OPEN


def _without_defaults(retry: RetryOptions) -> RetryOptions:
    """An endpoint of this project always gives a whole policy: what is the default in it is for the runtime to say."""
    given = {item.name: getattr(retry, item.name) for item in fields(retry)}
    return RetryOptions(**{name: None if value == getattr(INVOCATION_RETRY, name) else value for name, value in given.items()})


def describe(deployment: Deployment, pinned: int) -> dict[str, Any]:
    """A row of sys_deployment, with its services.

    Args:
        deployment: as it is stored.
        pinned: invocations that are not completed and began on it.
    """
    lowest, highest = deployment.manifest.versions
    return {
        "id": deployment.id,
        "ty": "http",
        "endpoint": deployment.address.url,
        "created_at": datetime.fromtimestamp(deployment.created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "protocol_type": "BidiStream" if deployment.bidirectional else "RequestResponse",
        "http_version": "HTTP/1.1" if deployment.address.http1 else "HTTP/2.0",
        "sdk_version": deployment.server or None,
        "min_service_protocol_version": lowest,
        "max_service_protocol_version": highest,
        "pinned_invocations": pinned,
        "services": [
            {"name": service.name, "ty": service.ty, "revision": service.revision, "handlers": sorted(service.methods)}
            for _, service in sorted(deployment.services.items())
        ],
    }
