"""What a cluster hosts, as a registry: its admin API's word, with the contracts that the endpoints sent along."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from ...descriptor_set import METADATA, DescriptorSetError, describe, unpack
from ...descriptors import ServiceDescriptor, ServiceKind
from ...engine.registry import HostedMethod, HostedService, Privacy, Registry
from ...errors import TerminalError
from .client import Cluster

__all__ = ["Directory"]

_LOG = logging.getLogger("restate_runtime.gateway")
_EVERY_S = 5.0
_KINDS = {"Service": ServiceKind.UNKEYED, "VirtualObject": ServiceKind.KEYED, "Workflow": ServiceKind.KEYED}
_BYTES = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")


class Directory:
    """The services of a cluster.

    Args:
        cluster: whose services.
        contracts: of services whose endpoints send none along.

    Attributes:
        registry: the services as they were when it was last asked.
        services: the same as the admin API says it, by name.
    """

    def __init__(self, cluster: Cluster, contracts: Mapping[str, ServiceDescriptor]) -> None:
        self.registry = Registry((), may_be_empty=True)
        self.services: dict[str, dict[str, Any]] = {}
        self._cluster = cluster
        self._contracts = contracts
        self._seen: dict[str, str] = {}
        self._signature: object = None
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Asks the cluster.

        Raises:
            ConnectionError: it does not answer.
        """
        async with self._asking:
            found = await self._cluster.admin("GET", "/services")
            services = found.get("services") if isinstance(found, dict) else None
            if not isinstance(services, list):
                raise ConnectionError("what answers at --cluster-admin is no Restate cluster")
            self.services = {service["name"]: service for service in services}
            for name in set(self._seen) - set(self.services):
                del self._seen[name]
                self.registry.remove(name)
            for name, service in self.services.items():
                text = json.dumps(service, sort_keys=True)
                if self._seen.get(name) != text:
                    self.registry.add(self._hosted(service))
                    self._seen[name] = text

    async def watch(self) -> None:
        """Asks every few seconds whether something has changed, until it is cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                rows = await self._cluster.query("select name, revision, deployment_id, public from sys_service order by name")
                if rows != self._signature:
                    await self.refresh()
                    self._signature = rows
            except (ConnectionError, TerminalError) as error:
                _LOG.debug("the services are not known to be up to date: %s", error)

    def sealed(self, service: str) -> bool:
        """Whether the values of a service carry their tags: its endpoint is one of this project's."""
        return METADATA in (self.services.get(service, {}).get("metadata") or {})

    def takes_json(self, service: str, method: str) -> bool:
        """Whether a method takes nothing but JSON, as some of Restate's SDKs have it for contracts too."""
        for handler in self.services.get(service, {}).get("handlers", ()):
            if handler["name"] == method:
                taken = (handler.get("input_description") or "").lower()
                return "json" in taken and "proto" not in taken and "*/*" not in taken
        return False

    def _hosted(self, service: Mapping[str, Any]) -> HostedService:
        name = service["name"]
        descriptor = self._descriptor(service) or self._contracts.get(name)
        kind = _KINDS.get(service["ty"], ServiceKind.UNKEYED) if descriptor is None else descriptor.kind
        methods = {item["name"]: _method(service, item, kind, descriptor) for item in service["handlers"]}
        return HostedService(name=name, kind=kind, methods=methods, descriptor=descriptor)

    def _descriptor(self, service: Mapping[str, Any]) -> ServiceDescriptor | None:
        text = (service.get("metadata") or {}).get(METADATA)
        if text is None:
            return None
        try:
            return describe(unpack(text)).get(service["name"])
        except DescriptorSetError as error:
            _LOG.warning("%s: its contract cannot be used, so that it takes bytes only: %s", service["name"], error)
            return None


def _method(service: Mapping[str, Any], handler: Mapping[str, Any], kind: ServiceKind, contract: ServiceDescriptor | None) -> HostedMethod:
    known = {} if contract is None else {method.name: method for method in contract.methods}
    returned = _MEDIA_TYPE.search(handler.get("output_description") or "")
    public = service.get("public", True) and handler.get("public", True)
    return HostedMethod(
        service=service["name"],
        name=handler["name"],
        kind=kind,
        shared=handler.get("ty") == "Shared",
        run_once=handler.get("ty") == "Workflow",
        privacy=Privacy.OPEN if public else Privacy.SERVICE,
        descriptor=known.get(handler["name"]),
        content_type=returned.group() if returned else _BYTES,
    )
