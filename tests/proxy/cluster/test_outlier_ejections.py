"""Who may be ejected, for how long, and when those that are have to come back."""

import random
from collections.abc import Callable

import pytest

from turnout.proxy.cluster.outliers.ejections import Ejections
from turnout.rules.resilience import OutlierDetection

ENVOY = OutlierDetection(min_available_percent=None, max_ejection_percent=10)
OURS = OutlierDetection()


def book(endpoints: int, held: int = 0, draw: Callable[[], float] = lambda: 0.0) -> Ejections:
    """Endpoints "0", "1", …; the last ones of them are held back by somebody else."""
    ejections = Ejections(draw)
    keys = [str(at) for at in range(endpoints)]
    ejections.set_endpoints(keys, keys[endpoints - held :])
    return ejections


def eject_all(ejections: Ejections, config: OutlierDetection) -> list[str]:
    """Try each in turn. Returns those that might go."""
    for key in ejections.present():
        if not ejections.refusal(config, key):
            ejections.eject(config, key, "consecutive_5xx", 0.0)
    return list(ejections.ejected)


@pytest.mark.parametrize(
    ("endpoints", "percent", "ejected"),
    [(1, 10, 0), (3, 10, 0), (9, 10, 0), (10, 10, 1), (19, 10, 1), (20, 10, 2), (3, 33, 0), (3, 34, 1), (2, 100, 2)],
)
def test_envoys_maximum_is_rounded_down(endpoints: int, percent: int, ejected: int) -> None:
    config = OutlierDetection(min_available_percent=None, max_ejection_percent=percent)
    assert len(eject_all(book(endpoints), config)) == ejected


@pytest.mark.parametrize(("percent", "ejected"), [(0, 1), (10, 1), (50, 2)])
def test_one_may_always_go_if_envoy_is_told_so(percent: int, ejected: int) -> None:
    config = OutlierDetection(min_available_percent=None, max_ejection_percent=percent, always_eject_one=True)
    assert len(eject_all(book(4), config)) == ejected


@pytest.mark.parametrize(
    ("endpoints", "percent", "stay"),
    [(1, 50, 1), (2, 50, 1), (3, 50, 2), (4, 50, 2), (5, 50, 3), (8, 50, 4), (3, 0, 1), (3, 100, 3), (8, 25, 2)],
)
def test_so_many_stay_available_rounded_up_and_at_least_one(endpoints: int, percent: float, stay: int) -> None:
    ejected = eject_all(book(endpoints), OutlierDetection(min_available_percent=percent))
    assert endpoints - len(ejected) == stay


def test_the_last_one_stays_even_where_one_may_always_go() -> None:
    config = OutlierDetection(always_eject_one=True)
    assert book(1).refusal(config, "0") == "min_available"


def test_who_is_held_back_by_others_is_not_available() -> None:
    ejections = book(4, held=2)
    assert ejections.refusal(OURS, "0") == "min_available"
    assert ejections.refusal(OURS, "3") == "", "it is missing already"
    assert ejections.refusal(OutlierDetection(min_available_percent=25.0), "0") == ""


def test_nor_are_too_many_ejected_of_those() -> None:
    assert eject_all(book(4, held=4), OURS) == ["0", "1"]


def test_who_is_ejected_comes_back_when_others_go_away() -> None:
    ejections = book(4)
    assert eject_all(ejections, OURS) == ["0", "1"]
    assert list(ejections.missing(OURS)) == []
    ejections.set_endpoints(["0", "1"], held=[])
    back = ejections.missing(OURS)
    assert next(back) == "0"
    ejections.uneject("0", 1.0)
    assert list(back) == []
    assert list(ejections.missing(ENVOY)) == []


def test_who_is_ejected_comes_back_for_checks_that_fail_only_if_there_is_nothing_else() -> None:
    ejections, keys = book(4), ["0", "1", "2", "3"]
    eject_all(ejections, OURS)
    ejections.set_endpoints(keys, held=["2"])
    assert list(ejections.missing(OURS)) == []
    ejections.set_endpoints(keys, held=["0", "2", "3"])
    assert next(ejections.missing(OURS)) == "1"
    ejections.set_endpoints(keys, held=keys)
    assert list(ejections.missing(OURS)) == []


def test_an_ejection_grows_by_the_base_up_to_the_maximum() -> None:
    config = OutlierDetection(base_ejection_s=30.0, max_ejection_s=100.0)
    ejections, now, lasted = book(2), 0.0, []
    for _ in range(6):
        until = ejections.eject(config, "0", "latency", now)
        lasted.append(until - now)
        assert ejections.due(until - 0.001) == []
        assert ejections.due(until) == ["0"]
        assert ejections.uneject("0", until)["times"] == len(lasted)
        now = until
    assert lasted == [30, 60, 90, 100, 100, 100]


def test_each_interval_that_it_was_back_for_forgives_one_ejection() -> None:
    ejections, now = book(2), 0.0
    for _ in range(3):
        ejections.eject(OURS, "0", "latency", now)
        ejections.on_interval_end(10.0, now)
        ejections.uneject("0", now)
    ejections.on_interval_end(10.0, now + 9.0)
    assert ejections.eject(OURS, "0", "latency", now) == now + 120
    ejections.uneject("0", now)
    for _ in range(2):
        ejections.on_interval_end(10.0, now := now + 10.0)
    assert ejections.eject(OURS, "0", "latency", now) == now + 90
    ejections.uneject("0", now)
    for _ in range(10):
        ejections.on_interval_end(10.0, now := now + 10.0)
    assert ejections.eject(OURS, "0", "latency", now) == now + 30


def test_the_jitter_is_in_whole_milliseconds_from_none_to_all() -> None:
    config = OutlierDetection(ejection_jitter_s=0.010)
    drawn = random.Random(6).random
    lasted = {round(book(2, draw=drawn).eject(config, "0", "latency", 0.0) * 1000) for _ in range(500)}
    assert lasted == set(range(30_000, 30_011))


def test_what_was_learnt_of_an_endpoint_goes_with_it() -> None:
    ejections = book(3)
    ejections.eject(OURS, "0", "latency", 0.0)
    ejections.set_endpoints(["0", "1", "2", "3"], held=[])
    assert list(ejections.ejected) == ["0"]
    ejections.set_endpoints(["1", "2"], held=[])
    ejections.set_endpoints(["0", "1", "2"], held=[])
    assert ejections.ejected == {}
    assert ejections.eject(OURS, "0", "latency", 0.0) == 30
