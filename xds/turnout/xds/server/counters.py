"""What the server has done, in plain numbers; the control plane's `/metrics` reads them.

`BUCKETS_S` are upper bounds of the histogram of the time from a change until every client has answered.
"""

from bisect import bisect_left
from collections import Counter

from turnout.xds.resources import SHORT_NAMES

BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Counters:
    """Counts are by the type's short name (`CDS` …; `other` for types that are not served)."""

    def __init__(self) -> None:
        self.pushes: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.acks: Counter[str] = Counter()
        self.nacks: Counter[str] = Counter()
        self.stale_nonces = 0
        self.streams = 0
        """Opened so far."""
        self.refused_streams = 0
        self.convergence = Histogram()
        """Seconds from a change until every client that it concerned had answered."""

    def on_push(self, type_url: str, size: int) -> None:
        """A response went out."""
        name = short_name(type_url)
        self.pushes[name] += 1
        self.bytes[name] += size

    def on_ack(self, type_url: str) -> None:
        """A response was taken."""
        self.acks[short_name(type_url)] += 1

    def on_nack(self, type_url: str) -> None:
        """A response was rejected."""
        self.nacks[short_name(type_url)] += 1


class Histogram:
    """`counts[i]` are values up to `BUCKETS_S[i]` and above the bound before; the last is for all that is larger."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0
        self.last_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds
        self.last_s = seconds


def short_name(type_url: str) -> str:
    """`CDS` and so on."""
    return SHORT_NAMES.get(type_url, "other")
