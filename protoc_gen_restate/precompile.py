"""Templates as Python modules: compiling them would take a quarter of a run's time.

`python -m protoc_gen_restate.precompile` writes them anew after a change. A template that was changed since is taken from its source.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import jinja2

__all__ = ["CompiledLoader", "sources", "write"]

TEMPLATES = Path(__file__).parent / "templates"
COMPILED = Path(__file__).parent / "compiled"
# What is compiled speaks of jinja2's inside, which stays the same within these.
_RELEASES = "3.1."


class CompiledLoader(jinja2.BaseLoader):
    """Our own templates, without their sources."""

    has_source_access = False

    def __init__(self) -> None:
        self._usable = jinja2.__version__.startswith(_RELEASES)
        self._source = jinja2.FileSystemLoader(TEMPLATES)

    def load(self, environment: jinja2.Environment, name: str, globals: MutableMapping[str, Any] | None = None) -> jinja2.Template:
        """The compiled template; the source where that is newer."""
        module = self._compiled(name) if self._usable else None
        if module is None:
            return self._source.load(environment, name, globals)
        return environment.template_class.from_module_dict(environment, module, {} if globals is None else globals)

    def list_templates(self) -> list[str]:
        """The names of our templates."""
        return self._source.list_templates()

    def _compiled(self, name: str) -> dict[str, Any] | None:
        file = TEMPLATES / name
        if not file.is_file():
            return None
        try:
            module = importlib.import_module(f"{__package__}.compiled.{_module_of(name)}")
        except ImportError:
            return None
        return vars(module) if module.digest == _digest(file) else None


def sources(environment: jinja2.Environment) -> dict[str, str]:
    """The modules' texts, by file name."""
    return {
        f"{_module_of(file.name)}.py": _HEAD
        + f'digest = "{_digest(file)}"\n'
        + str(environment.compile(file.read_text("utf-8"), file.name, f"templates/{file.name}", raw=True, defer_init=True))
        + "\n"
        for file in sorted(TEMPLATES.glob("*.j2"))
    }


def write(environment: jinja2.Environment) -> None:
    """Writes every module anew."""
    COMPILED.mkdir(exist_ok=True)
    for old in COMPILED.glob("*.py"):
        old.unlink()
    (COMPILED / "__init__.py").write_text('"""The templates, compiled by `python -m protoc_gen_restate.precompile`."""\n', "utf-8")
    for name, text in sources(environment).items():
        (COMPILED / name).write_text(text, "utf-8")


_HEAD = '"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""\n\n'


def _module_of(name: str) -> str:
    return name.partition(".")[0]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    from .render import environment_of

    write(environment_of())
