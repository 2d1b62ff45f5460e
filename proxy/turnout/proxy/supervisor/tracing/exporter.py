"""Spans on their way to a collector: a bounded queue, and a thread that empties it.

    offer → [ batches of records, as workers sent them ] → thread: spans → OTLP → POST

Nothing waits for it: what does not fit into the queue, or is not taken by the collector, is dropped and counted. The
thread imports OpenTelemetry, decodes, encodes and sends; the supervisor's loop does none of it. Each span that is
offered is counted once, as exported or dropped, also where the end does not wait for what is being sent.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from turnout.proxy.supervisor.tracing.answer import Answer
from turnout.proxy.supervisor.tracing.complaints import Complaints
from turnout.proxy.supervisor.tracing.describe import make_spans
from turnout.proxy.supervisor.tracing.environment import Batching
from turnout.proxy.supervisor.tracing.otlp import encode_span
from turnout.proxy.telemetry.trace.record import decode_records

logger = logging.getLogger(__name__)

CLOSE_S = 2.0
"""How long the end of a proxy waits for its last spans."""


class Out(Protocol):
    """Where spans go. All of it may block."""

    def send(self, spans: Sequence[bytes]) -> Answer:
        """How spans, as `otlp` encodes them, were taken."""

    def close(self) -> None:
        """Give up what is being sent."""


class Exporter:
    """`connect` is called in the thread, when there is something to be exported. `exported` counts spans that were
    taken, `dropped` the rest, by reason: `queue` (it was full), `export` (the collector did not take their batch),
    `rejected` (it took that, but not them), `shutdown`, or what `drop` is told."""

    def __init__(
        self, connect: Callable[[], Out], batching: Batching, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._batching = batching
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued = 0
        self._sending = 0
        self._changed = threading.Condition()
        self._closing = self._abandoned = False
        self._out: Out | None = None
        self._complaints = Complaints(logger, clock)
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self.exported = 0
        self.dropped: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def offer(self, spans: int, records: bytes) -> None:
        """A batch of a worker: so many spans will be made of these encoded records. One always finds room."""
        with self._changed:
            if self._closing or (self._queued and self._queued + spans > self._batching.max_queue):
                self.dropped["shutdown" if self._closing else "queue"] += spans
                return
            self._queue.append((spans, records))
            self._queued += spans
            if len(self._queue) == 1 or self._is_due():  # else the thread knows all that it wants to
                self._changed.notify()

    def drop(self, reason: str, spans: int) -> None:
        """Count spans that never came here."""
        with self._changed:
            self.dropped[reason] += spans

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Export what is there, as far as that can be done in time. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._changed:
            # Also what is being sent: the process ends, so nobody will hear how the collector took it.
            self._abandoned = True
            left, self._queued, self._sending = self._queued + self._sending, 0, 0
            self._queue.clear()
            self.dropped.update({"shutdown": left} if left else {})
        if self._thread.is_alive() and self._out is not None:
            self._out.close()
        if left:
            logger.warning("%d spans were not exported in time", left)

    def _run(self) -> None:
        while (batches := self._take()) is not None:
            try:
                # Only now: nothing that a start waits for should have to share the processor with this.
                out = self._out = self._out or self._connect()
                self._export(out, _encode(batches))
            except Exception:  # whatever it is: the next ones may do
                logger.exception("spans could not be exported")
            self._settle(self._sending, Answer(taken=False))
        if self._out is not None:
            self._out.close()

    def _take(self) -> list[bytes] | None:
        """What to export next, when it is time to; None at the end."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            self._changed.wait_for(self._is_due, self._batching.delay_s)
            if not self._queue:
                return None
            batches = []
            while self._queue and self._sending < self._batching.max_batch:
                count, records = self._queue.popleft()
                self._queued -= count
                self._sending += count
                batches.append(records)
            return batches

    def _is_due(self) -> bool:
        return self._closing or self._queued >= self._batching.max_batch

    def _export(self, out: Out, spans: list[bytes]) -> None:
        size = self._batching.max_batch
        for at in range(0, len(spans), size):
            batch = spans[at : at + size]
            answer = out.send(batch)
            if self._settle(len(batch), answer):
                self._complaints.on_answer(answer)

    def _settle(self, spans: int, answer: Answer) -> bool:
        """Count spans that were being sent; False if the end did not wait for them, and has counted them."""
        with self._changed:
            if self._abandoned:
                return False
            self._sending -= spans
            if answer.taken:
                self.exported += spans - answer.rejected
            for reason, count in (("rejected", answer.rejected), ("export", 0 if answer.taken else spans)):
                if count:
                    self.dropped[reason] += count
            return True


def _encode(batches: list[bytes]) -> list[bytes]:
    # One by one: what is made of a record is gone before the next. So it stays in the processor's cache, and the cyclic
    # collector has little to look at: a third of the time went there when all spans were made first.
    offset_s = time.time() - time.monotonic()
    return [
        encode_span(span, offset_s)
        for records in batches
        for record in decode_records(records)
        for span in make_spans(record)
    ]
