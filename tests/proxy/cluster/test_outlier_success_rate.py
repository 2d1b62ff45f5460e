"""Envoy's two statistics over success rates, by its own numbers."""

import pytest

from turnout.proxy.cluster.outliers.success_rate import Rate, failure_percentage_outliers, success_rate_outliers


def rates(*percents: float, requests: int = 200) -> list[Rate]:
    return [Rate(str(at), requests, int(percent * requests / 100)) for at, percent in enumerate(percents)]


def test_the_example_of_envoys_source() -> None:
    """50, 100, 100, 100, 100: mean 90, σ 20, threshold 52."""
    ((key, numbers),) = success_rate_outliers(rates(100, 50, 100, 100, 100), 5, 100, 1900)
    assert key == "1"
    assert numbers == {"success_rate": 50.0, "requests": 200, "mean": 90.0, "stdev": 20.0, "threshold": 52.0}


@pytest.mark.parametrize(
    ("percents", "factor", "expected"),
    [
        ((100, 100, 100, 100, 100), 1900, []),
        ((0, 0, 0, 0, 0), 1900, []),
        ((99, 100, 100, 100, 100), 1900, ["0"]),
        ((0, 0, 100, 100, 100), 1900, []),
        ((0, 0, 100, 100, 100), 1200, ["0", "1"]),
        ((10, 100, 100, 100), 1900, []),
        ((60, 100, 100, 100, 100, 100, 40, 100, 100, 100), 1900, ["6"]),
        ((60, 100, 100, 100, 100, 100, 40, 100, 100, 100), 1200, ["6", "0"]),
    ],
    ids=str,
)
def test_below_the_mean_by_so_many_sigma(percents: tuple[float, ...], factor: int, expected: list[str]) -> None:
    found = success_rate_outliers(rates(*percents), min(5, len(percents)), 100, factor)
    assert [key for key, _ in found] == expected


@pytest.mark.parametrize(("requests", "hosts", "ejected"), [(100, 5, 1), (99, 5, 0), (100, 4, 0)])
def test_success_rate_needs_volume_and_hosts(requests: int, hosts: int, ejected: int) -> None:
    found = success_rate_outliers(rates(*[0, 100, 100, 100, 100][:hosts], requests=requests), 5, 100, 1000)
    assert len(found) == ejected


def test_who_has_too_few_requests_is_not_in_the_mean() -> None:
    found = success_rate_outliers([*rates(50, 100, 100, 100, 100), Rate("few", 99, 0)], 5, 100, 1900)
    assert [(key, numbers["mean"]) for key, numbers in found] == [("0", 90.0)]


@pytest.mark.parametrize(("failed", "expected"), [(84, []), (85, ["0"]), (100, ["0"])])
def test_failure_percentage_includes_its_threshold(failed: int, expected: list[str]) -> None:
    found = failure_percentage_outliers(rates(100 - failed, 100), 2, 50, 85)
    assert [key for key, _ in found] == expected


def test_failure_percentage_needs_volume_and_hosts_and_takes_the_worst_first() -> None:
    assert failure_percentage_outliers(rates(0, 0), 3, 50, 85) == []
    assert failure_percentage_outliers(rates(0, 0, requests=49), 2, 50, 85) == []
    assert [key for key, _ in failure_percentage_outliers(rates(10, 100, 0), 2, 50, 85)] == ["2", "0"]


def test_no_requests_are_no_rate_even_if_none_are_asked_for() -> None:
    assert success_rate_outliers([Rate("a", 0, 0)], 0, 0, 1900) == []
    assert failure_percentage_outliers([Rate("a", 0, 0)], 0, 0, 50) == []
