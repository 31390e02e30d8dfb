"""Random runs of the core alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .simulator import MOVE_COUNT, Move, World

MOVES = st.lists(st.tuples(st.integers(0, MOVE_COUNT - 1), st.integers(0, 40), st.integers(0, 200)), min_size=5, max_size=80)
RUNS = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}


def run(moves: list[Move]) -> None:
    world = World()
    world.play(moves)
    world.drain()


@pytest.mark.rule("R21")
@pytest.mark.rule("R40")
@pytest.mark.rule("R42")
def test_the_core_alone(full: bool) -> None:
    """One holder for each key, first in first out, every admitted invocation ends, one reply for each waiter, recovery as before."""
    settings(max_examples=20_000 if full else 400, **RUNS)(given(MOVES)(run))()
