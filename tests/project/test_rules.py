"""Every rule that this release claims has a test that carries its number."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

TESTS = Path(__file__).parents[1]


def numbers(*ranges: tuple[int, int]) -> set[str]:
    return {f"R{number}" for first, last in ranges for number in range(first, last + 1)}


KNOWN = numbers((1, 7), (10, 23), (30, 46))
CLAIMED = numbers((1, 7), (10, 23), (30, 32), (34, 45))
MATRIX = runpy.run_path(str(TESTS.parent / "docs" / "make_matrix.py"))
ELSEWHERE = {"R4", "R30", "R43", "R44"}
"""They say nothing about engines: docs/reference/matrix.md tells where their tests are."""


def rules_in(source: str) -> set[str]:
    """The rules that the tests of a module carry."""
    carried: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="rule", value=ast.Attribute(attr="mark")), args=arguments):
                carried |= {str(argument.value) for argument in arguments if isinstance(argument, ast.Constant)}
    return carried


def carried_rules() -> dict[str, set[str]]:
    modules = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    return {str(path.relative_to(TESTS)): rules_in(path.read_text()) for path in modules}


def test_every_claimed_rule_has_a_test() -> None:
    missing = CLAIMED.difference(*carried_rules().values())
    assert not missing, f"no test carries {', '.join(sorted(missing, key=lambda rule: int(rule[1:])))}"


def test_every_claimed_rule_is_one_of_the_suite_for_all_engines() -> None:
    suite = set().union(*(rules for module, rules in carried_rules().items() if module.startswith("contract")))
    assert suite == set(MATRIX["RULES"]) == CLAIMED - ELSEWHERE
    assert all(f"{rule} " in MATRIX["FOOT"] for rule in ELSEWHERE)


def test_no_test_carries_an_unknown_rule() -> None:
    unknown = {module: carried - KNOWN for module, carried in carried_rules().items() if carried - KNOWN}
    assert not unknown


def test_rules_are_found_in_decorators_and_module_marks() -> None:
    source = """
pytestmark = pytest.mark.rule("R1")

@pytest.mark.rule("R2")
@pytest.mark.rule("R3")
async def test_something() -> None: ...
"""
    assert rules_in(source) == {"R1", "R2", "R3"}
