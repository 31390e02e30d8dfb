"""generated/ is what the contracts give, whichever compiler runs here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from protoc_gen_restate import precompile
from protoc_gen_restate.templating import TEMPLATES, environment_of

from .conftest import INCLUDE, ROOT, Case, cases

GENERATED = ROOT / "generated"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "protoc_gen_restate", "generate", "-I", str(INCLUDE), "--out", str(out), str(INCLUDE)]
    subprocess.run([*command, str(INCLUDE / "dev")], check=True)
    return out


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py*") if "__pycache__" not in path.parts)


def serialized(module: Path) -> str:
    """The line of a `_pb2.py` that holds its descriptor; the rest of it is the compiler's own and changes with its release."""
    (line,) = (line for line in module.read_text().splitlines() if "AddSerializedFile(" in line)
    return line


def test_every_module_is_there_and_no_other(fresh: Path) -> None:
    assert names(GENERATED) == names(fresh)


def test_services_are_the_same_to_the_byte(fresh: Path) -> None:
    services = [name for name in names(fresh) if name.endswith("_restate.py")]
    assert services
    for name in services:
        assert (GENERATED / name).read_bytes() == (fresh / name).read_bytes(), f"{name}: run `nox -s generate`"


def test_messages_have_the_same_descriptors(fresh: Path) -> None:
    for name in names(fresh):
        if name.endswith("_pb2.py"):
            assert serialized(GENERATED / name) == serialized(fresh / name), f"{name}: run `nox -s generate`"


def test_the_compiled_templates_are_what_the_templates_give() -> None:
    assert precompile.COMPILED.read_text("utf-8") == precompile.compiled(environment_of()), "run `python -m protoc_gen_restate.precompile`"


@pytest.mark.parametrize("case", cases(fails=False), ids=lambda case: case.folder.name)
def test_jinja_gives_the_same_as_the_compiled_templates(case: Case, tmp_path: Path) -> None:
    (tmp_path / "state.py.j2").write_bytes((TEMPLATES / "state.py.j2").read_bytes())  # a template that replaces ours makes Jinja do it
    assert case.generate(tmp_path / "compiled").returncode == 0
    assert case.generate(tmp_path / "jinja", options=[f"templates={tmp_path}"]).returncode == 0
    for module in (tmp_path / "compiled").rglob("*_restate.py"):
        assert (tmp_path / "jinja" / module.relative_to(tmp_path / "compiled")).read_bytes() == module.read_bytes()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ pages.file }}", "'pages' has no value"),
        ("{% for page in page.services %}{% endfor %}", "'page' would hide another"),
        ("{% for item in page.services %}{% set line = item %}{% endfor %}{{ line }}", "'line' has no value"),
        ("{% macro shown(text) %}{% endmacro %}", "line 1: Macro is not known here"),
        ("{{ page.file.name | upper }}", "line 1: Filter is not known here"),
    ],
)
def test_what_would_mean_something_else_in_python_is_not_compiled(template: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "module.py.j2").write_text(template)
    with pytest.raises(precompile.CompileError, match=f"^{re.escape(reason)}$"):
        precompile.compiled(environment_of([tmp_path]))
