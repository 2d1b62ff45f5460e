"""Simulations: the real decisions on a virtual clock (see README.md)."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _chance() -> Iterator[None]:
    """Exchanges draw from the `random` of all; a simulation seeds it, and leaves it as it was."""
    state = random.getstate()
    yield
    random.setstate(state)
