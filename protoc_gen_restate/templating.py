"""What templates are made with: Jinja's environment, and the functions that it has beside its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .comments import docstring, literal
from .faults import ExtensionFault
from .lines import call, exploded, keyword, signature, whole

if TYPE_CHECKING:
    import jinja2

__all__ = ["FILTERS", "FUNCTIONS", "TEMPLATES", "environment_of", "rendered"]

TEMPLATES = Path(__file__).parent / "templates"
"""The folder of our templates."""

FILTERS: Mapping[str, Callable[..., str]] = {function.__name__: function for function in (docstring, literal)}
"""`{{ text | docstring(4) }}`"""

FUNCTIONS: Mapping[str, Callable[..., str]] = {function.__name__: function for function in (call, exploded, keyword, signature, whole)}
"""`{{ whole(text) }}`"""


def rendered(environment: jinja2.Environment, name: str, values: Mapping[str, object]) -> str:
    """The text that a template gives.

    Raises:
        ExtensionFault: it is faulty, or what it asks for is not there.
    """
    try:
        return environment.get_template(name).render(values)
    except Exception as error:  # whatever an expression in it runs into
        raise ExtensionFault(f"{_place(error, name)}: {type(error).__name__}: {error}", "RST009") from None


def _place(error: Exception, name: str) -> str:
    """File and line in the innermost template."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".j2")]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name


def environment_of(folders: Sequence[Path] = ()) -> jinja2.Environment:
    """Our templates, behind those in the folders."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, TEMPLATES]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= FILTERS
    environment.globals |= FUNCTIONS
    return environment
