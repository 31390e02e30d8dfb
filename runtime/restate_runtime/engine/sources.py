"""Which line of the user's code asked or failed."""

from __future__ import annotations

import os
import traceback
import types
from pathlib import Path

from ..serde import storable

__all__ = ["describe_error", "user_line"]

_OWN = str(Path(__file__).parents[1])
_is_own: dict[types.CodeType, bool] = {}
_lines: dict[tuple[types.CodeType, int], str] = {}


def describe_error(error: BaseException) -> str:
    """One line: what was raised, and the last line of user code that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f" ({os.path.basename(f.filename)}:{f.lineno})" for f in reversed(frames) if not f.filename.startswith(_OWN)), "")
    text = storable(str(error))
    if isinstance(error, BaseExceptionGroup):  # of a TaskGroup: what is in it says what is wrong
        text = "; ".join([text, *(describe_error(inner) for inner in error.exceptions)])
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


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
