"""Where an attempt runs: in this process, or at an endpoint. Both are drivers of the same core."""

from __future__ import annotations

from ..journal.entries import Ref
from ..journal.model import Invocation
from .deployments import Deployments
from .driver import Driver
from .registry import Registry
from .remote.driver import RemoteDriver
from .remote.hosting import RemoteMethod

__all__ = ["Dispatcher"]


class Dispatcher:
    """Implements `shell.Attempts` on both drivers.

    An invocation that has begun at a deployment stays there, as long as the deployment exists; all others go to the newest one of their
    service, or to this process.
    """

    def __init__(self, registry: Registry, deployments: Deployments, local: Driver, remote: RemoteDriver) -> None:
        self._registry = registry
        self._deployments = deployments
        self._local = local
        self._remote = remote

    def start(self, invocation: Invocation) -> None:
        """Runs an attempt."""
        target = invocation.target
        deployment = self._deployments.find(invocation.deployment) if invocation.deployment else None
        method = None if deployment is None else deployment.method(target.service, target.method)
        if method is None:
            hosted = self._registry.services.get(target.service)
            newest = None if hosted is None else hosted.methods.get(target.method)
            if isinstance(newest, RemoteMethod):
                method = newest
                deployment = self._deployments.find(newest.deployment)
        if deployment is None or method is None:
            self._local.start(invocation)
        else:
            self._remote.start(invocation, deployment, method)

    def deliver(self, seq: int, ref: Ref) -> None:
        """A result arrived for a handler in memory."""
        if not self._remote.deliver(seq, ref):
            self._local.deliver(seq, ref)

    def abandon(self, seq: int) -> None:
        """The attempt is over."""
        if not self._remote.abandon(seq):
            self._local.abandon(seq)

    def relieve(self) -> None:
        """Somebody waits for room."""
        self._local.relieve()
        self._remote.relieve()

    def start_action(self, seq: int, token: int, completion_id: int) -> None:
        """A side effect of a handler in this process may begin; endpoints begin theirs by themselves."""
        self._local.start_action(seq, token, completion_id)

    def still_waits(self, seq: int) -> None:
        """A result came that does not end the wait of a suspended invocation, or one that others wait for has to wait for its turn."""
        self._local.still_waits(seq)
