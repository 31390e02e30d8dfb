"""The base of generated server bases."""

from __future__ import annotations

import abc
from typing import ClassVar

from ..descriptors import ServiceDescriptor

__all__ = ["Service"]


class Service(abc.ABC):
    """An implementation of one annotated service: subclass the generated `...Base`, not this class."""

    # Every other name may be an rpc's, so nothing else stands here.
    __restate_service__: ClassVar[ServiceDescriptor]
