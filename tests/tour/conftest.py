"""The ticket shop of the examples, importable."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "ticket_reservation"

if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))
