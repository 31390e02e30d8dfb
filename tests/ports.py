"""Ports for servers that cannot choose their own: endpoints that come back at their URL, nodes of a cluster."""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_port"]

# Below the ports that a system gives to whoever asks for any (from 32768 on Linux): between the choice and the server's start none of
# those many can take it. Processes that test at the same time begin at different places.
_FIRST, _COUNT = 10_000, 20_000
_numbers = itertools.count(os.getpid() * 1_009)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens at."""
    for number in _numbers:
        port = _FIRST + number % _COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")
