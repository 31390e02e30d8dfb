"""GOAWAY of HTTP/2, taken out of what a server sends before the library sees it.

A GOAWAY says that the connection takes no new streams; those that are open go on. `h2` regards the connection as closed from then on, and
refuses every further frame, so a server that shuts down gracefully would lose what it still wants to answer.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["GoAway", "GoAwayFilter"]

_HEADER = 9
_GOAWAY = 0x07
_LONGEST = 1 << 14  # of a frame: a longer one is for the library to refuse


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server takes no new streams, and has not looked at those above the last one."""

    last_stream_id: int
    error_code: int


class GoAwayFilter:
    """Splits what arrives, in pieces of any size, into what the library may see and GOAWAY frames."""

    def __init__(self) -> None:
        self._head = bytearray()  # of a frame whose header, or whose GOAWAY, is not complete
        self._passing = 0  # bytes of the current frame that go through

    def feed(self, data: bytes) -> list[bytes | GoAway]:
        """Both, in order."""
        out: list[bytes | GoAway] = []
        through = bytearray()
        position = 0
        while position < len(data):
            if self._passing:
                taken = min(self._passing, len(data) - position)
                through += data[position : position + taken]
                self._passing -= taken
                position += taken
                continue
            wanted = self._wanted()
            taken = min(wanted - len(self._head), len(data) - position)
            self._head += data[position : position + taken]
            position += taken
            if len(self._head) < self._wanted():
                continue
            length = int.from_bytes(self._head[:3], "big")
            if not self._is_goaway():
                through += self._head
                self._passing = length
            else:
                if through:
                    out.append(bytes(through))
                    through.clear()
                last, code = struct.unpack_from(">II", self._head, _HEADER) if length >= 8 else (0, 1)
                out.append(GoAway(last & 0x7FFFFFFF, code))
            self._head.clear()
        if through:
            out.append(bytes(through))
        return out

    def _wanted(self) -> int:
        if len(self._head) < _HEADER or not self._is_goaway():
            return _HEADER
        return _HEADER + int.from_bytes(self._head[:3], "big")

    def _is_goaway(self) -> bool:
        return self._head[3] == _GOAWAY and int.from_bytes(self._head[:3], "big") <= _LONGEST
