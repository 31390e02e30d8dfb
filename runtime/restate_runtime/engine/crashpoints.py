"""Numbered points at which tests let the process die.

A point lies before and after everything that counts: a transition's commit, an acknowledgement that leaves, the start of a side effect.
The numbers are stable in serial runs with `batch_size=1`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

__all__ = ["Probe", "no_probe", "probe_from_environment"]

Probe = Callable[[str], None]
"""Called with the point's name: `write`, `written`, `acknowledge`, `effect`."""


def no_probe(_point: str) -> None:
    """Lets everything pass."""


def probe_from_environment(environ: Mapping[str, str] = os.environ) -> Probe:
    """`RESTATE_RUNTIME_CRASH_AT=N` kills the process with SIGKILL at the N-th point, counted from 1."""
    wanted = environ.get("RESTATE_RUNTIME_CRASH_AT")
    if not wanted:
        return no_probe
    left = int(wanted)

    def probe(_point: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return probe
