"""What templates are made with: Jinja's environment, and the functions that it has beside its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .comments import docstring, literal
from .lines import call, exploded, keyword, signature, whole

if TYPE_CHECKING:
    import jinja2

__all__ = ["FILTERS", "FUNCTIONS", "TEMPLATES", "environment_of"]

TEMPLATES = Path(__file__).parent / "templates"
"""The folder of our templates."""

FILTERS: Mapping[str, Callable[..., str]] = {function.__name__: function for function in (docstring, literal)}
"""`{{ text | docstring(4) }}`"""

FUNCTIONS: Mapping[str, Callable[..., str]] = {function.__name__: function for function in (call, exploded, keyword, signature, whole)}
"""`{{ whole(text) }}`"""


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
