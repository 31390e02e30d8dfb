"""`gateway`: the ingress of the contracts in front of a Restate cluster."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..urls import split_url
from .shipped import missing_extra

if TYPE_CHECKING:
    from ..cluster.gateway import Gateway

__all__ = ["gateway"]

_ADMIN_PORT = 9070


@click.command()
@click.option("--cluster", metavar="URL", required=True, multiple=True, help="The cluster's ingress; repeatable, once for each node.")
@click.option("--cluster-admin", metavar="URL", multiple=True, help=f"Its admin API; likewise.  [default: port {_ADMIN_PORT} there]")
@click.option(
    "--ingress", metavar="HOST:PORT", default="127.0.0.1:8180", show_default=True, help="Where to serve calls; port 0 takes a free one."
)
@click.option(
    "--admin",
    metavar="HOST:PORT",
    default="127.0.0.1:9170",
    show_default=True,
    help="Where to serve the admin API; likewise.",
)
@click.option(
    "--descriptors",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Contracts of services whose endpoints send none along, from protoc --include_imports --descriptor_set_out; repeatable.",
)
@click.option("--json", "json_output", is_flag=True, help="Print the addresses as JSON.")
def gateway(
    cluster: tuple[str, ...],
    cluster_admin: tuple[str, ...],
    ingress: str,
    admin: str,
    descriptors: tuple[Path, ...],
    json_output: bool,
) -> None:
    """Serves the contracts of the services on a Restate cluster.

    Calls in JSON or protobuf, background calls and events are served as `serve` serves them, with the key taken from the message, and
    so is the admin API; the cluster keeps and runs everything. One line with the addresses is printed once it serves.
    """
    try:
        from ..cluster.gateway import gateway as serving
    except ModuleNotFoundError as error:
        raise missing_extra("the gateway", error, "cluster") from None
    from ..descriptor_set import read_descriptors

    contracts = read_descriptors(descriptors)
    admins = cluster_admin or tuple(map(_beside, cluster))
    asyncio.run(_serve(serving(cluster, admins, ingress=ingress, admin=admin, contracts=contracts), cluster, json_output))


async def _serve(gateway: AbstractAsyncContextManager[Gateway], cluster: Sequence[str], json_output: bool) -> None:
    from ..serving import stop_on_signals

    stop = asyncio.Event()
    stop_on_signals(asyncio.get_running_loop(), stop)
    async with gateway as running:
        addresses = {"ingress": running.ingress_url, "admin": running.admin_url, "cluster": ", ".join(cluster)}
        if json_output:
            line = msgspec.json.encode(addresses | {"pid": os.getpid()}).decode()
        else:
            line = "gateway: " + ", ".join(f"{name} {value}" for name, value in addresses.items())
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await stop.wait()


def _beside(cluster: str) -> str:
    """The admin API's usual place."""
    try:
        parts = split_url(cluster)
    except ValueError:
        return cluster  # it is told of --cluster
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{_ADMIN_PORT}" if parts.hostname else cluster
