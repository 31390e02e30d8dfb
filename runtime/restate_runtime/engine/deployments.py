"""The deployments that a runtime knows: registered, looked up, removed; kept in the data directory.

A deployment is an endpoint as it was when it was registered. New invocations go to the newest deployment of their service; one that has
begun stays with its own.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from ..descriptor_set import pack
from ..descriptors import ServiceDescriptor
from ..errors import Code, TerminalError
from ..journal.events import Event, ServicesChanged
from ..journal.model import State
from .registry import BoundMethod, HostedService, Registry
from .remote.discovery import Discovered
from .remote.hosting import Deployment, RemoteService, load_deployment, make_deployment

__all__ = ["Deployments", "Discover", "hosts_something_else"]

_LOG = logging.getLogger("restate_runtime.remote")


Discover = Callable[[str, bool], Awaitable[Discovered]]
"""Asks the endpoint at a URL what it hosts, over HTTP/1.1 where the second argument says so."""

Row = tuple[str, str, int, bytes]
"""A deployment as it is kept: its id, URL, time and `Deployment.stored`."""


def hosts_something_else(url: str, id: str) -> TerminalError:
    """What whoever registers an endpoint again is told, without `force`."""
    return TerminalError(
        f"{url} is registered as {id} and hosts something else now: serve each version at a URL of its own, or give --force",
        Code.ALREADY_EXISTS,
    )


class Deployments:
    """All deployments of one runtime.

    Args:
        registry: takes the services of the newest deployments.
        state: of the core, to find who is pinned.
        step: gives the core an event.
        now_ms: milliseconds since 1970.
        discover: asks an endpoint.
        store: keeps rows: those to write, ids of those to delete, and the contracts of services that came.
        stored: the rows of before.
        contracts: of services whose endpoints send none along, by name: for those that are registered from now on.
    """

    def __init__(
        self,
        registry: Registry,
        state: State,
        step: Callable[[Event], None],
        now_ms: Callable[[], int],
        discover: Discover,
        store: Callable[[Sequence[Row], Sequence[str], Sequence[HostedService]], None],
        stored: Iterable[Row],
        contracts: Mapping[str, ServiceDescriptor],
    ) -> None:
        self._registry = registry
        self._state = state
        self._step = step
        self._now_ms = now_ms
        self._discover = discover
        self._store = store
        self._contracts = {name: pack([contract]) for name, contract in contracts.items()}
        self._own = {name for name, service in registry.services.items() if _is_bound(service)}
        self._all: dict[str, Deployment] = {row[0]: load_deployment(*row) for row in stored}
        for name in {name for deployment in self._all.values() for name in deployment.services}:
            self._host_newest(name)

    def __bool__(self) -> bool:
        return bool(self._all)

    def find(self, id: str) -> Deployment | None:
        """The deployment of that id."""
        return self._all.get(id)

    def all(self) -> list[Deployment]:
        """All of them, oldest first."""
        return sorted(self._all.values(), key=lambda deployment: (deployment.created_ms, deployment.id))

    async def register(self, url: str, *, force: bool = False, http1: bool = False) -> tuple[Deployment, bool]:
        """Asks an endpoint what it hosts, and sends new invocations there.

        Args:
            url: of the endpoint.
            force: where the URL is registered and hosts something else now, replace what was registered; handlers may go.
            http1: speak HTTP/1.1 to it.

        Returns:
            The deployment, and whether it is new or has changed.

        Raises:
            RuntimeFault: RT0601 to RT0603, there is no endpoint that could be registered.
            TerminalError: ALREADY_EXISTS, it hosts something else than when it was registered; FAILED_PRECONDITION, a service is of
                another kind than before, or is this process's own.
        """
        found = await self._discover(url, http1)
        before = next((deployment for deployment in self.all() if deployment.address.url == found.address.url), None)
        id = _new_id() if before is None else before.id
        revisions = {name: self._next_revision(name) for name in found.manifest.services}
        # A contract that was given once stays, where none is given now: keys and state depend on it.
        contracts = {**({} if before is None else before.contracts), **self._contracts}
        deployment = make_deployment(id, self._now_ms(), found, revisions, contracts)
        if before is not None and _same(before, deployment) and (not force or self._is_newest(before)):
            return before, False
        if before is not None and not force:
            raise hosts_something_else(url, before.id)
        for service in deployment.services.values():
            self._check(service, force)
        self._all[deployment.id] = deployment
        for name in {*deployment.services, *(() if before is None else before.services)}:
            self._host_newest(name)
        self._store([_row(deployment)], [], [self._registry.services[name] for name in deployment.services])
        self._step(ServicesChanged())
        return deployment, True

    def remove(self, id: str, *, force: bool = False) -> None:
        """Forgets a deployment; its services go back to the one before it, where there is one.

        Raises:
            TerminalError: NOT_FOUND; FAILED_PRECONDITION while invocations that are not completed began on it, unless `force` is given:
                then they go on at the newest deployment, as far as their journals match.
        """
        deployment = self._all.get(id)
        if deployment is None:
            raise TerminalError(f"there is no deployment '{id[:100]}'", Code.NOT_FOUND)
        pinned = self.pinned(id)
        if pinned and not force:
            raise TerminalError(
                f"the deployment {id} has {pinned} invocation{'s' if pinned > 1 else ''} that began on it: wait for them, or give --force",
                Code.FAILED_PRECONDITION,
            )
        del self._all[id]
        self._store([], [id], [])
        for name in deployment.services:
            self._host_newest(name)

    def pinned(self, id: str) -> int:
        """How many invocations that are not completed began on it."""
        return sum(invocation.deployment == id for invocation in self._state.invocations.values())

    # --- services

    def _check(self, service: RemoteService, force: bool) -> None:
        if service.name in self._own:
            raise TerminalError(
                f"the service {service.name} is bound by the App of this runtime: take it out there first", Code.FAILED_PRECONDITION
            )
        known = self._newest(service.name)
        if known is None:
            return
        if known.ty != service.ty:
            raise TerminalError(
                f"the service {service.name} is a {known.ty} and cannot become a {service.ty}: give it another name",
                Code.FAILED_PRECONDITION,
            )
        gone = sorted(set(known.methods) - set(service.methods))
        if gone and not force:
            raise TerminalError(
                f"the service {service.name} has lost {', '.join(gone)}, which callers may still use: give --force if none does",
                Code.FAILED_PRECONDITION,
            )

    def _newest(self, name: str) -> RemoteService | None:
        found = [deployment.services[name] for deployment in self._all.values() if name in deployment.services]
        return max(found, key=lambda service: service.revision, default=None)

    def _is_newest(self, deployment: Deployment) -> bool:
        return all(self._newest(name) is service for name, service in deployment.services.items())

    def _next_revision(self, name: str) -> int:
        known = self._newest(name)
        return 1 if known is None else known.revision + 1

    def _host_newest(self, name: str) -> None:
        if name in self._own:
            _LOG.warning("the service %s is bound by the App and hosted by a deployment: new invocations stay in this process", name)
            return
        newest = self._newest(name)
        if newest is None:
            self._registry.remove(name)
        else:
            self._registry.add(HostedService(name=name, kind=newest.kind, methods=newest.methods, descriptor=newest.descriptor))


def _is_bound(service: HostedService) -> bool:
    return any(isinstance(method, BoundMethod) for method in service.methods.values())


def _new_id() -> str:
    return "dp_1" + base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()


def _same(one: Deployment, other: Deployment) -> bool:
    if (one.address, one.bidirectional, one.contracts) != (other.address, other.bidirectional, other.contracts):
        return False
    return bool(json.loads(one.manifest.text) == json.loads(other.manifest.text))


def _row(deployment: Deployment) -> Row:
    return deployment.id, deployment.address.url, deployment.created_ms, deployment.stored
