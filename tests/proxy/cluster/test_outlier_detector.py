"""The detector as a whole: what it is told, what it decides, and the numbers it gives for it."""

import random
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.cluster.latency import CELL_WORDS, record_latency, size_class
from turnout.proxy.cluster.outliers.decision import Decision, Kind
from turnout.proxy.cluster.outliers.detector import OutlierDetector
from turnout.proxy.cluster.outliers.sample import Sample, read_sample
from turnout.proxy.telemetry.layout import RECORD_WORDS, EndpointWord
from turnout.rules.resilience import LatencyOutliers, OutlierDetection

CONSECUTIVE: tuple[Kind, ...] = (
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
)


def make_detector(endpoints: int, config: OutlierDetection | None = None, seed: int = 1) -> OutlierDetector:
    """With endpoints "0", "1", …"""
    detector = OutlierDetector(config or OutlierDetection(), random.Random(seed).random)
    assert detector.set_endpoints([str(at) for at in range(endpoints)], 0.0) == []
    return detector


def told(decisions: list[Decision]) -> list[tuple[str, str, str, str]]:
    return [(decision.action, decision.key, decision.kind, decision.reason) for decision in decisions]


def slow(first_byte_s: float, requests: int = 100) -> Sample:
    words = memoryview(bytearray(8 * RECORD_WORDS)).cast("Q")
    words[EndpointWord.REQUESTS] = requests
    for _ in range(requests):
        record_latency(words, EndpointWord.LATENCY + CELL_WORDS * size_class(100), first_byte_s)
    return read_sample(words.tolist())


# Failures in a row


def test_failures_in_a_row_eject_at_once() -> None:
    detector = make_detector(2)
    (decision,) = detector.on_failing("0", "consecutive_5xx", 5, 3.0)
    assert told([decision]) == [("eject", "0", "consecutive_5xx", "")]
    assert decision.until == 33.0
    assert decision.numbers == {"consecutive": 5, "threshold": 5, "endpoints": 2, "ejected": 0, "ejection_s": 30.0}
    assert detector.ejected == {"0": 33.0}
    assert b'"key":"0"' in msgspec.json.encode(decision)


def test_the_last_one_is_kept_and_that_is_told_once_an_interval() -> None:
    detector = make_detector(2)
    detector.on_failing("0", "consecutive_5xx", 5, 1.0)
    (kept,) = detector.on_failing("1", "consecutive_5xx", 5, 2.0)
    assert told([kept]) == [("kept", "1", "consecutive_5xx", "min_available")]
    assert kept.numbers["ejected"] == 1
    assert detector.on_failing("1", "consecutive_5xx", 10, 3.0) == []
    detector.on_interval({}, 10.0)
    assert told(detector.on_failing("1", "consecutive_5xx", 5, 11.0)) == told([kept])
    assert list(detector.ejected) == ["0"]


def test_old_news_decides_nothing() -> None:
    detector = make_detector(4, OutlierDetection(consecutive_5xx=7, enforcing_consecutive_gateway_failure=100))
    assert detector.on_failing("gone", "consecutive_5xx", 7, 0.0) == []
    assert detector.on_failing("0", "consecutive_5xx", 6, 0.0) == [], "the threshold was lower a moment ago"
    assert detector.on_failing("0", "consecutive_local_origin_failure", 9, 0.0) == [], "origins are not split"
    assert len(detector.on_failing("0", "consecutive_5xx", 7, 0.0)) == 1
    assert detector.on_failing("0", "consecutive_gateway_failure", 7, 0.0) == [], "it is ejected"


@pytest.mark.parametrize("kind", CONSECUTIVE)
def test_a_threshold_of_0_is_none(kind: Kind) -> None:
    config = OutlierDetection(
        consecutive_5xx=0, consecutive_gateway_failure=0, consecutive_local_origin_failure=0, split_local_origin=True
    )
    assert make_detector(4, config).on_failing("0", kind, 100, 0.0) == []


def test_what_is_no_failure_in_a_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="success_rate"):
        make_detector(2).on_failing("0", "success_rate", 5, 0.0)


def test_the_enforcing_percentage_is_a_probability() -> None:
    ejected = 0
    for seed in range(1_000):
        config = OutlierDetection(enforcing_consecutive_gateway_failure=30)
        (decision,) = make_detector(2, config, seed).on_failing("0", "consecutive_gateway_failure", 5, 0.0)
        assert (decision.action, decision.reason) in {("eject", ""), ("kept", "not_enforced")}
        ejected += decision.action == "eject"
    assert ejected == pytest.approx(300, abs=4 * (1_000 * 0.3 * 0.7) ** 0.5)


def test_by_default_gateway_failures_are_only_told() -> None:
    decisions = make_detector(2).on_failing("0", "consecutive_gateway_failure", 5, 0.0)
    assert told(decisions) == [("kept", "0", "consecutive_gateway_failure", "not_enforced")]


# Intervals

WELL = Sample(requests=200)


