"""The descriptors that a generated module brings along where its message classes carry none."""

from __future__ import annotations

from .load import Loaded
from .protobuf import FileDescriptorSet

__all__ = ["carried"]

_PROTOBUFS_OWN = "google/protobuf/"
# Those that every supported protobuf has a module for; `cpp_features.proto` and the like come and go.
_WELL_KNOWN = frozenset(
    f"{_PROTOBUFS_OWN}{name}.proto"
    for name in ("any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type", "wrappers")
)


def carried(loaded: Loaded, name: str) -> bytes:
    """A FileDescriptorSet with that file and what it imports, dependencies first, without comments and protobuf's own files."""
    files = FileDescriptorSet()
    seen: set[str] = set(_WELL_KNOWN)

    def add(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        proto = loaded.proto(name)
        for dependency in [*proto.dependency, *getattr(proto, "option_dependency", ())]:
            if dependency in loaded.files:
                add(dependency)
        files.file.append(proto)

    add(name)
    return files.SerializeToString(deterministic=True)
