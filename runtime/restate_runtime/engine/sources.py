"""Which line of the user's code asked: the `at` of a command."""

from __future__ import annotations

import types
from pathlib import Path

__all__ = ["user_line"]

_OWN = str(Path(__file__).parents[1])
_is_own: dict[types.CodeType, bool] = {}
_lines: dict[tuple[types.CodeType, int], str] = {}


def user_line(frame: types.FrameType | None) -> str:
    """`folder/file.py:12` of the nearest frame outside this package; empty where there is none."""
    while frame is not None:
        code = frame.f_code
        own = _is_own.get(code)
        if own is None:
            own = _is_own[code] = code.co_filename.startswith(_OWN)
        if not own:
            place = (code, frame.f_lineno)
            line = _lines.get(place)
            if line is None:
                path = Path(code.co_filename)
                line = _lines[place] = (
                    f"{path.parent.name}/{path.name}:{frame.f_lineno}" if path.parent.name else f"{path.name}:{frame.f_lineno}"
                )
            return line
        frame = frame.f_back
    return ""
