"""What the wheel holds, and what an install of it asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ("ext", "events", "options", "services", "wire")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def described(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_all_packages_are_typed(wheel: zipfile.ZipFile) -> None:
    assert {"protoc_gen_restate/py.typed", "restate_runtime/py.typed", "dev/restate/py.typed"} <= set(wheel.namelist())


def test_the_shipped_modules_are_there_with_their_stubs(wheel: zipfile.ZipFile) -> None:
    wanted = {f"dev/restate/{stem}_pb2{suffix}" for stem in SHIPPED for suffix in (".py", ".pyi")}
    assert wanted <= set(wheel.namelist())


def test_the_shipped_modules_leave_room_for_a_users_own_dev_package(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if name.startswith("dev/") and name.endswith("__init__.py")]


def test_the_annotations_are_there_to_include(wheel: zipfile.ZipFile) -> None:
    assert {f"protoc_gen_restate/include/dev/restate/{stem}.proto" for stem in SHIPPED} <= set(wheel.namelist())


def test_the_generators_templates_are_there(wheel: zipfile.ZipFile) -> None:
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "protoc_gen_restate").rglob("*.j2")}
    assert templates <= set(wheel.namelist())


def test_nothing_else_is_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"protoc_gen_restate", "restate_runtime", "dev"}


def test_no_python_is_too_new(described: Message) -> None:
    assert described["Requires-Python"] == ">=3.11"


def test_a_bare_install_does_not_pull_grpc() -> None:
    assert not {name for name in required("protoc-gen-restate") if name.startswith("grpcio")}


def test_the_extras_are_those_of_the_contract(described: Message) -> None:
    extras = set(described.get_all("Provides-Extra", []))
    assert extras == {"codegen", "grpc", "betterproto", "betterproto2", "cluster", "otel", "all"}


def required(distribution: str) -> set[str]:
    """The names of everything that an install without extras brings, by what is installed here."""
    names: set[str] = set()
    todo = [distribution]
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in names:
            continue
        names.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform or Python
            continue
        for requirement in requirements:
            found = re.match(r"[A-Za-z0-9._-]+", requirement)
            if found and "extra ==" not in requirement:
                todo.append(found.group())
    return names
