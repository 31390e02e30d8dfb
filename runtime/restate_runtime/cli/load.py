"""Finding the App that MODULE:APP names; every mistake in one line."""

from __future__ import annotations

import difflib
import importlib
import os
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from ..app import App
from ..errors import RuntimeFault
from .shipped import shown_path, use_working_directory

__all__ = ["load_app"]


def load_app(target: str) -> App:
    """The App of `MODULE:APP`; the working directory is put on `sys.path`.

    Raises:
        RuntimeFault: RT0005 where the module does not import or the object is no App, and what the module itself raises, such as RT0102
            for an App without services.
    """
    module_name, colon, attribute = target.partition(":")
    stem = module_name.removesuffix(".py").replace(os.sep, ".")
    if not colon or not attribute or stem != module_name or not module_name:
        raise RuntimeFault("RT0005", f"'{target}' names no App: write MODULE:APP, such as {stem or 'module'}:{attribute or 'app'}")
    use_working_directory()
    found: Any = _import(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise RuntimeFault("RT0005", f"the module '{module_name}' has no '{attribute}'{_hint(found, name)}")
        found = getattr(found, name)
    if not isinstance(found, App):
        raise RuntimeFault("RT0005", f"{target} is no App but {_article(type(found).__name__)}: write app = App(...) in the module")
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except RuntimeFault:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise RuntimeFault("RT0005", f"there is no module '{name}' (looked in {os.getcwd()} and where Python looks)") from None
        raise _does_not_import(name, error) from None
    except SyntaxError as error:
        where = f" ({shown_path(error.filename)}:{error.lineno})" if error.filename else ""
        raise RuntimeFault("RT0005", f"the module '{name}' does not import: {type(error).__name__}: {error.msg}{where}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script without a __main__ guard
        raise _does_not_import(name, error) from None


def _does_not_import(name: str, error: BaseException) -> RuntimeFault:
    text = " ".join(str(error).split())
    problem = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = _user_line(error)
    return RuntimeFault("RT0005", f"the module '{name}' does not import: {problem}{f' ({place})' if place else ''}")


def _user_line(error: BaseException) -> str:
    """File and line of the innermost frame in the user's own code."""
    own = str(Path(__file__).parents[1])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = frame.filename
        if not (path.startswith(("<", own, os.path.dirname(os.__file__))) or "site-packages" in path):
            return f"{shown_path(path)}:{frame.lineno}"
    return ""


def _hint(module: Any, name: str) -> str:
    apps = [known for known, value in vars(module).items() if isinstance(value, App)] if hasattr(module, "__dict__") else []
    near = difflib.get_close_matches(name, apps or dir(module), n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; its Apps are {', '.join(apps)}" if apps else "; it has no App at all"


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
