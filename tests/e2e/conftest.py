"""Real proxies on loopback, for scripts of three actors: a client, the proxy, an upstream.

`lane` is a test's own part of a proxy that all tests share; `hasty_lane` is one in a proxy whose timeouts are
short; `start_proxy` starts a proxy with rules of the test's own.
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from actors.lane import Lane, Lanes
from actors.proxy import Proxy

HASTY = ("--head-timeout", "300ms", "--idle-timeout", "400ms", "--downstream-idle-timeout", "500ms")


def _run(lanes: Lanes, folder: Path, *arguments: str) -> Iterator[Lanes]:
    lanes.proxy = Proxy(folder, lanes.text, *arguments)
    yield lanes
    lanes.proxy.close()
    lanes.close()


@pytest.fixture(scope="session")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    yield from _run(Lanes("lane", 650), tmp_path_factory.mktemp("proxy"))


@pytest.fixture(scope="session")
def hasty_lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    yield from _run(Lanes("hasty", 25, idle="300ms"), tmp_path_factory.mktemp("hasty"), *HASTY)


@pytest.fixture
async def lane(lanes: Lanes) -> AsyncIterator[Lane]:
    lane = await lanes.take()
    yield lane
    lane.close()


@pytest.fixture
async def hasty_lane(hasty_lanes: Lanes) -> AsyncIterator[Lane]:
    lane = await hasty_lanes.take()
    yield lane
    lane.close()


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """`start_proxy(rules, *arguments, **what Proxy takes)`: a proxy of the test's own."""
    proxies: list[Proxy] = []

    def start(rules: str, *arguments: str, **more: Any) -> Proxy:
        folder = tmp_path / f"proxy-{len(proxies)}"
        proxies.append(Proxy(folder, rules, *arguments, **more))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()
