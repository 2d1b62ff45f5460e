"""The checks of one endpoint, one after the other: how long lies between them, and how long a warm check may take."""

import asyncio
from itertools import pairwise
from typing import Any

from turnout.proxy.supervisor.health.checker import Checker
from turnout.proxy.supervisor.health.thresholds import Result
from turnout.proxy.supervisor.options import Address
from turnout.rules.resilience import HealthCheck, Probe

CHECKS = 8
WARM = Probe("/warm")


class FakeProber:
    """Everything is well; `times` are those of the checks, `warm_timeouts_s` what warm checks were given."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.warm_timeouts_s: list[float] = []
        self.enough = asyncio.Event()

    async def check(self, config: HealthCheck, address: Address, tls: object) -> Result:
        self.times.append(asyncio.get_running_loop().time())
        if len(self.times) > CHECKS:
            self.enough.set()
        return Result("passed")

    async def warm(self, config: HealthCheck, address: Address, tls: object) -> Result:
        assert config.warm is WARM
        self.warm_timeouts_s.append(config.warm_timeout_s)
        return Result("passed")


async def run(config: HealthCheck) -> FakeProber:
    """Some checks by these settings, of an endpoint that waits for its warm check."""
    prober = FakeProber()
    fake: Any = prober
    checker = Checker(fake, config, Address("127.0.0.1", 80), lambda result: True, lambda result: None)
    async with asyncio.timeout(4):
        await prober.enough.wait()
    checker.cancel()
    return prober


def gaps(prober: FakeProber) -> list[float]:
    return [later - earlier for earlier, later in pairwise(prober.times)]


async def test_the_interval_lies_between_two_checks() -> None:
    assert min(gaps(await run(HealthCheck(interval_s=0.05)))) >= 0.049


async def test_an_interval_is_longer_by_a_part_of_the_jitter() -> None:
    """That the longest of eight is below a tenth of the jitter happens once in 10⁸."""
    assert max(gaps(await run(HealthCheck(interval_s=0.001, interval_jitter_s=0.2)))) > 0.02


async def test_a_warm_check_has_its_own_time() -> None:
    prober = await run(HealthCheck(interval_s=0.001, warm=WARM, warm_timeout_s=7.0))
    assert set(prober.warm_timeouts_s) == {7.0}
