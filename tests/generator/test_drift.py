"""generated/ is what the contracts give, whichever compiler runs here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from protoc_gen_restate import precompile
from protoc_gen_restate.render import environment_of

from .conftest import INCLUDE, ROOT

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


def test_compiled_templates_are_what_the_templates_give() -> None:
    if jinja2.__version__.startswith("3.1."):
        written = {file.name: file.read_text("utf-8") for file in precompile.COMPILED.glob("*.py") if file.name != "__init__.py"}
        assert written == precompile.sources(environment_of()), "run `python -m protoc_gen_restate.precompile`"


def test_a_template_that_was_changed_is_taken_from_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(precompile.TEMPLATES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "client.py.j2").write_text("# changed")
    monkeypatch.setattr(precompile, "TEMPLATES", tmp_path)
    assert environment_of().get_template("client.py.j2").render() == "# changed"
