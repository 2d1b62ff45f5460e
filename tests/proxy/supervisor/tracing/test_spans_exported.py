"""The queue before a collector: bounded, never waited for, and exact in what it says of it."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from span_records import PLAIN

from turnout.proxy.supervisor.tracing.describe import Span
from turnout.proxy.supervisor.tracing.environment import Batching
from turnout.proxy.supervisor.tracing.exporter import Exporter
from turnout.proxy.telemetry.trace.record import encode_records

WITHIN_S = 20.0
SOON = Batching(delay_s=0.01, max_queue=100, max_batch=8)
LATER = Batching(delay_s=600.0, max_queue=8, max_batch=8)
BATCH = encode_records([PLAIN, PLAIN])
"""Of four spans."""


class FakeCollector:
    """`may_go` is a gate before each batch; `results` are what the next ones come to, True once they are used up."""

    def __init__(self) -> None:
        self.batches: list[list[Span]] = []
        self.results: list[bool] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.asked = threading.Semaphore(0)
        self.closed = threading.Event()
        self.why = ""

    def send(self, spans: list[Span], offset_s: float) -> bool:
        self.asked.release()
        self.may_go.wait(WITHIN_S)
        self.batches.append(spans)
        taken = self.results.pop(0) if self.results else True
        self.why = "" if taken else "no such host"
        return taken

    def close(self) -> None:
        self.closed.set()
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

    def start(batching: Batching = SOON, **changes: Any) -> Exporter:
        made.append(Exporter(lambda: collector, msgspec.structs.replace(batching, **changes)))
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
    collector.results = [False, False, True, True]
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
    start: Callable[..., Exporter], collector: FakeCollector
) -> None:
    exporter = start(LATER)
    collector.may_go.clear()
    exporter.offer(8, encode_records([PLAIN] * 4))
    collector.wait_for(1)
    exporter.offer(4, BATCH)
    exporter.close(0.01)
    assert exporter.dropped["shutdown"] == 4
    assert collector.closed.is_set()
    exporter.offer(4, BATCH)
    assert exporter.dropped["shutdown"] == 8


def test_a_batch_that_cannot_be_read_is_not_the_end(
    start: Callable[..., Exporter], collector: FakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = start(max_batch=4)
    exporter.offer(4, b"nonsense")
    exporter.offer(4, BATCH)
    exporter.close(WITHIN_S)
    assert (exporter.exported, exporter.dropped) == (4, {"export": 4})
    assert "spans could not be exported" in caplog.text