def test_a_rate_far_below_the_others_is_ejected_with_the_numbers() -> None:
    detector = make_detector(5, OutlierDetection(failure_percentage_threshold=100))
    samples = {str(at): WELL for at in range(4)} | {"4": Sample(200, answers_5xx=60, local_failures=40)}
    (decision,) = detector.on_interval(samples, 10.0)
    assert told([decision]) == [("eject", "4", "success_rate", "")]
    assert {name: decision.numbers[name] for name in ("success_rate", "mean", "stdev", "threshold", "requests")} == {
        "success_rate": 50.0,
        "mean": 90.0,
        "stdev": 20.0,
        "threshold": 52.0,
        "requests": 200,
    }


def test_one_that_the_success_rate_has_ejected_is_not_ejected_again() -> None:
    samples = {str(at): WELL for at in range(4)} | {"4": Sample(200, answers_5xx=200)}
    assert told(make_detector(5).on_interval(samples, 10.0)) == [("eject", "4", "success_rate", "")]


def test_half_of_the_requests_failed_ejects_one_of_two_and_never_both() -> None:
    detector = make_detector(2)
    failing = Sample(100, answers_5xx=50)
    assert told(detector.on_interval({"0": failing, "1": WELL}, 10.0)) == [("eject", "0", "failure_percentage", "")]
    assert told(make_detector(2).on_interval({"0": failing, "1": failing}, 10.0)) == [
        ("eject", "0", "failure_percentage", ""),
        ("kept", "1", "failure_percentage", "min_available"),
    ]


@pytest.mark.parametrize(
    ("split", "sample", "expected"),
    [
        (False, Sample(100, answers_5xx=30, local_failures=30), ["failure_percentage"]),
        (True, Sample(100, answers_5xx=30, local_failures=30), []),
        (True, Sample(100, answers_5xx=30, local_failures=45), ["failure_percentage"]),
        (True, Sample(100, local_failures=60), ["failure_percentage_local_origin"]),
        (True, Sample(100, local_failures=100), ["failure_percentage_local_origin"]),
    ],
)
def test_split_origins_are_judged_apart(split: bool, sample: Sample, expected: list[Kind]) -> None:
    config = OutlierDetection(
        split_local_origin=split, failure_percentage_minimum_hosts=1, enforcing_failure_percentage_local_origin=100
    )
    decisions = make_detector(3, config).on_interval({"0": sample}, 10.0)
    assert told(decisions) == [("eject", "0", kind, "") for kind in expected]


def test_local_success_rates_are_judged_when_origins_are_split() -> None:
    config = OutlierDetection(split_local_origin=True)
    samples = {str(at): WELL for at in range(4)} | {"4": Sample(200, local_failures=100)}
    assert told(make_detector(5, config).on_interval(samples, 10.0))[0] == (
        "eject",
        "4",
        "success_rate_local_origin",
        "",
    )


def test_an_ejection_ends_at_the_first_interval_after_its_time() -> None:
    detector = make_detector(3, OutlierDetection(base_ejection_s=25.0))
    assert detector.wake_at == 10.0
    detector.on_failing("0", "consecutive_5xx", 5, 1.0)
    assert detector.on_interval({}, 10.0) == detector.on_interval({}, 20.0) == []
    (decision,) = detector.on_interval({}, 30.0)
    assert told([decision]) == [("uneject", "0", "consecutive_5xx", "time_is_over")]
    assert decision.numbers == {"lasted_s": 29.0, "times": 1}
    assert detector.ejected == {}
    assert detector.wake_at == 40.0


def test_a_passed_health_check_ends_an_ejection_if_it_may() -> None:
    detector = make_detector(3)
    detector.on_failing("0", "consecutive_5xx", 5, 1.0)
    assert told(detector.on_health_check_passed("0", 2.0)) == [
        ("uneject", "0", "consecutive_5xx", "health_check_passed")
    ]
    assert detector.on_health_check_passed("0", 3.0) == detector.on_health_check_passed("gone", 3.0) == []
    detector.config = OutlierDetection(uneject_on_health_check=False)
    detector.on_failing("0", "consecutive_5xx", 5, 4.0)
    assert detector.on_health_check_passed("0", 5.0) == []


# Latency


def test_a_slow_one_is_ejected_and_no_health_check_brings_it_back() -> None:
    detector = make_detector(3)
    samples = {"0": slow(0.1), "1": slow(0.1), "2": slow(0.5)}
    (decision,) = detector.on_interval(samples, 10.0)
    assert told([decision]) == [("eject", "2", "latency", "")]
    assert decision.numbers["times_slower"] == pytest.approx(5, rel=0.02)
    assert detector.on_health_check_passed("2", 12.0) == []


def test_what_it_did_before_is_not_held_against_one_that_came_back() -> None:
    detector = make_detector(3)
    slow_one = {"0": slow(0.1), "1": slow(0.1), "2": slow(0.5)}
    detector.on_interval(slow_one, 10.0)
    for now in (20.0, 30.0):
        assert detector.on_interval({"0": slow(0.1), "1": slow(0.1)}, now) == []
    # What was still in flight comes in the interval in which it returns.
    assert told(detector.on_interval(slow_one, 40.0)) == [("uneject", "2", "latency", "time_is_over")]
    assert detector.on_interval({key: slow(0.1) for key in "012"}, 50.0) == []
    assert told(detector.on_interval(slow_one, 60.0)) == [("eject", "2", "latency", "")]


