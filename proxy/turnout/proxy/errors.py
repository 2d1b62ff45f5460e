"""What can go wrong with a request: who, what, whether it may be retried; and the one table of answers.

The letters are Envoy's response flags (envoy/data/accesslog/v3/accesslog.proto). Every failure that the proxy
itself answers or reports has exactly one of them; the table says what the client gets for it.
"""

from enum import Enum, IntEnum
from typing import NamedTuple


class Flag(IntEnum):
    """Response flags. The number is a slot in the counters, so new ones are added at the end."""

    NONE = 0
    NR = 1
    UH = 2
    UF = 3
    UC = 4
    UT = 5
    DC = 6
    DPE = 7
    UPE = 8
    SI = 9
    NC = 10

    def __str__(self) -> str:
        return "-" if self is Flag.NONE else self.name


class Retry(Enum):
    """When a failed attempt may be made again."""

    NEVER = "never"
    IF_NOTHING_SENT = "if_nothing_sent"
    IF_REUSED = "if_reused"
    IF_IDEMPOTENT = "if_idempotent"


class Failure(NamedTuple):
    """One row of the table: `status` 0 means that nobody is there to be answered."""

    who: str
    flag: Flag
    status: int
    message: str
    retry: Retry = Retry.NEVER
    close: bool = False


NO_ROUTE = Failure("us", Flag.NR, 404, "no route matches this request")
NO_CLUSTER = Failure("us", Flag.NC, 500, "the route names a predictor that does not exist")
COLD_CLUSTER = Failure("us", Flag.NC, 503, "the route's predictor has not come from the control plane yet")
NO_BACKEND = Failure("us", Flag.NC, 500, "the route has no backend")
NO_ENDPOINT = Failure("upstream", Flag.UH, 503, "no healthy endpoint")
CONNECT_FAILED = Failure("upstream", Flag.UF, 503, "could not connect to the endpoint", Retry.IF_NOTHING_SENT)
UPSTREAM_CLOSED = Failure("upstream", Flag.UC, 503, "the endpoint closed the connection", Retry.IF_REUSED)
UPSTREAM_MALFORMED = Failure("upstream", Flag.UPE, 502, "the endpoint's answer is not valid HTTP", Retry.IF_IDEMPOTENT)
UPSTREAM_TIMEOUT = Failure("upstream", Flag.UT, 504, "the endpoint did not answer in time", Retry.IF_IDEMPOTENT)
REQUEST_TIMEOUT = Failure("upstream", Flag.UT, 504, "the request took too long")
IDLE_TIMEOUT = Failure("upstream", Flag.SI, 504, "no byte came for too long")
DOWNSTREAM_GONE = Failure("downstream", Flag.DC, 0, "the client went away")
DOWNSTREAM_IDLE = Failure("downstream", Flag.SI, 408, "the rest of the request did not come in time", close=True)
HEAD_TIMEOUT = Failure("downstream", Flag.SI, 408, "the request's head did not come in time", close=True)
MALFORMED = Failure("downstream", Flag.DPE, 400, "the request is not valid HTTP/1.1", close=True)
HEAD_TOO_LARGE = Failure("downstream", Flag.DPE, 431, "the request's head is too large", close=True)
VERSION_UNSUPPORTED = Failure("downstream", Flag.DPE, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here", close=True)
METHOD_UNSUPPORTED = Failure("downstream", Flag.DPE, 501, "CONNECT is not supported", close=True)
