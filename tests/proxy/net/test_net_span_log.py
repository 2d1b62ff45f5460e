"""Records on their way from a worker: in batches, so many under way and no more, so many waiting and no more."""

import pytest

from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.net.spans import BATCH_RECORDS, MAX_RECORDS, MAX_UNDER_WAY, SpanLog
from turnout.proxy.telemetry.trace.record import Attempt, Record, decode_records, make_detached
from turnout.proxy.telemetry.trace.sampler import make_sampler

ATTEMPT = Attempt(b"1" * 16, 1.0, 2.0, "default/v1", "http", "127.0.0.1", 8001, 200, "", False, [])


def record(number: int) -> Record:
    """One that makes one span, and can be told from others."""
    return make_detached(b"%032d" % number, b"2" * 16, 1, b"", b"GET", b"/", False, -1, ATTEMPT)


class Supervisor:
    """What a worker tells, and what it dropped."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.dropped = self.counted = 0
        tracer = Tracer(make_sampler("always_on", 1.0), ("tracecontext",), 1.0)
        self.log = SpanLog(tracer, self._take, self._drop, self._count)
        self.keep = tracer.keep

    def _take(self, spans: int, records: bytes) -> None:
        numbers = [int(record.trace_id) for record in decode_records(records)]
        assert spans == len(numbers)
        self.batches.append(numbers)

    def _count(self, spans: int) -> None:
        self.counted += spans

    def _drop(self, spans: int) -> None:
        self.dropped += spans

    def told(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor()


def test_a_full_batch_goes_at_once_and_the_rest_when_it_is_time(supervisor: Supervisor) -> None:
    for number in range(BATCH_RECORDS + 3):
        supervisor.keep(record(number))
    assert [len(batch) for batch in supervisor.batches] == [BATCH_RECORDS]
    supervisor.log.flush()
    assert [len(batch) for batch in supervisor.batches] == [BATCH_RECORDS, 3]
    supervisor.log.flush()
    assert len(supervisor.batches) == 2, "nothing is no batch"


def test_who_does_not_take_them_gets_no_more(supervisor: Supervisor) -> None:
    total = MAX_UNDER_WAY * BATCH_RECORDS + MAX_RECORDS + 7
    for number in range(total):
        supervisor.keep(record(number))
    supervisor.log.flush()
    assert len(supervisor.batches) == MAX_UNDER_WAY
    assert supervisor.dropped == 7, "and the worker keeps so many"
    assert supervisor.counted == total - 7, "what is dropped is not also lost when the worker dies"
    taken = 0
    while taken < len(supervisor.batches):
        taken += 1
        supervisor.log.on_taken()
        assert len(supervisor.batches) - taken <= MAX_UNDER_WAY
    assert supervisor.told() == list(range(total - 7)), "in order, each once"


def test_the_end_tells_all_that_is_left(supervisor: Supervisor) -> None:
    for number in range(MAX_UNDER_WAY * BATCH_RECORDS + MAX_RECORDS):
        supervisor.keep(record(number))
    supervisor.log.close()
    assert supervisor.told() == list(range(MAX_UNDER_WAY * BATCH_RECORDS + MAX_RECORDS))
    assert supervisor.dropped == 0
