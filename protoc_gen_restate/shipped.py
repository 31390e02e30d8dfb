"""The .proto files that come with this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.descriptor_pb2 import FileDescriptorProto

__all__ = ["SHIPPED", "digest", "include_folder", "is_shipped"]

# The serialized FileDescriptorProto of each shipped file, without source info. Two differing copies of a file cannot live in one process,
# so a file is ours when it is the same to the byte; its name alone says nothing.
SHIPPED = {
    "dev/restate/ext.proto": "37e902f4434d51c231ca5754e6c845d0fd3596e68f5659554b93530a244d00ec",
    "dev/restate/events.proto": "5702300b52293128ed2ec6970fcbce63b0b04060996ae41b0387af4a4a3f9140",
    "dev/restate/options.proto": "f15a1e1664d2280537e41ef3b05908619aaf312631db7a8ccf0837ae9437be79",
    "dev/restate/services.proto": "a9811abf0e8090d5dd9643edeb07001f67eb0f59096f9e428168da75ba901463",
    "dev/restate/wire.proto": "36bbd46ea51b996081a664d0d881cb29b558a9b71510693dcdf5a2ce799d888d",
}


def digest(proto: FileDescriptorProto) -> str:
    """SHA-256 of the file, which has no source info."""
    import hashlib  # hardly any request has one of our files among those to generate for

    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()


def is_shipped(proto: FileDescriptorProto) -> bool:
    """The file is one of ours, unchanged."""
    return proto.name in SHIPPED and digest(proto) == SHIPPED[proto.name]


def include_folder() -> Path:
    """The folder to pass to protoc as `-I`: beside this module in a wheel, the contracts' own folder in a checkout.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    from pathlib import Path

    here = Path(__file__).resolve().parent
    for folder in (here / "include", here.parent / "protos"):
        if (folder / "dev" / "restate" / "ext.proto").is_file():
            return folder
    raise FileNotFoundError(f"dev/restate/ext.proto is missing beside {here}: install protoc-gen-restate again")
