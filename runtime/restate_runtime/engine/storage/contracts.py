"""The contracts of the hosted services, kept beside their data, so that values can be decoded without the code; and who may call them."""

from __future__ import annotations

import json

import apsw
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from ..registry import HostedMethod, HostedService, Privacy, Registry
from .rows import checked, damage_reported, sealed

__all__ = ["contract_row", "load_access", "load_pool", "store_contracts"]


@damage_reported()
def store_contracts(connection: apsw.Connection, registry: Registry) -> None:
    """Writes the services whose contract changed; the revision counts the changes."""
    before = {row[0]: checked("service", row) for row in connection.execute("SELECT * FROM service")}
    rows = []
    for name, bound in registry.services.items():
        contract = _contract(bound)
        old = before.get(name)
        if old is None or old[1:4] != contract:
            rows.append(sealed("service", name, *contract, 1 if old is None else old[4] + 1))
    if rows:
        with connection:
            connection.executemany("INSERT OR REPLACE INTO service VALUES (?,?,?,?,?,?)", rows)


@damage_reported()
def contract_row(connection: apsw.Connection, service: HostedService) -> tuple[str, str, str, bytes, int] | None:
    """The row of a service that came while the runtime runs; `None` where it is there as it is."""
    contract = _contract(service)
    row = connection.execute("SELECT * FROM service WHERE name = ?", (service.name,)).fetchone()
    old = None if row is None else checked("service", row)
    if old is not None and old[1:4] == contract:
        return None
    return (service.name, *contract, 1 if old is None else old[4] + 1)


def _contract(service: HostedService) -> tuple[str, str, bytes]:
    files = descriptor_pb2.FileDescriptorSet()
    if service.descriptor is not None:
        _collect(service.descriptor.descriptor.file, files, set())
    return service.kind.value, json.dumps([_method(method) for method in service.methods.values()]), files.SerializeToString()


def _method(method: HostedMethod) -> dict[str, str]:
    row = {"name": method.name}
    if method.descriptor is not None:
        described = method.descriptor.descriptor
        row |= {"request": described.input_type.full_name, "response": described.output_type.full_name}
    if method.privacy is not Privacy.OPEN:
        row["private"] = method.privacy.value
    return row


def _collect(file: FileDescriptor, files: descriptor_pb2.FileDescriptorSet, seen: set[str]) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        _collect(dependency, files, seen)
    file.CopyToProto(files.file.add())


@damage_reported()
def load_access(connection: apsw.Connection) -> dict[str, bool]:
    """The services that somebody closed or opened to callers outside, by name: whether they are public."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'access'").get:
        return {}  # a stopped runtime's files may be of an older version
    rows = connection.execute("SELECT service, public, crc FROM access")
    return {service: bool(public) for service, public in (checked("access", row) for row in rows)}


@damage_reported()
def load_pool(connection: apsw.Connection) -> descriptor_pool.DescriptorPool:
    """All contracts in a pool of their own. A file that two services hold in different forms is taken from the first."""
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for row in connection.execute("SELECT * FROM service ORDER BY name"):
        for file in descriptor_pb2.FileDescriptorSet.FromString(checked("service", row)[3]).file:
            if file.name not in added:
                added.add(file.name)
                pool.Add(file)
    return pool
