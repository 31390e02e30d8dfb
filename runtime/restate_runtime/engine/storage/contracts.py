"""The contracts of the hosted services, kept beside their data, so that values can be decoded without the code."""

from __future__ import annotations

import json

import apsw
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from ..registry import BoundService, Registry
from .rows import checked, damage_reported, sealed

__all__ = ["load_pool", "store_contracts"]


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


def _contract(bound: BoundService) -> tuple[str, str, bytes]:
    methods = [
        {"name": method.name, "request": method.descriptor.input_type.full_name, "response": method.descriptor.output_type.full_name}
        for method in bound.descriptor.methods
    ]
    files = descriptor_pb2.FileDescriptorSet()
    _collect(bound.descriptor.descriptor.file, files, set())
    return bound.descriptor.kind.value, json.dumps(methods), files.SerializeToString()


def _collect(file: FileDescriptor, files: descriptor_pb2.FileDescriptorSet, seen: set[str]) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        _collect(dependency, files, seen)
    file.CopyToProto(files.file.add())


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
