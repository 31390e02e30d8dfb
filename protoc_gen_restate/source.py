"""Where things stand in a .proto file, and their comments."""

from __future__ import annotations

from functools import cached_property

from . import protobuf
from .comments import clean
from .model import Location
from .request import RawFile

__all__ = ["SourceMap"]

# Number of the field of a file's messages, which begins the paths of everything in them.
_MESSAGE = 4
# A serialized Location begins with this tag, the length of the path in bytes, and the path.
_PATH_TAG = 0x0A
# Numbers from here on take more than one byte.
_LARGE = 0x80


class SourceMap:
    """Places and comments of one .proto file.

    Most Locations are those of parts of messages, which hardly anything asks for: one is parsed when it is asked for, and found by the
    bytes of its path.
    """

    def __init__(self, file: RawFile) -> None:
        self._file = file

    def location(self, *path: int) -> Location:
        """Where the thing at that path begins; the nearest enclosing one where the path has no place of its own."""
        found = None
        while path and found is None:
            found, path = self._find(path), path[:-1]
        return self._place(found)

    def comments(self, *path: int) -> str:
        """The comments above and behind the thing at that path, without comment marks."""
        return _comments(self._find(path))

    def both(self, *path: int) -> tuple[Location, str]:
        """Where the thing at that path begins, and its comments."""
        found = self._find(path)
        return self.location(*path[:-1]) if found is None else self._place(found), _comments(found)

    def _place(self, found: protobuf.Location | None) -> Location:
        span = () if found is None else found.span[:2]
        if len(span) < 2:
            return Location(self._file.name)
        line, column = span
        return Location(self._file.name, line + 1, column + 1)

    def _find(self, path: tuple[int, ...]) -> protobuf.Location | None:
        found = (self._in_messages if path[0] == _MESSAGE else self._elsewhere).get(_packed(path))
        return None if found is None else protobuf.Location.FromString(found)

    @cached_property
    def _elsewhere(self) -> dict[bytes, bytes]:
        return self._index(in_messages=False)

    @cached_property
    def _in_messages(self) -> dict[bytes, bytes]:
        return self._index(in_messages=True)

    def _index(self, *, in_messages: bool) -> dict[bytes, bytes]:
        """Serialized Locations by their paths, as these are serialized."""
        return {
            item[2 : 2 + item[1]]: item
            for item in self._file.locations
            if len(item) > 2 and (item[2] == _MESSAGE) is in_messages and item[0] == _PATH_TAG and item[1] < _LARGE
        }


def _comments(found: protobuf.Location | None) -> str:
    if found is None:
        return ""
    texts: tuple[str | bytes, ...] = (found.leading_comments, found.trailing_comments)
    # A file in another encoding than UTF-8: protobuf gives what it cannot decode as bytes.
    decoded = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts if text]
    return "\n\n".join(filter(None, map(clean, decoded)))


def _packed(path: tuple[int, ...]) -> bytes:
    """The numbers as protobuf writes them."""
    if max(path) < _LARGE:
        return bytes(path)
    packed = bytearray()
    for number in path:
        while number >= _LARGE:
            packed.append(number % _LARGE + _LARGE)
            number //= _LARGE
        packed.append(number)
    return bytes(packed)
