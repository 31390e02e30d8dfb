"""`ctx.logger`: silent while the handler replays, and knows which invocation speaks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .invocation import Invocation

__all__ = ["ContextLogger"]

_LOGGER = logging.getLogger("restate_runtime.handler")


class ContextLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds `service`, `method`, `key` and `invocation_id` to each record, and says nothing that was said before."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(
            _LOGGER,
            {
                "service": invocation.service,
                "method": invocation.method,
                "key": invocation.key,
                "invocation_id": invocation.id,
            },
        )
        self._invocation = invocation

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """Never while replaying."""
        return not self._invocation.silent and super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """The message with the target in front."""
        if self.isEnabledFor(level):
            target = f"[{self._invocation.target}] "
            # A key may hold what looks like a place for an argument.
            prefix = target.replace("%", "%%") if args else target
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            super().log(level, f"{prefix}{msg}", *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Adds who speaks; the caller's own `extra` wins."""
        extra: Mapping[str, object] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        kwargs["extra"] = extra
        return msg, kwargs
