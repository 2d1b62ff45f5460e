"""One address that can answer, as one worker sees it: what was learnt of it here."""

from enum import Enum
from typing import Final


class Outcome(Enum):
    """How an attempt on an endpoint ended, as far as the endpoint is to blame. The words are those of Envoy's outlier
    detection."""

    OK = "ok"
    REFUSED = "refused"
    """An answer of 4xx: no failure, and nothing that says how fast the endpoint is."""
    ANSWER_5XX = "answer_5xx"
    GATEWAY = "gateway"
    """An answer of 502, 503 or 504."""
    LOCAL = "local"
    """No answer: not connected, broken off, malformed, or not in time."""
    UNKNOWN = "unknown"
    """The client left, or something of ours went wrong."""


_GATEWAY: Final = frozenset({502, 503, 504})


def judge_status(status: int) -> Outcome:
    """What an answer says of the endpoint that gave it."""
    if status < 400:
        return Outcome.OK
    if status < 500:
        return Outcome.REFUSED
    return Outcome.GATEWAY if status in _GATEWAY else Outcome.ANSWER_5XX


class Endpoint:
    """An address and a port. `record` is the offset of its counters.

    `weight` is that among those of its priority, slow start included; `active` the requests that this worker has
    there; `ewma_s` the moving average of its first-byte times as of `ewma_at`, -1 as long as there was none;
    `sample_at` when the next of them is kept for outlier detection; `failures` what failed in a row. `removed`: no new
    request goes there.
    """

    __slots__ = (
        "active", "address", "ewma_at", "ewma_s", "failures", "key", "locality", "port", "record", "removed",
        "sample_at", "text", "weight",
    )  # fmt: skip

    def __init__(self, address: str, port: int, record: int) -> None:
        self.address = address
        self.port = port
        self.key = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.text = self.key.encode()
        self.record = record
        self.weight = 1.0
        self.locality = ""
        self.active = 0
        self.ewma_s = -1.0
        self.ewma_at = 0.0
        self.sample_at = 0.0
        self.failures: Streak | None = None
        self.removed = False

    def __repr__(self) -> str:
        return f"<Endpoint {self.key}{' removed' if self.removed else ''}>"


class Streak:
    """Failures of one endpoint in a row; there is one only while there are some."""

    __slots__ = ("accrual", "answers_5xx", "gateway", "local")

    def __init__(self) -> None:
        self.answers_5xx = self.gateway = self.local = self.accrual = 0
