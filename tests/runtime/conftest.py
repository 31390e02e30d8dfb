"""A runtime of the sample services, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .services import Sample


@pytest.fixture
def sample(tmp_path: Path, runtime_options: dict[str, Any]) -> Sample:
    """The sample services, not started: `async with sample.start() as runtime`, again for a restart on the same data."""
    return Sample(tmp_path / "data", runtime_options)
