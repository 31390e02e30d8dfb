"""The shape of the source: small modules."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("protoc_gen_restate", "runtime", "examples", "benchmarks", "tests")
GENERATED = {"expected", "generated"}
LONGEST = 600


def test_no_module_is_longer_than_600_lines() -> None:
    modules = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 20
    written = [path.relative_to(ROOT) for path in modules if not GENERATED.intersection(path.relative_to(ROOT).parts)]
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in written}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}
