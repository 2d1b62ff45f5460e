"""Spans on their way to a collector: a bounded queue, and a thread that empties it.

    offer → [ batches of records, as workers sent them ] → thread: spans → OTLP → POST

Nothing waits for it: what does not fit into the queue, or is not taken by the collector, is dropped and counted. The
thread imports OpenTelemetry, decodes, encodes and sends; the supervisor's loop does none of it.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from turnout.proxy.supervisor.tracing.describe import Span, make_spans
from turnout.proxy.supervisor.tracing.environment import Batching
from turnout.proxy.telemetry.trace.record import decode_records

logger = logging.getLogger(__name__)

CLOSE_S = 2.0
"""How long the end of a proxy waits for its last spans."""


class Out(Protocol):
    """Where spans go. All of it may block."""

    why: str

    def send(self, spans: list[Span], offset_s: float) -> bool:
        """Whether they were taken; if not, `why` says why."""

    def close(self) -> None:
        """Give up what is being sent."""


class Exporter:
    """`connect` is called in the thread, when there is something to be exported. `exported` counts spans that were
    taken, `dropped` the rest, by reason: `queue` (it was full), `export` (the collector did not take them),
    `shutdown`."""

    def __init__(self, connect: Callable[[], Out], batching: Batching) -> None:
        self._connect = connect
        self._batching = batching
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued = 0
        self._changed = threading.Condition()
        self._closing = False
        self._out: Out | None = None
        self._fails = False
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

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Export what is there, as far as that can be done in time. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._changed:
            left, self._queued = self._queued, 0
            self._queue.clear()
        if self._thread.is_alive() and self._out is not None:
            self._out.close()
        if left:
            self.dropped["shutdown"] += left
            logger.warning("%d spans were not exported in time", left)

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            spans, batches = taken
            try:
                # Only now: nothing that a start waits for should have to share the processor with this.
                out = self._out = self._out or self._connect()
                self._export(out, [span for records in batches for span in self._decode(records)])
            except Exception:  # whatever it is: the next ones may do
                logger.exception("spans could not be exported")
                self.dropped["export"] += spans
        if self._out is not None:
            self._out.close()

    def _decode(self, records: bytes) -> list[Span]:
        return [span for record in decode_records(records) for span in make_spans(record)]

    def _take(self) -> tuple[int, list[bytes]] | None:
        """What to export next, when it is time to; None at the end."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            self._changed.wait_for(self._is_due, self._batching.delay_s)
            if not self._queue:
                return None
            spans, batches = 0, []
            while self._queue and spans < self._batching.max_batch:
                count, records = self._queue.popleft()
                spans += count
                batches.append(records)
            self._queued -= spans
            return spans, batches

    def _is_due(self) -> bool:
        return self._closing or self._queued >= self._batching.max_batch

    def _export(self, out: Out, spans: list[Span]) -> None:
        offset_s = time.time() - time.monotonic()
        size = self._batching.max_batch
        for at in range(0, len(spans), size):
            batch = spans[at : at + size]
            taken = out.send(batch, offset_s)
            if taken:
                self.exported += len(batch)
            else:
                self.dropped["export"] += len(batch)
            self._tell(taken, out.why)

    def _tell(self, taken: bool, why: str) -> None:
        """Say that it fails, and that it does no longer; not each time."""
        if taken == self._fails:
            self._fails = not taken
            if taken:
                logger.info("spans are exported again")
            else:
                logger.warning("spans cannot be exported, and are dropped: %s", why)
