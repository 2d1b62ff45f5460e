"""Injected faults: the shares that were asked for, drawn independently."""

import random

from turnout.proxy.filters.fault import FaultInjector
from turnout.rules.resilience import Fault


def test_nothing_configured_draws_nothing() -> None:
    def never() -> float:
        raise AssertionError("no random number is wanted")

    assert FaultInjector(Fault()).draw(never) == (0.0, 0)
    assert FaultInjector(Fault(delay_s=1.0, abort_status=503)).draw(never) == (0.0, 0)
    assert FaultInjector(Fault(delay_per_million=1_000_000)).draw(never) == (0.0, 0)


def test_all_requests_get_what_a_hundred_per_cent_get() -> None:
    injector = FaultInjector(
        Fault(delay_s=0.5, delay_per_million=1_000_000, abort_status=429, abort_per_million=1_000_000)
    )
    assert injector.draw(lambda: 0.999999999) == (0.5, 429)


def test_a_share_is_below_its_bound() -> None:
    injector = FaultInjector(Fault(abort_status=503, abort_per_million=250_000))
    assert injector.draw(lambda: 0.249999) == (0.0, 503)
    assert injector.draw(lambda: 0.25) == (0.0, 0)


def test_delay_and_abort_are_drawn_each_by_itself() -> None:
    injector = FaultInjector(Fault(delay_s=2.0, delay_per_million=300_000, abort_status=500, abort_per_million=100_000))
    dice = random.Random(5).random
    drawn = [injector.draw(dice) for _ in range(100_000)]
    delayed = sum(1 for delay_s, _ in drawn if delay_s)
    aborted = sum(1 for _, status in drawn if status)
    both = sum(1 for delay_s, status in drawn if delay_s and status)
    assert 29_400 < delayed < 30_600
    assert 9_600 < aborted < 10_400
    assert 2_780 < both < 3_220
