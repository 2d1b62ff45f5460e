"""Outliers by their share of successes in an interval: Envoy's two statistics (`processSuccessRateEjections`).

* Success rate: of at least `minimum_hosts` endpoints with at least `volume` requests each, those whose rate is below
  mean − factor × σ, with the σ of all of them (not of a sample), which includes the outlier: with one outlier among n
  it is at most √(n − 1) σ away, so that the factor 1.9 needs five.
* Failure percentage: those that failed at least `threshold` per cent, again of enough endpoints with enough requests.

The worst comes first, since not all of them may be ejected; Envoy's order is that of a hash map.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from turnout.proxy.cluster.outliers.decision import Numbers


class Rate(NamedTuple):
    """Of one endpoint: requests with a result, and those that were well."""

    key: str
    requests: int
    successes: int

    @property
    def percent(self) -> float:
        return self.successes * 100.0 / self.requests


Outlier = tuple[str, Numbers]


def success_rate_outliers(rates: Sequence[Rate], minimum_hosts: int, volume: int, stdev_factor: int) -> list[Outlier]:
    """`stdev_factor` is in thousandths, as in Envoy's configuration."""
    valid = _with_volume(rates, volume)
    if not valid or len(valid) < minimum_hosts:
        return []
    mean = sum(rate.percent for rate in valid) / len(valid)
    stdev = sqrt(sum((rate.percent - mean) ** 2 for rate in valid) / len(valid))
    threshold = mean - stdev_factor / 1000.0 * stdev
    shared: Numbers = {"mean": round(mean, 3), "stdev": round(stdev, 3), "threshold": round(threshold, 3)}
    return [
        (rate.key, {"success_rate": round(rate.percent, 3), "requests": rate.requests, **shared})
        for rate in valid
        if rate.percent < threshold
    ]


def failure_percentage_outliers(
    rates: Sequence[Rate], minimum_hosts: int, volume: int, threshold: int
) -> list[Outlier]:
    valid = _with_volume(rates, volume)
    if len(valid) < minimum_hosts:
        return []
    return [
        (
            rate.key,
            {"failure_percentage": round(100.0 - rate.percent, 3), "requests": rate.requests, "threshold": threshold},
        )
        for rate in valid
        if 100.0 - rate.percent >= threshold
    ]


def _with_volume(rates: Sequence[Rate], volume: int) -> list[Rate]:
    """Those with enough requests, and with any at all, the worst first."""
    return sorted((rate for rate in rates if rate.requests and rate.requests >= volume), key=lambda rate: rate.percent)
