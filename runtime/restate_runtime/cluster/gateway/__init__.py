"""The ingress of the contracts in front of a Restate cluster, which takes the calls, keeps them and runs them."""

from __future__ import annotations

from .serving import Gateway, gateway

__all__ = ["Gateway", "gateway"]
