"""First-byte times: how they are counted, and when an endpoint is slower than the others."""

import random
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.latency import (
    CELL_WORDS,
    CELLS_WORDS,
    CLASSES,
    STEPS,
    Cells,
    load_cells,
    record_latency,
    seconds,
    size_class,
)
from turnout.proxy.cluster.outliers.slow import MAX_PEERS, WINDOW, compare, find_slow
from turnout.proxy.telemetry.layout import RECORD_WORDS, EndpointWord
from turnout.rules.resilience import LatencyOutliers

CONFIG = LatencyOutliers()


def cells_of(*requests: tuple[int, float]) -> Cells:
    """What (body bytes, first-byte seconds) leave behind."""
    words = memoryview(bytearray(8 * CELLS_WORDS)).cast("Q")
    for body_bytes, first_byte_s in requests:
        record_latency(words, CELL_WORDS * size_class(body_bytes), first_byte_s)
    return load_cells(words)


def traffic(rng: random.Random, requests: int, typical_s: float, sizes: tuple[int, ...] = (100,)) -> Cells:
    """Times that scatter by a factor of 1.4 and grow with the size, as a prefill does."""
    chosen = [rng.choice(sizes) for _ in range(requests)]
    return cells_of(*((size, typical_s * (1 + size / 1_000) * 2 ** rng.gauss(0, 0.5)) for size in chosen))


# How they are counted


@pytest.mark.parametrize(
    ("body_bytes", "expected"),
    [(0, 0), (1, 0), (255, 0), (256, 1), (511, 1), (512, 2), (1 << 20, 13), ((1 << 26) - 1, 18), (1 << 26, 19)],
)
def test_a_size_class_is_a_power_of_two(body_bytes: int, expected: int) -> None:
    assert size_class(body_bytes) == expected


@given(st.integers(0, 2**64 - 1))
def test_two_sizes_of_an_inner_class_differ_by_less_than_a_factor_of_two(body_bytes: int) -> None:
    which = size_class(body_bytes)
    assert 0 <= which < CLASSES
    if 0 < which < CLASSES - 1:
        assert 256 << (which - 1) <= body_bytes < 256 << which


def test_the_cells_have_their_place_in_an_endpoint_record() -> None:
    end = EndpointWord.LATENCY + CELLS_WORDS
    assert end <= RECORD_WORDS
    assert [word for word in EndpointWord if EndpointWord.LATENCY < word < end] == []


@given(st.lists(st.floats(2e-6, 3_600.0), min_size=1, max_size=50))
def test_a_cell_tells_the_mean_and_the_scatter_of_the_logarithms(times_s: list[float]) -> None:
    ((n, total, squares),) = cells_of(*((0, time_s) for time_s in times_s)).values()
    assert n == len(times_s)
    geometric_mean_s = 2 ** (sum(log2(time_s) for time_s in times_s) / n)
    assert seconds(total / n) == pytest.approx(geometric_mean_s, rel=0.01)
    assert squares * n >= total * total


def test_what_has_no_upper_bound_is_not_compared() -> None:
    assert cells_of((1 << 26, 1.0), ((1 << 26) - 1, 1.0)).keys() == {CLASSES - 2}


def test_no_first_byte_is_not_a_fast_one() -> None:
    assert cells_of((0, -1.0), (0, 0.0)) == {}
    assert cells_of((0, 1e-9)) == {0: (1, 0, 0)}


# How two are compared


def test_five_times_slower_is_told_as_five_times_slower() -> None:
    found = compare(cells_of(*[(0, 0.5)] * 40), cells_of(*[(0, 0.1)] * 60))
    assert found is not None
    assert 2 ** (found.difference / STEPS) == pytest.approx(5, rel=0.02)
    assert (found.requests, found.other_requests) == (40, 60)


def test_only_sizes_that_both_had_are_compared() -> None:
    short, long = [(100, 0.01)] * 30, [(100_000, 2.0)] * 30
    assert compare(cells_of(*long), cells_of(*short)) is None
    found = compare(cells_of(*long, *short[:5]), cells_of(*short))
    assert found is not None
    assert found.difference == 0
    assert (found.requests, found.other_requests) == (5, 30)


def test_a_handful_of_equal_values_proves_little() -> None:
    few = compare(cells_of((0, 0.5), (0, 0.5)), cells_of((0, 0.1), (0, 0.1)))
    many = compare(cells_of(*[(0, 0.5)] * 200), cells_of(*[(0, 0.1)] * 200))
    assert few is not None
    assert many is not None
    assert few.error > 0.5 * STEPS
    assert many.error < 0.02 * STEPS


# Who is slow


