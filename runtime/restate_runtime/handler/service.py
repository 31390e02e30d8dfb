"""The base of generated server bases."""

from __future__ import annotations

import abc
from typing import ClassVar

from ..descriptors import ServiceDescriptor
from .context import Context

__all__ = ["Service"]


class Service(abc.ABC):
    """An implementation of one annotated service: subclass the generated `...Base`, not this class."""

    # Every other name may be an rpc's, so nothing else stands here.
    __restate_service__: ClassVar[ServiceDescriptor]
    # Generated contexts with typed state, where the service declares some: for its handlers, and for its shared ones.
    __restate_context__: ClassVar[type[Context] | None] = None
    __restate_shared_context__: ClassVar[type[Context] | None] = None
