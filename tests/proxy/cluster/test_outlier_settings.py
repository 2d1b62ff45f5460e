"""Each setting of outlier detection decides something: on one side of it an endpoint is ejected, on the other not."""

import pytest
from msgspec.structs import replace

from turnout.proxy.cluster.latency import CELL_WORDS, CELLS_WORDS, record_latency, size_class
from turnout.proxy.cluster.outliers.decision import Decision, Kind
from turnout.proxy.cluster.outliers.detector import OutlierDetector
from turnout.proxy.cluster.outliers.sample import Sample
from turnout.rules.resilience import LatencyOutliers, OutlierDetection

REQUESTS = 100
CONFIG = OutlierDetection(split_local_origin=True, enforcing_failure_percentage_local_origin=100)


def make_detector(config: OutlierDetection, endpoints: int) -> OutlierDetector:
    """Its random number is 0.5."""
    detector = OutlierDetector(config, lambda: 0.5)
    detector.set_endpoints([str(at) for at in range(endpoints)], 0.0)
    return detector


def judge(config: OutlierDetection, endpoints: int, worst: Sample, others: Sample | None = None) -> list[Decision]:
    """What is decided after an interval in which one did worse than all others."""
    well = others or Sample(REQUESTS)
    samples = {str(at): well for at in range(1, endpoints)}
    return make_detector(config, endpoints).on_interval({"0": worst, **samples}, 10.0)


def told(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [(decision.action, decision.reason) for decision in decisions]


def late(first_byte_s: float) -> Sample:
    words = memoryview(bytearray(8 * CELLS_WORDS)).cast("Q")
    for _ in range(REQUESTS):
        record_latency(words, CELL_WORDS * size_class(100), first_byte_s)
    return Sample(REQUESTS, latency=tuple(words))


SOME_5XX, SOME_LOST = Sample(REQUESTS, answers_5xx=30), Sample(REQUESTS, local_failures=30)
"""With five others that are well: below mean - 1.9 σ, which is 73.8 %, and not below mean - 2.3 σ."""
MANY_5XX, MANY_LOST = Sample(REQUESTS, answers_5xx=60), Sample(REQUESTS, local_failures=60)


@pytest.mark.parametrize(
    ("setting", "still", "no_longer", "endpoints", "worst"),
    [
        ("success_rate_minimum_hosts", 6, 7, 6, SOME_5XX),
        ("success_rate_request_volume", 100, 101, 6, SOME_5XX),
        ("success_rate_stdev_factor", 2_200, 2_300, 6, SOME_5XX),
        ("success_rate_minimum_hosts", 6, 7, 6, SOME_LOST),
        ("failure_percentage_minimum_hosts", 2, 3, 2, MANY_5XX),
        ("failure_percentage_request_volume", 100, 101, 2, MANY_5XX),
        ("failure_percentage_threshold", 60, 61, 2, MANY_5XX),
        ("failure_percentage_threshold", 60, 61, 2, MANY_LOST),
    ],
)
def test_on_one_side_of_a_bound_it_is_an_outlier(
    setting: str, still: int, no_longer: int, endpoints: int, worst: Sample
) -> None:
    assert told(judge(replace(CONFIG, **{setting: still}), endpoints, worst)) == [("eject", "")]
    assert judge(replace(CONFIG, **{setting: no_longer}), endpoints, worst) == []


@pytest.mark.parametrize(
    ("setting", "endpoints", "worst"),
    [
        ("enforcing_success_rate", 6, SOME_5XX),
        ("enforcing_local_origin_success_rate", 6, SOME_LOST),
        ("enforcing_failure_percentage", 2, MANY_5XX),
        ("enforcing_failure_percentage_local_origin", 2, MANY_LOST),
    ],
)
def test_a_rate_is_acted_on_with_the_chance_that_is_set(setting: str, endpoints: int, worst: Sample) -> None:
    assert told(judge(replace(CONFIG, **{setting: 51}), endpoints, worst)) == [("eject", "")]
    assert told(judge(replace(CONFIG, **{setting: 50}), endpoints, worst)) == [("kept", "not_enforced")]


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("enforcing_consecutive_5xx", "consecutive_5xx"),
        ("enforcing_consecutive_gateway_failure", "consecutive_gateway_failure"),
        ("enforcing_consecutive_local_origin_failure", "consecutive_local_origin_failure"),
    ],
)
def test_failures_in_a_row_are_acted_on_with_the_chance_that_is_set(setting: str, kind: Kind) -> None:
    for chance, decided in ((51, ("eject", "")), (50, ("kept", "not_enforced"))):
        detector = make_detector(replace(CONFIG, **{setting: chance}), 2)
        assert told(detector.on_failing("0", kind, 5, 1.0)) == [decided]


def test_latency_needs_its_volume_of_requests() -> None:
    for volume, decided in ((REQUESTS, [("eject", "")]), (REQUESTS + 1, [])):
        config = replace(CONFIG, latency=LatencyOutliers(request_volume=volume))
        assert told(judge(config, 2, late(1.0), late(0.01))) == decided
