"""Faults of what users add to the generator."""

from __future__ import annotations

__all__ = ["ExtensionFault"]


class ExtensionFault(Exception):
    """A plugin or a template does not work; the text says which, and where.

    Attributes:
        code: the fault's code.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(" ".join(message.split()))  # one line, whatever exception it speaks of
        self.code = code
