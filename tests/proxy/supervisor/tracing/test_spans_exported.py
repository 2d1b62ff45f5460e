"""The queue before a collector: bounded, never waited for, and exact in what it says of it."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from span_records import PLAIN

from turnout.proxy.supervisor.tracing.answer import Answer
from turnout.proxy.supervisor.tracing.complaints import INTERVAL_S
from turnout.proxy.supervisor.tracing.environment import Batching
from turnout.proxy.supervisor.tracing.exporter import Exporter
from turnout.proxy.telemetry.trace.record import encode_records

WITHIN_S = 20.0
SOON = Batching(delay_s=0.01, max_queue=100, max_batch=8)
LATER = Batching(delay_s=600.0, max_queue=8, max_batch=8)
BATCH = encode_records([PLAIN, PLAIN])
"""Of four spans."""


TAKEN, NOT_TAKEN = Answer(taken=True), Answer(taken=False, why="no such host")


class FakeCollector:
    """`may_go` is a gate before each batch; `results` are what the next ones come to, taken once they are used up."""

    def __init__(self) -> None:
        self.batches: list[Sequence[bytes]] = []
        self.results: list[Answer] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.asked = threading.Semaphore(0)
        self.closed = threading.Event()
        self.closes = threading.Semaphore(0)

    def send(self, spans: Sequence[bytes]) -> Answer:
        self.asked.release()
        self.may_go.wait(WITHIN_S)
        self.batches.append(spans)
        return self.results.pop(0) if self.results else TAKEN

    def close(self) -> None:
        self.closed.set()
        self.closes.release()
        self.may_go.set()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.asked.acquire(timeout=WITHIN_S)


@pytest.fixture
def collector() -> FakeCollector:
    return FakeCollector()


@pytest.fixture
def start(collector: FakeCollector) -> Iterator[Callable[..., Exporter]]:
    made: list[Exporter] = []

    def start(batching: Batching = SOON, clock: Callable[[], float] = lambda: 0.0, **changes: Any) -> Exporter:
        made.append(Exporter(lambda: collector, msgspec.structs.replace(batching, **changes), clock))
        made[-1].start()
        return made[-1]

    yield start
    for exporter in made:
        exporter.close(0.0)


def test_what_is_offered_is_exported(start: Callable[..., Exporter], collector: FakeCollector) -> None:
    exporter = start()
    for _ in range(5):
        exporter.offer(4, BATCH)
    exporter.close(WITHIN_S)
    assert sum(map(len, collector.batches)) == exporter.exported == 20
    assert (exporter.dropped, collector.closed.is_set()) == ({}, True)


def test_batches_are_no_larger_than_they_may(start: Callable[..., Exporter], collector: FakeCollector) -> None:
    exporter = start(max_batch=3)
    for _ in range(3):
        exporter.offer(4, BATCH)
    exporter.close(WITHIN_S)
    assert max(map(len, collector.batches)) == 3
    assert exporter.exported == 12


def test_a_full_batch_does_not_wait(start: Callable[..., Exporter], collector: FakeCollector) -> None:
    exporter = start(LATER)
    exporter.offer(4, BATCH)
    exporter.offer(4, BATCH)
    collector.wait_for(1)


def test_what_does_not_fit_is_dropped_and_counted(start: Callable[..., Exporter], collector: FakeCollector) -> None:
    exporter = start(LATER)
    collector.may_go.clear()
    exporter.offer(8, encode_records([PLAIN] * 4))
    collector.wait_for(1)  # it is sent now, and hangs
    for _ in range(5):
        exporter.offer(4, BATCH)
    assert exporter.dropped == {"queue": 12}
    collector.may_go.set()
    exporter.close(WITHIN_S)
    assert (exporter.exported, exporter.dropped) == (16, {"queue": 12})


def test_what_is_not_taken_is_counted_and_told_once(
    start: Callable[..., Exporter], collector: FakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.results = [NOT_TAKEN, NOT_TAKEN, TAKEN, TAKEN]
    with caplog.at_level(logging.INFO):
        exporter = start(max_batch=4)
        for _ in range(4):
            exporter.offer(4, BATCH)
        exporter.close(WITHIN_S)
    assert (exporter.exported, exporter.dropped) == (8, {"export": 8})
    assert [record.message for record in caplog.records] == [
        "spans cannot be exported, and are dropped: no such host",
        "spans are exported again",
    ]


def test_a_collector_that_hangs_does_not_hold_up_the_end(
    start: Callable[..., Exporter], collector: FakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = start(LATER)
    collector.may_go.clear()
    exporter.offer(8, encode_records([PLAIN] * 4))
    collector.wait_for(1)
    exporter.offer(4, BATCH)
    with caplog.at_level(logging.WARNING):
        exporter.close(0.01)
    assert exporter.dropped == {"shutdown": 12}, "the batch that hangs is one of them"
    assert [record.message for record in caplog.records] == ["12 spans were not exported in time"]
    assert collector.closed.wait(WITHIN_S)
    exporter.offer(4, BATCH)
    assert exporter.dropped["shutdown"] == 16


def test_what_was_given_up_is_counted_once_whatever_comes_of_it(
    start: Callable[..., Exporter], collector: FakeCollector
) -> None:
    exporter = start(LATER, max_batch=3)
    collector.may_go.clear()
    exporter.offer(4, BATCH)  # more than fit into one request
    collector.wait_for(1)
    exporter.close(0.01)
    collector.wait_for(1)  # the rest is tried as well, and taken
    for _ in range(2):
        assert collector.closes.acquire(timeout=WITHIN_S), "once to give up, and once by the thread at its end"
    assert (exporter.exported, exporter.dropped) == (0, {"shutdown": 4})


def test_what_a_collector_rejects_is_dropped_and_told_once_in_a_while(
    start: Callable[..., Exporter], collector: FakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter([0.0, INTERVAL_S / 2, INTERVAL_S, 2 * INTERVAL_S])
    collector.results = [
        *(Answer(True, rejected, "no room\nfor you") for rejected in (1, 2, 4)),
        Answer(True, 0, "late"),
    ]
    exporter = start(max_batch=4, clock=lambda: next(looks))
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            exporter.offer(4, BATCH)
        exporter.close(WITHIN_S)
    assert (exporter.exported, exporter.dropped) == (9, {"rejected": 7})
    assert [record.message for record in caplog.records] == [
        "the collector rejected 1 spans: 'no room\\nfor you'",
        "the collector rejected 6 spans: 'no room\\nfor you'",
        "the collector took all spans, and says: 'late'",
    ]


def test_a_batch_that_cannot_be_read_is_not_the_end(
    start: Callable[..., Exporter], collector: FakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = start(max_batch=4)
    exporter.offer(4, b"nonsense")
    exporter.offer(4, BATCH)
    exporter.close(WITHIN_S)
    assert (exporter.exported, exporter.dropped) == (4, {"export": 4})
    assert "spans could not be exported" in caplog.text
