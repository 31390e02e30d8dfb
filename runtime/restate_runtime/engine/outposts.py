"""Everything of a runtime that has to do with endpoints in other processes. A runtime without deployments has none of it in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..journal.waits import Wait
from .driver import Driver
from .options import Options
from .registry import Registry

if TYPE_CHECKING:
    from .deployments import Deployments, Row
    from .remote.discovery import Discovered
    from .remote.driver import RemoteDriver
    from .remote.transport import Client
    from .shell import Shell

__all__ = ["Outposts"]


class Outposts:
    """Brings the remote driver to life with the first deployment, and ends it."""

    def __init__(self, shell: Shell, registry: Registry, options: Options, local: Driver) -> None:
        self._shell = shell
        self._registry = registry
        self._options = options
        self._local = local
        self._client: Client | None = None
        self._driver: RemoteDriver | None = None
        self._deployments: Deployments | None = None

    def open(self, stored: Sequence[Row]) -> None:
        """At a start: takes up what was registered before."""
        if stored:
            self._assemble(stored)

    @property
    def deployments(self) -> Deployments:
        """All deployments."""
        return self._deployments or self._assemble(())

    def _assemble(self, stored: Sequence[Row]) -> Deployments:
        # Imported here: a runtime of an App alone starts without.
        from .deployments import Deployments
        from .dispatch import Dispatcher
        from .remote.client import EndpointClient
        from .remote.driver import RemoteDriver

        shell = self._shell
        self._client = EndpointClient(self._options.max_message_size)
        self._driver = RemoteDriver(shell, self._registry, self._options, self._local, self._client)
        self._deployments = Deployments(self._registry, shell.state, shell.step, shell.now_ms, self._discover, self._store, stored)
        shell.attempts = Dispatcher(self._registry, self._deployments, self._local, self._driver)
        return self._deployments

    async def _discover(self, url: str, http1: bool) -> Discovered:
        from .remote.discovery import discover

        assert self._client is not None
        return await discover(self._client, url, http1=http1)

    def _store(self, rows: list[Row], gone: list[str]) -> None:
        committer = self._shell.committer
        batch = committer.filling.deployments
        batch.update({id: (url, created_ms, stored) for id, url, created_ms, stored in rows})
        batch.update(dict.fromkeys(gone))
        committer.end_transition()

    def wait_of(self, seq: int) -> Wait | None:
        """What an attempt in memory waits for, for people."""
        return self._local.wait_of(seq) or (None if self._driver is None else self._driver.wait_of(seq))

    async def stop(self, timeout_s: float) -> None:
        """Asks everything that runs elsewhere to suspend."""
        if self._driver is not None:
            await self._driver.stop(timeout_s)

    def drop(self) -> None:
        """Every attempt elsewhere is over, at once."""
        if self._driver is not None:
            self._driver.drop()

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()
