"""The compile-time half: a protoc plugin from annotated .proto files to typed clients and server bases."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
