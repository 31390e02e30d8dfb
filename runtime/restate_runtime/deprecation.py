"""What a contract calls deprecated: told by type checkers everywhere, and once while the program runs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

__all__ = ["deprecated", "warn_once"]

if TYPE_CHECKING:
    from typing_extensions import deprecated as deprecated  # type checkers know it from anywhere
else:
    try:
        from warnings import deprecated
    except ImportError:  # before Python 3.13

        def deprecated(message: str, /, *, category: Any = DeprecationWarning, stacklevel: int = 1) -> Any:
            """Marks what it decorates for people and tools that look for `__deprecated__`; PEP 702."""

            def mark(item: Any) -> Any:
                item.__deprecated__ = message
                return item

            return mark


_told: set[str] = set()


def warn_once(message: str) -> None:
    """Warns whoever reads a property of a client, where nobody was warned of the same before."""
    if message not in _told:
        _told.add(message)
        # Above this function stand the method's constructor and the property.
        warnings.warn(message, DeprecationWarning, stacklevel=4)
