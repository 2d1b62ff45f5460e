"""Outliers by latency: an endpoint whose first bytes come several times later than the others' (asked for in
envoy#288).

How two endpoints are compared. Within each size class that both have answered, the difference of the mean logarithms
of their first-byte times; over the classes, the mean of these differences, weighted by n·m / (n + m) as in a two-way
analysis of variance. So only like is compared with like: a different mix of prompt lengths changes the weights and
not the differences, and where nothing can be compared nobody is slow. The scatter within the cells gives the standard
error; it is taken as if `PRIOR_COUNT` more values with a scatter of a factor of two had been seen, for a handful of
equal values proves little.

Who is an outlier. One that is slower by more than `factor`, and that by `confidence` standard errors, than more than
half of the others, with at least `request_volume` requests of each. So if all are slow nobody is, and of three with
two slow ones nobody is either: what most do is normal.

Over which time. The last interval, or the last two, … up to `WINDOW`: with many requests it is seen at once, and an
endpoint that gets few, as a slow one does from a good balancer, is seen too. All endpoints are compared over the same
intervals, for load changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import log2, sqrt
from typing import NamedTuple

from turnout.proxy.cluster.latency import STEPS, Cells, count, seconds
from turnout.proxy.cluster.outliers.decision import Numbers
from turnout.rules.resilience import LatencyOutliers

WINDOW = 6
"""Intervals that are remembered: a minute, at the default of 10 s."""

MAX_PEERS = 7
"""In a larger pool each endpoint is held against so many of the others, spread evenly from the fastest to the
slowest."""

PRIOR_COUNT = 4.0
PRIOR_SQUARES = PRIOR_COUNT * STEPS**2


class Comparison(NamedTuple):
    """By how much one is slower than another, in steps of `latency.STEPS`: the difference, its standard error; then the
    weighted means of both, and the requests that were compared."""

    difference: float
    error: float
    mean: float
    other_mean: float
    requests: int
    other_requests: int


def compare(own: Cells, other: Cells) -> Comparison | None:
    """None if there is no size class that both have answered."""
    weights = mean = other_mean = squares = 0.0
    requests = other_requests = freedom = 0
    for which, (n, total, total_squares) in own.items():
        if which not in other:
            continue
        m, other_total, other_squares = other[which]
        weight = n * m / (n + m)
        weights += weight
        mean += weight * total / n
        other_mean += weight * other_total / m
        squares += total_squares - total * total / n + other_squares - other_total * other_total / m
        freedom += n + m - 2
        requests += n
        other_requests += m
    if not weights:
        return None
    error = sqrt((squares + PRIOR_SQUARES) / (freedom + PRIOR_COUNT) / weights)
    mean, other_mean = mean / weights, other_mean / weights
    return Comparison(mean - other_mean, error, mean, other_mean, requests, other_requests)


def find_slow(history: Mapping[str, Sequence[Cells]], config: LatencyOutliers) -> list[tuple[str, Numbers]]:
    """The outliers, the slowest first. `history` are the last intervals of each endpoint, the newest last."""
    found: dict[str, tuple[float, Numbers]] = {}
    for intervals, cells in _windows(history):
        by_mean = sorted(cells, key=lambda key: _mean(cells[key]))
        peers = by_mean[:: -(-len(by_mean) // (MAX_PEERS + 1))]
        for key in cells.keys() - found.keys():
            if count(cells[key]) >= config.request_volume:
                verdict = _judge(cells[key], [cells[peer] for peer in peers if peer != key], config)
                if verdict is not None:
                    found[key] = verdict[0], {**verdict[1], "intervals": intervals}
    return [(key, numbers) for key, (_, numbers) in sorted(found.items(), key=lambda item: (-item[1][0], item[0]))]


def _judge(own: Cells, peers: Sequence[Cells], config: LatencyOutliers) -> tuple[float, Numbers] | None:
    """By how many steps it is slower for certain than half of the others and one, and the numbers of that one."""
    bounds = []
    for peer in peers:
        found = compare(own, peer)
        if found is not None and min(found.requests, found.other_requests) >= config.request_volume:
            bounds.append((found.difference - config.confidence * found.error, found))
    if not bounds:
        return None
    bounds.sort(reverse=True)
    bound, decisive = bounds[len(bounds) // 2]
    if bound <= STEPS * log2(config.factor):
        return None
    return bound, {
        "times_slower": round(2.0 ** (decisive.difference / STEPS), 2),
        "at_least": round(2.0 ** (bound / STEPS), 2),
        "factor": config.factor,
        "first_byte_ms": round(1e3 * seconds(decisive.mean), 3),
        "others_first_byte_ms": round(1e3 * seconds(decisive.other_mean), 3),
        "requests": decisive.requests,
        "others_requests": decisive.other_requests,
        "compared_with": len(bounds),
    }


def _windows(history: Mapping[str, Sequence[Cells]]) -> Iterator[tuple[int, dict[str, Cells]]]:
    """What each did in the last interval, in the last two, …: the number of intervals, and sums for those that were
    there all the time."""
    sums: dict[str, Cells] = {key: {} for key in history}
    for intervals in range(1, WINDOW + 1):
        sums = {
            key: _add(cells, history[key][-intervals]) for key, cells in sums.items() if len(history[key]) >= intervals
        }
        if len(sums) < 2:
            return
        yield intervals, sums


def _add(left: Cells, right: Cells) -> Cells:
    total = dict(left)
    for which, (n, values, squares) in right.items():
        before = total.get(which, (0, 0, 0))
        total[which] = before[0] + n, before[1] + values, before[2] + squares
    return total


def _mean(cells: Cells) -> float:
    return sum(cell[1] for cell in cells.values()) / (count(cells) or 1)