@pytest.mark.parametrize(
    "config", [OutlierDetection(latency=None), OutlierDetection(latency=LatencyOutliers(factor=6))]
)
def test_latency_can_be_switched_off_and_set(config: OutlierDetection) -> None:
    assert make_detector(3, config).on_interval({"0": slow(0.1), "1": slow(0.1), "2": slow(0.5)}, 10.0) == []


# Endpoints that come and go


def test_checks_that_fail_bring_back_who_is_ejected() -> None:
    detector = make_detector(2)
    detector.on_failing("0", "consecutive_5xx", 5, 1.0)
    assert told(detector.set_endpoints(["0", "1"], 2.0, held=["1"])) == [
        ("uneject", "0", "consecutive_5xx", "min_available")
    ]
    assert detector.set_endpoints(["0", "1"], 3.0) == []


def test_without_endpoints_there_is_nothing_to_wake_for() -> None:
    detector = make_detector(2)
    detector.on_failing("0", "consecutive_5xx", 5, 1.0)
    assert detector.set_endpoints([], 2.0) == []
    assert (detector.wake_at, detector.ejected) == (None, {})
    detector.set_endpoints(["0"], 5.0)
    assert detector.wake_at == 15.0


def test_another_configuration_holds_at_once_and_who_is_ejected_stays_so() -> None:
    detector = make_detector(2, OutlierDetection(interval_s=3_600.0))
    detector.on_failing("0", "consecutive_5xx", 5, 1.0)
    detector.config = OutlierDetection(interval_s=5.0, consecutive_5xx=3)
    assert detector.wake_at == 5.0
    assert detector.ejected == {"0": 31.0}
    assert told(detector.on_failing("1", "consecutive_5xx", 3, 2.0)) == [
        ("kept", "1", "consecutive_5xx", "min_available")
    ]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("failing"), st.sampled_from("0123"), st.sampled_from(CONSECUTIVE)),
        st.tuples(st.just("interval"), st.dictionaries(st.sampled_from("0123"), st.integers(0, 100))),
        st.tuples(st.just("check"), st.sampled_from("0123")),
        st.tuples(st.just("endpoints"), st.sets(st.sampled_from("0123")), st.sets(st.sampled_from("0123"))),
    ),
    max_size=40,
)


@given(EVENTS, st.sampled_from([0.0, 25.0, 50.0, 75.0]), st.booleans())
def test_never_are_so_few_available_whatever_happens(
    events: list[tuple[object, ...]], percent: float, always_eject_one: bool
) -> None:
    config = OutlierDetection(min_available_percent=percent, split_local_origin=True, always_eject_one=always_eject_one)
    detector = make_detector(4, config)
    keys, held, now = set("0123"), set[str](), 0.0
    book = dict[str, str]()
    for event in events:
        now += 4.0
        match event:
            case ("failing", str(key), kind):
                decisions = detector.on_failing(key, kind, 5, now)  # type: ignore[arg-type]
            case ("interval", dict(failed)):
                samples = {key: Sample(100, answers_5xx=failures) for key, failures in failed.items()}
                decisions = detector.on_interval(samples, now)
            case ("check", str(key)):
                decisions = detector.on_health_check_passed(key, now)
            case ("endpoints", set(keys), set(held)):
                decisions = detector.set_endpoints(keys, now, held & keys)
            case _:
                raise AssertionError(event)
        for decision in decisions:
            book[decision.key] = decision.action
        out = set(detector.ejected)
        assert out <= keys
        assert all(book[key] == "eject" for key in out), "each change is told"
        able = keys - held
        floor = max(1, -(-len(keys) * percent // 100))
        assert len(keys - out) >= min(floor, len(keys))
        assert able - out or not able


# Samples


def record(words: Mapping[EndpointWord, int]) -> list[int]:
    found = [0] * RECORD_WORDS
    for word, value in words.items():
        found[word] = value
    return found


def test_a_sample_is_what_ended_between_two_readings() -> None:
    first = read_sample(record({EndpointWord.REQUESTS: 10, EndpointWord.ACTIVE: 4, EndpointWord.ANSWERS_5XX: 1}))
    words = {
        EndpointWord.REQUESTS: 30,
        EndpointWord.ACTIVE: 1,
        EndpointWord.ANSWERS_5XX: 3,
        EndpointWord.GATEWAY_FAILURES: 1,
        EndpointWord.LOCAL_FAILURES: 5,
        EndpointWord.LATENCY: 2,
    }
    sample = read_sample(record(words)).since(first)
    assert sample[:4] == (23, 2, 1, 5)
    assert sample.latency[:2] == (2, 0)
    assert sum(sample.latency) == 2


def test_a_reading_between_two_writes_makes_nothing_negative() -> None:
    first = read_sample(record({EndpointWord.REQUESTS: 5}))
    assert read_sample(record({EndpointWord.REQUESTS: 5, EndpointWord.ACTIVE: 2})).since(first) == Sample()
