"""What every test may use: tools that may be missing, and how long property tests look for a counter-example.

Tests run plain Python, also where there is a compiled build; with `TURNOUT_COMPILED=1` they run that one, here and in
the workers that they start.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent / "common"))

from turnout.proxy.compiled import SWITCH, prefer_compiled

# Before anything else of ours is imported.
BUILD = prefer_compiled() if os.environ.setdefault(SWITCH, "0") == "1" else "plain"
if BUILD != "compiled" and os.environ[SWITCH] == "1":
    raise pytest.UsageError(f"there is no compiled build to be tested ({BUILD}); `make compiled` makes it")

# A deadline an example would measure the machine, and a slow draw is no fault of the code.
settings.register_profile("house", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("house"), max_examples=1_000, print_blob=True)
settings.load_profile("house")


def pytest_report_header() -> str:
    return f"data plane: {BUILD}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Compiled code asks for the classes that it names, so a test with a stand-in for one of them is for plain code."""
    for item in items:
        if BUILD == "compiled" and item.get_closest_marker("stand_in"):
            item.add_marker(pytest.mark.skip(reason="has a stand-in where compiled code asks for the class"))


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """`require_tool("wrk")` gives the path of a program; without it the test skips, or fails where CI is set."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if path is None:
            reason = f"{name} is not installed"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find
