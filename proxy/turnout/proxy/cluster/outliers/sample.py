"""What an endpoint did in a time: the growth of its counters, over all workers.

Readings are taken of the sums over all blocks. They are not of one instant, so a difference may be off by the requests
in flight, and is cut at 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

from turnout.proxy.cluster.latency import CELLS_WORDS, Cells, load_cells
from turnout.proxy.telemetry.layout import EndpointWord

_LATENCY_END = EndpointWord.LATENCY + CELLS_WORDS


class Sample(NamedTuple):
    """The requests that ended; how many were answered 5xx, which of those 502, 503 or 504; how many got no answer; and
    the words of the first-byte times (`cluster.latency`)."""

    requests: int = 0
    answers_5xx: int = 0
    gateway_failures: int = 0
    local_failures: int = 0
    latency: tuple[int, ...] = (0,) * CELLS_WORDS

    def since(self, before: "Sample") -> "Sample":
        """What was added after another reading of the same record."""
        return Sample(
            max(0, self.requests - before.requests),
            max(0, self.answers_5xx - before.answers_5xx),
            max(0, self.gateway_failures - before.gateway_failures),
            max(0, self.local_failures - before.local_failures),
            tuple(max(0, now - then) for now, then in zip(self.latency, before.latency, strict=True)),
        )

    def cells(self) -> Cells:
        return load_cells(self.latency)


def read_sample(record: Sequence[int]) -> Sample:
    """Read an endpoint record's words, summed over all blocks. A request in flight has no result yet, and one that its
    client abandoned never had one: they are not counted."""
    return Sample(
        record[EndpointWord.REQUESTS] - record[EndpointWord.ACTIVE] - record[EndpointWord.ABANDONED],
        record[EndpointWord.ANSWERS_5XX],
        record[EndpointWord.GATEWAY_FAILURES],
        record[EndpointWord.LOCAL_FAILURES],
        tuple(record[EndpointWord.LATENCY : _LATENCY_END]),
    )