def judge(*intervals: dict[str, Cells], config: LatencyOutliers = CONFIG) -> list[str]:
    keys = intervals[-1].keys()
    history = {key: [interval[key] for interval in intervals if key in interval] for key in keys}
    return [key for key, _ in find_slow(history, config)]


@pytest.mark.parametrize(
    ("times", "slow"),
    [
        ([1, 5], [1]),
        ([1, 1, 5], [2]),
        ([1, 1, 2], []),
        ([5, 5, 5], []),
        ([1, 5, 5], []),
        ([1, 1, 5, 8], [3, 2]),
        ([1, 1, 1, 1, 1, 1, 1, 5], [7]),
        ([1, 2, 4, 8], [3]),
        ([5], []),
    ],
    ids=str,
)
def test_slow_is_what_is_slower_than_most_of_the_others(times: list[int], slow: list[int]) -> None:
    rng = random.Random(1)
    found = judge({str(at): traffic(rng, 400, 0.02 * factor) for at, factor in enumerate(times)})
    assert found == [str(at) for at in slow]


def test_the_numbers_say_what_was_compared() -> None:
    history = {"a": [cells_of(*[(0, 0.1)] * 50)], "b": [cells_of(*[(0, 0.6)] * 40)]}
    ((key, numbers),) = find_slow(history, CONFIG)
    assert key == "b"
    assert numbers["times_slower"] == pytest.approx(6, rel=0.02)
    assert 3 < numbers["at_least"] < numbers["times_slower"]
    assert numbers["first_byte_ms"] == pytest.approx(600, rel=0.01)
    assert numbers["others_first_byte_ms"] == pytest.approx(100, rel=0.01)
    assert {
        name: numbers[name] for name in ("factor", "requests", "others_requests", "compared_with", "intervals")
    } == {
        "factor": 3.0,
        "requests": 40,
        "others_requests": 50,
        "compared_with": 1,
        "intervals": 1,
    }


@pytest.mark.parametrize("requests", [(19, 400), (400, 19)])
def test_both_sides_need_the_volume(requests: tuple[int, int]) -> None:
    slow, fast = requests
    assert judge({"a": cells_of(*[(0, 0.1)] * fast), "b": cells_of(*[(0, 0.9)] * slow)}) == []


def test_one_that_gets_few_requests_is_seen_after_some_intervals() -> None:
    rng = random.Random(2)
    intervals = [
        {"a": traffic(rng, 100, 0.02), "b": traffic(rng, 100, 0.02), "c": traffic(rng, 8, 0.2)} for _ in range(4)
    ]
    assert judge(*intervals[:2]) == []
    assert judge(*intervals[:3]) == ["c"]


def test_a_slow_time_of_all_is_not_held_against_who_was_there_only_then() -> None:
    rng = random.Random(3)
    calm = [{"a": traffic(rng, 100, 0.02), "b": traffic(rng, 100, 0.02)} for _ in range(WINDOW)]
    busy = {"a": traffic(rng, 100, 0.2), "b": traffic(rng, 100, 0.2), "new": traffic(rng, 100, 0.2)}
    assert judge(*calm, busy) == []


def test_more_confidence_asks_for_more_requests() -> None:
    rng = random.Random(4)
    interval = {"a": traffic(rng, 30, 0.02), "b": traffic(rng, 30, 0.02 * 4.5)}
    assert judge(interval, config=LatencyOutliers(confidence=1.0)) == ["b"]
    assert judge(interval, config=LatencyOutliers(confidence=6.0)) == []


@given(st.integers(0, 2**32), st.integers(2, 6))
def test_the_mix_of_sizes_does_not_matter(seed: int, endpoints: int) -> None:
    rng = random.Random(seed)
    sizes = tuple(2**power for power in range(6, 20))
    mixes = [tuple(rng.sample(sizes, rng.randint(1, len(sizes)))) for _ in range(endpoints)]
    assert judge({str(at): traffic(rng, 200, 0.02, mix) for at, mix in enumerate(mixes)}) == []


@pytest.mark.parametrize("least", [256 << power for power in range(CLASSES - 2)])
def test_the_longest_and_the_shortest_of_a_size_class_differ_less_than_fast_and_slow(least: int) -> None:
    """Though the time grows with the size, and one endpoint got all that are long."""
    short, long = [(least, 1e-6 * least)] * 1_000, [(2 * least - 1, 2e-6 * least)] * 1_000
    assert judge({"a": cells_of(*short), "b": cells_of(*long)}) == []


def test_in_a_large_pool_a_sample_of_the_others_is_enough() -> None:
    rng = random.Random(5)
    assert MAX_PEERS < 10
    interval = {f"{at:03}": traffic(rng, 60, 0.02 * (6 if at % 50 == 7 else 1)) for at in range(150)}
    assert sorted(judge(interval)) == ["007", "057", "107"]
