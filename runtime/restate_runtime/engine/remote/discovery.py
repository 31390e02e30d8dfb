"""Asks an endpoint what it hosts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...errors import RuntimeFault
from .manifest import Manifest, parse_manifest
from .transport import Address, Client, EndpointError, Problem

__all__ = ["Discovered", "discover"]

_VERSIONS = (4, 3, 2)
_ACCEPT = ", ".join(f"application/vnd.restate.endpointmanifest.v{version}+json" for version in _VERSIONS)
_CONTENT_TYPE = re.compile(r"application/vnd\.restate\.endpointmanifest\.v(\d+)\+json")


@dataclass(frozen=True, slots=True)
class Discovered:
    """An endpoint that answered.

    Attributes:
        address: with the version of HTTP that it speaks.
        bidirectional: attempts are streams both ways; otherwise everything is sent at once.
        server: name and version of its SDK, where it says so.
    """

    address: Address
    bidirectional: bool
    manifest: Manifest
    server: str = ""


async def discover(client: Client, url: str, *, http1: bool = False, headers: Mapping[str, str] | None = None) -> Discovered:
    """Asks over HTTP/2, and over HTTP/1.1 where that is not spoken.

    Args:
        client: asks.
        url: of the endpoint.
        http1: only over HTTP/1.1.
        headers: sent with every request to the endpoint, from then on.

    Raises:
        RuntimeFault: RT0601, there is no endpoint; RT0602, it speaks no version that is spoken here; RT0603, its services break a rule.
    """
    try:
        address = Address.parse(url, http1=http1, headers=headers)
    except ValueError as error:
        raise RuntimeFault("RT0601", str(error)) from None
    try:
        return await _ask(client, address)
    except EndpointError as error:
        if address.http1 or address.function or error.problem is Problem.UNREACHABLE:
            raise RuntimeFault("RT0601", error.message) from None
    try:
        return await _ask(client, replace(address, http1=True))
    except EndpointError as error:
        raise RuntimeFault("RT0601", error.message) from None


async def _ask(client: Client, address: Address) -> Discovered:
    response = await client.get(address, "/discover", {"accept": _ACCEPT})
    where = address.url
    match response.status:
        case 200:
            pass
        case 401 | 403:
            hint = "set the option request_identity_private_key"
            if client.public_key is not None:
                hint = f"give {client.public_key} to its SDK, option identity_keys"
            raise RuntimeFault("RT0601", f"{where} wants requests that are signed with a key it knows ({response.status}): {hint}")
        case 404:
            raise RuntimeFault("RT0601", f"{where} is no service endpoint: it has no /discover (404). Is it the ingress, or another path?")
        case 406 | 415:
            raise RuntimeFault("RT0602", f"{where} describes itself in none of the versions {', '.join(map(str, _VERSIONS))}")
        case status:
            words = " ".join(response.body[:2000].decode(errors="replace").split())[:200]
            raise RuntimeFault("RT0601", f"{where} answers /discover with status {status}" + (f": {words}" if words else ""))
    kind = response.headers.get("content-type", "")
    found = _CONTENT_TYPE.match(kind)
    if found is None:
        raise RuntimeFault("RT0601", f"{where} is no service endpoint: it answers /discover with content type '{kind}'")
    if int(found[1]) not in _VERSIONS:
        raise RuntimeFault("RT0602", f"{where} describes itself in version {found[1]}, which nobody asked for")
    manifest = parse_manifest(response.body, where)
    bidirectional = not (address.http1 or address.function) and manifest.bidirectional is not False
    return Discovered(address, bidirectional, manifest, response.headers.get("x-restate-server", ""))
