"""What every test may use: tools that may be missing, and how long property tests look for a counter-example."""

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# A deadline an example would measure the machine, and a slow draw is no fault of the code.
settings.register_profile("house", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("house"), max_examples=1_000, print_blob=True)
settings.load_profile("house")


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
