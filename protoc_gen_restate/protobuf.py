"""The few classes of protobuf that the plugin needs, without the rest of the library.

Importing `google.protobuf.descriptor_pb2` loads protobuf's pure Python half as well, also where its compiled half does the work: longer
than a small contract takes. So where the compiled half is, the classes are made from a copy of descriptor.proto and plugin.proto in a pool
of their own; where it is not, or is not wanted, the library's public modules give the same ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__all__ = [
    "CodeGeneratorResponse",
    "DescriptorPool",
    "FieldDescriptorProto",
    "FileDescriptorProto",
    "FileDescriptorSet",
    "Location",
    "message_class",
]


def _load_compiled() -> Any:
    """Protobuf's compiled half; `None` where there is none, or the user has chosen another."""
    if os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "upb") != "upb":
        return None
    try:
        from google._upb import _message  # `google.protobuf` itself gets it like this
    except ImportError:
        return None
    # It is not public: another release may have it otherwise.
    return _message if {"DescriptorPool", "MessageMeta"} <= vars(_message).keys() else None


_compiled = _load_compiled()

if TYPE_CHECKING or _compiled is None:
    from google.protobuf.compiler.plugin_pb2 import CodeGeneratorResponse
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, SourceCodeInfo
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    message_class = GetMessageClass
    Location = SourceCodeInfo.Location
else:
    from google.protobuf.message import Message

    from .compiled.schema import DESCRIPTOR, PLUGIN

    DescriptorPool = _compiled.DescriptorPool

    def message_class(descriptor: Any) -> Any:
        """The class of a message, the same one each time; the public `GetMessageClass` makes it like this."""
        return _compiled.MessageMeta(descriptor.name, (Message,), {"DESCRIPTOR": descriptor, "__module__": None})

    _pool = DescriptorPool()  # the library's own would mind another release's descriptor.proto
    _messages = {
        name: message for file in map(_pool.AddSerializedFile, (DESCRIPTOR, PLUGIN)) for name, message in file.message_types_by_name.items()
    }
    CodeGeneratorResponse = message_class(_messages["CodeGeneratorResponse"])
    FieldDescriptorProto = message_class(_messages["FieldDescriptorProto"])
    FileDescriptorProto = message_class(_messages["FileDescriptorProto"])
    FileDescriptorSet = message_class(_messages["FileDescriptorSet"])
    Location = message_class(_messages["SourceCodeInfo"].nested_types_by_name["Location"])
