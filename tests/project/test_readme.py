"""The README's example is real: it generates, type checks and runs, as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(text)


def run(folder: Path, *arguments: str) -> str:
    """Runs Python in a folder and returns what it printed."""
    result = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with the contract, the code made by the README's command, and the implementation."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "greeter.proto").write_text(block("proto"))
    (folder / "greeter.py").write_text(block("python"))
    (command,) = re.findall(r"^    python (-m protoc_gen_restate .*)$", README, re.MULTILINE)
    run(folder, *command.split())
    return folder


def test_it_is_as_short_as_it_says() -> None:
    assert len(block("proto").splitlines()) <= 10
    service = block("python").split("app = App")[0]
    assert len(service.splitlines()) <= 20


def test_it_runs_in_process(folder: Path) -> None:
    printed = run(folder, "greeter.py")
    assert re.findall(r'text: "(.*?)"', printed) == [f"Hello Ada, visit {number}" for number in (1, 2, 3)]


def test_it_type_checks(folder: Path) -> None:
    assert "Success" in run(folder, "-m", "mypy", "--strict", "--config-file=", "greeter.py")


@pytest.mark.parametrize("page", [ROOT / "README.md"], ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if not link.startswith("http")]
    assert not [link for link in links if not (page.parent / link).exists()]
