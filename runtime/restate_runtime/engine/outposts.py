"""Everything of a runtime that has to do with endpoints in other processes. A runtime without deployments has none of it in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import RuntimeFault, TerminalError
from ..journal.waits import Wait
from .crashpoints import Probe
from .driver import Driver
from .options import Options
from .registry import HostedService, Registry

if TYPE_CHECKING:
    from ..descriptors import ServiceDescriptor
    from .deployments import Deployments, Row
    from .remote.discovery import Discovered
    from .remote.driver import RemoteDriver
    from .remote.identity import RequestIdentity
    from .remote.transport import Client
    from .shell import Shell

__all__ = ["Outposts"]

_LOG = logging.getLogger("restate_runtime.remote")
_FIRST_TRY_S = 5
_AROUND = 64 * 1024
"""What a message may be longer than its payload."""
_RETRY_S = 0.2
_LONGEST_RETRY_S = 5.0


class Outposts:
    """Brings the remote driver to life with the first deployment, and ends it."""

    def __init__(self, shell: Shell, registry: Registry, options: Options, local: Driver, probe: Probe) -> None:
        self._shell = shell
        self._registry = registry
        self._options = options
        self._local = local
        self._probe = probe
        self._identity = _identity(options)
        self._contracts = _contracts(options)
        _check_deployments(options)
        self._client: Client | None = None
        self._driver: RemoteDriver | None = None
        self._deployments: Deployments | None = None
        self._task: asyncio.Task[None] | None = None
        self._reported: dict[str, str] = {}

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
        self._client = EndpointClient(self._options.max_message_size + _AROUND, self._identity)
        self._driver = RemoteDriver(shell, self._registry, self._options, self._local, self._client, self._probe)
        self._deployments = Deployments(
            self._registry, shell.state, shell.step, shell.now_ms, self._discover, self._store, stored, self._contracts
        )
        shell.attempts = Dispatcher(self._registry, self._deployments, self._local, self._driver)
        return self._deployments

    async def _discover(self, url: str, http1: bool) -> Discovered:
        from .remote.discovery import discover

        assert self._client is not None
        return await discover(self._client, url, http1=http1)

    def _store(self, rows: Sequence[Row], gone: Sequence[str], services: Sequence[HostedService]) -> None:
        committer = self._shell.committer
        batch = committer.filling
        batch.deployments.update({id: (url, created_ms, stored) for id, url, created_ms, stored in rows})
        batch.deployments.update(dict.fromkeys(gone))
        for row in map(self._shell.contract_row, services):
            if row is not None:
                batch.contracts[row[0]] = row[1:]
        committer.end_transition()

    # --- those of the options

    async def register_configured(self) -> None:
        """Registers the endpoints that the options name. Those that do not answer yet are tried until they do.

        Raises:
            RuntimeFault: RT0602 to RT0604, an endpoint that answers cannot be registered.
        """
        missing = [url for url in self._options.deployment if not await self._register(url)]
        if missing:
            self._task = asyncio.get_running_loop().create_task(self._register_later(missing))

    async def _register(self, url: str) -> bool:
        # What runs at a URL of the options is what the operator wants there: a change needs no other word.
        try:
            async with asyncio.timeout(_FIRST_TRY_S):
                await self.deployments.register(url, force=True)
        except TimeoutError:
            self._report(url, "it does not answer")
            return False
        except RuntimeFault as fault:
            if fault.code != "RT0601":
                raise
            self._report(url, str(fault))
            return False
        except TerminalError as error:
            raise RuntimeFault("RT0604", error.message) from None
        return True

    async def _register_later(self, urls: list[str]) -> None:
        delay_s = _RETRY_S
        while urls:
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 1.5, _LONGEST_RETRY_S)
            for url in list(urls):
                try:
                    if await self._register(url):
                        urls.remove(url)
                except RuntimeFault as fault:
                    _LOG.error("%s", fault)
                    urls.remove(url)

    def _report(self, url: str, text: str) -> None:
        if self._reported.get(url) != text:
            self._reported[url] = text
            _LOG.warning("the deployment at %s is not registered yet: %s", url, text)

    def wait_of(self, seq: int) -> Wait | None:
        """What an attempt in memory waits for, for people."""
        return self._local.wait_of(seq) or (None if self._driver is None else self._driver.wait_of(seq))

    async def stop(self, timeout_s: float) -> None:
        """Asks everything that runs elsewhere to suspend."""
        if self._task is not None:
            self._task.cancel()
        if self._driver is not None:
            await self._driver.stop(timeout_s)

    def drop(self) -> None:
        """Every attempt elsewhere is over, at once."""
        if self._task is not None:
            self._task.cancel()
        if self._driver is not None:
            self._driver.drop()

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()


def _contracts(options: Options) -> Mapping[str, ServiceDescriptor]:
    """Likewise, files that cannot be read."""
    if not options.descriptors:
        return {}
    from ..descriptor_set import read_descriptors

    return read_descriptors(options.descriptors)


def _check_deployments(options: Options) -> None:
    """Likewise: what is no endpoint's URL will not be one later."""
    if not options.deployment:
        return
    from .remote.transport import Address

    for url in options.deployment:
        try:
            Address.parse(url)
        except ValueError as error:
            raise RuntimeFault("RT0002", f"deployment: {error}") from None


def _identity(options: Options) -> RequestIdentity | None:
    """At the start, not with the first deployment: a key that cannot be used is told at once."""
    if options.request_identity_private_key is None:
        return None
    from .remote.identity import RequestIdentity

    return RequestIdentity.load(options.request_identity_private_key)
