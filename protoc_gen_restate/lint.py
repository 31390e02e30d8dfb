"""Rules that contracts have to keep."""

from __future__ import annotations

from .model import Contract, Finding


def check(contract: Contract) -> list[Finding]:
    return []
