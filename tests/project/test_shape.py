"""The shape of the source: small modules, and nothing in it that only its writers understand."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("protoc_gen_restate", "runtime", "examples", "benchmarks", "tests")
LONGEST = 600


def test_no_module_is_longer_than_600_lines() -> None:
    modules = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 20
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules if "expected" not in path.parts}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}
