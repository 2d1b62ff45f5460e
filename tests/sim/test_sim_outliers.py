"""Outlier detection against simulated GPUs: who is ejected, when, and who must never be. Time is virtual, chance is
seeded, counters are real ones; requests go to replicas by shares, so that nothing but the detector is asked."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from world import print_table

from turnout.proxy.cluster.latency import CELL_WORDS, record_latency, size_class
from turnout.proxy.cluster.outliers.decision import Decision
from turnout.proxy.cluster.outliers.detector import OutlierDetector
from turnout.proxy.cluster.outliers.sample import read_sample
from turnout.proxy.telemetry.layout import RECORD_WORDS, EndpointWord
from turnout.rules.resilience import OutlierDetection

SHORT, LONG = (100, 2_000), (30_000, 400_000)
EVERYTHING = (100, 400_000)

Slowness = Callable[[float], float]
"""How many times slower than it should be, at a time."""


@dataclass
class Replica:
    """A model server. Its first byte takes 20 ms and 1 ms more per 1,000 bytes of prompt, times `slowness`, and
    scatters by `sigma` doublings. `sizes` are the least and the largest prompt that it gets; `share` is its part of
    the requests."""

    slowness: Slowness = lambda now: 1.0
    fails: float = 0.0
    sizes: tuple[int, int] = EVERYTHING
    share: float = 1.0
    sigma: float = 0.7

    def answer(self, rng: random.Random, now: float) -> tuple[int, float, int]:
        """Bytes of a prompt, seconds to the first byte, status."""
        least, largest = self.sizes
        size = int(least * (largest / least) ** rng.random())
        first_byte_s = (0.020 + 1e-6 * size) * self.slowness(now) * 2.0 ** rng.gauss(0, self.sigma)
        return size, first_byte_s, 500 if rng.random() < self.fails else 200


@dataclass
class Run:
    """What happened: events with their times, and the answers to clients."""

    title: str
    events: list[tuple[float, Decision]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unavailable: int = 0

    def times(self, action: str, key: str | None = None) -> list[float]:
        return [now for now, event in self.events if event.action == action and key in (None, event.key)]

    def print(self) -> None:
        ejections = [
            f"{event.key} for {event.kind} at {now:.0f} until {event.until:.0f} s"
            for now, event in self.events
            if event.action == "eject"
        ]
        more = f", and {len(ejections) - 2} more" if len(ejections) > 2 else ""
        ejected = ", ".join(ejections[:2]) + more
        kept = Counter(event.reason for _, event in self.events if event.action == "kept")
        kept_text = ", ".join(f"{times} x, but for {reason}" for reason, times in kept.items())
        row = (sum(self.statuses.values()), ejected or "none", kept_text or "none")
        print_table(self.title, ("requests", "ejected", "would have been"), [row])


def simulate(
    title: str,
    replicas: list[Replica],
    duration_s: float,
    per_s: float,
    config: OutlierDetection | None = None,
    seed: int = 1,
) -> Run:
    """Requests come evenly, and go to the replicas that are not ejected by their shares."""
    config = config or OutlierDetection()
    rng, run = random.Random(seed), Run(title)
    detector = OutlierDetector(config, rng.random)
    keys = [f"gpu{at}" for at in range(len(replicas))]
    records = {key: memoryview(bytearray(8 * RECORD_WORDS)).cast("Q") for key in keys}
    in_a_row = Counter[str]()
    readings = {key: read_sample(words) for key, words in records.items()}
    detector.set_endpoints(keys, 0.0)
    for at in range(int(duration_s * per_s)):
        now = at / per_s
        if detector.wake_at is not None and now >= detector.wake_at:
            before, readings = readings, {key: read_sample(words) for key, words in records.items()}
            samples = {key: reading.since(before[key]) for key, reading in readings.items()}
            run.events += [(now, event) for event in detector.on_interval(samples, now)]
        able = [(key, replica) for key, replica in zip(keys, replicas, strict=True) if key not in detector.ejected]
        if not able:
            run.unavailable += 1
            continue
        ((key, replica),) = rng.choices(able, [replica.share for _, replica in able])
        size, first_byte_s, status = replica.answer(rng, now)
        run.statuses[status] += 1
        words = records[key]
        words[EndpointWord.REQUESTS] += 1
        if status == 200:
            record_latency(words, EndpointWord.LATENCY + CELL_WORDS * size_class(size), first_byte_s)
            in_a_row[key] = 0
            continue
        words[EndpointWord.ANSWERS_5XX] += 1
        in_a_row[key] += 1
        if in_a_row[key] == config.consecutive_5xx:
            failed = detector.on_failing(key, "consecutive_5xx", in_a_row.pop(key), now)
            run.events += [(now, event) for event in failed]
    run.print()
    return run


def slow_between(start_s: float, end_s: float, factor: float) -> Slowness:
    return lambda now: factor if start_s <= now < end_s else 1.0


# Nobody is to blame


@pytest.mark.parametrize("count", [2, 3, 8])
def test_all_slow_at_once_ejects_nobody(count: int) -> None:
    replicas = [Replica(slow_between(60, 200, 12.0)) for _ in range(count)]
    assert simulate(f"all {count} slow, x 12", replicas, 300, 40).events == []


@pytest.mark.parametrize("count", [2, 3])
def test_long_prompts_on_one_are_not_a_slow_gpu(count: int) -> None:
    """The long ones take up to 20 times as long; some of the sizes overlap."""
    replicas = [Replica(sizes=LONG), *(Replica(sizes=SHORT) for _ in range(count - 2)), Replica()]
    assert simulate(f"long prompts on one of {count}", replicas, 600, 40).events == []


def test_prompts_that_grow_on_one_are_not_a_slow_gpu() -> None:
    replicas = [Replica(), Replica(sizes=SHORT), Replica(sizes=(100_000, 400_000))]
    for sizes in ((50_000, 60_000), (70_000, 130_000), (131_000, 262_000)):
        replicas[1].sizes = sizes
        assert simulate(f"prompts of {sizes[0]} to {sizes[1]} bytes on one of 3", replicas, 200, 40).events == []


@pytest.mark.parametrize("seed", range(3))
def test_an_hour_of_scattered_times_ejects_nobody(seed: int) -> None:
    """A scatter of 1.5 doublings: one request in a hundred takes eleven times as long as the median."""
    replicas = [Replica(sigma=1.5) for _ in range(4)]
    assert simulate("an hour, 4 well ones, heavy tails", replicas, 3_600, 12, seed=seed).events == []


def test_an_older_gpu_that_is_twice_as_slow_stays() -> None:
    replicas = [Replica(), Replica(), Replica(lambda now: 2.0)]
    assert simulate("an older GPU, x 2", replicas, 600, 40).events == []


# One is to blame


@pytest.mark.parametrize(
    ("count", "share", "per_s", "within_s"),
    [(3, 1.0, 40, 20), (2, 1.0, 40, 20), (8, 1.0, 80, 20), (3, 0.1, 40, 40)],
    ids=["1 of 3", "1 of 2", "1 of 8", "1 of 3 that gets 5 %"],
)
def test_a_slow_gpu_is_ejected_and_comes_back_when_it_is_well(
    count: int, share: float, per_s: float, within_s: float
) -> None:
    slow = Replica(slow_between(60, 130, 5.0), share=share)
    run = simulate(f"1 of {count} slow, x 5, from 60 to 130 s", [slow, *[Replica()] * (count - 1)], 600, per_s)
    ejected = run.times("eject")
    assert 60 < ejected[0] <= 60 + within_s
    assert run.times("eject", "gpu0") == ejected
    assert all(event.kind == "latency" for _, event in run.events)
    assert max(run.times("uneject", "gpu0")) < 130 + 120
    assert len(run.times("uneject")) == len(ejected)


def test_each_ejection_of_one_that_stays_slow_is_longer() -> None:
    run = simulate("1 of 3 slow for ever", [Replica(lambda now: 5.0), Replica(), Replica()], 1_200, 40)
    lasted = [event.until - now for now, event in run.events if event.action == "eject"]
    assert lasted[:4] == sorted(lasted[:4])
    assert lasted[0] == pytest.approx(30)
    assert lasted[3] > 60
    assert {event.key for _, event in run.events} == {"gpu0"}


def test_two_of_three_slow_are_what_is_normal() -> None:
    replicas = [Replica(lambda now: 5.0), Replica(lambda now: 5.0), Replica()]
    assert simulate("2 of 3 slow", replicas, 300, 40).events == []


# Failures


def test_one_of_two_that_fails_half_goes_and_the_last_one_never() -> None:
    run = simulate("1 of 2 fails half", [Replica(fails=0.5), Replica()], 600, 40)
    assert run.times("eject", "gpu0")
    assert run.times("eject", "gpu1") == []
    assert run.unavailable == 0
    assert run.statuses[500] < 0.05 * run.statuses.total()


def test_of_two_that_fail_half_one_stays() -> None:
    run = simulate("2 of 2 fail half", [Replica(fails=0.5), Replica(fails=0.5)], 600, 40)
    assert run.times("eject")
    assert run.times("kept")
    assert run.unavailable == 0


def test_with_envoys_bounds_alone_both_would_go() -> None:
    """What `min_available_percent` is for."""
    config = OutlierDetection(min_available_percent=None)
    run = simulate("2 of 2 fail half, no min available", [Replica(fails=0.5), Replica(fails=0.5)], 600, 40, config)
    assert run.unavailable > 0
