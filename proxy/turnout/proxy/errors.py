"""What can go wrong with a request: who, and what; and the one table of answers. `route.retry` says what is retried.

The letters are Envoy's response flags (envoy/data/accesslog/v3/accesslog.proto). Every failure that the proxy
itself answers or reports has exactly one of them; the table says what the client gets for it.
"""

from enum import IntEnum
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
    UO = 11
    URX = 12
    FI = 13
    DI = 14
    RL = 15
    OM = 16
    UAEX = 17

    def __str__(self) -> str:
        return "-" if self is Flag.NONE else self.name


class Failure(NamedTuple):
    """One row of the table: `status` 0 means that nobody is there to be answered."""

    who: str
    flag: Flag
    status: int
    message: str
    close: bool = False
    grpc: int | None = None
    """The status that a gRPC call gets, where it is not the one that `status` stands for (`http.grpc`)."""


NO_ROUTE = Failure("us", Flag.NR, 404, "no route matches this request")
NO_CLUSTER = Failure("us", Flag.NC, 500, "the route names a predictor that does not exist", grpc=14)
COLD_CLUSTER = Failure("us", Flag.NC, 503, "the route's predictor has not come from the control plane yet")
NO_BACKEND = Failure("us", Flag.NC, 500, "the route has no backend", grpc=14)
OVERFLOW = Failure("us", Flag.UO, 503, "a circuit breaker's limit is reached")
QUEUE_TIMEOUT = Failure("us", Flag.UO, 503, "waited too long for a circuit breaker's limit")
RATE_LIMITED = Failure("us", Flag.RL, 429, "too many requests for this route", grpc=8)
FAULT_INJECTED = Failure("us", Flag.FI, 503, "a fault that the route's policy injects")
IDENTITY_REFUSED = Failure("downstream", Flag.UAEX, 403, "the client's identity is not allowed here")
OVERLOADED = Failure("us", Flag.OM, 503, "the proxy is overloaded", close=True)
NO_ENDPOINT = Failure("upstream", Flag.UH, 503, "no healthy endpoint")
CONNECT_FAILED = Failure("upstream", Flag.UF, 503, "could not connect to the endpoint")
UPSTREAM_CLOSED = Failure("upstream", Flag.UC, 503, "the endpoint closed the connection")
UPSTREAM_MALFORMED = Failure("upstream", Flag.UPE, 502, "the endpoint's answer is not valid HTTP")
UPSTREAM_TIMEOUT = Failure("upstream", Flag.UT, 504, "the endpoint did not answer in time", grpc=4)
FIRST_BYTE_TIMEOUT = Failure("upstream", Flag.UT, 504, "no answer had begun in time", grpc=4)
REQUEST_TIMEOUT = Failure("upstream", Flag.UT, 504, "the request took too long", grpc=4)
CLIENT_DEADLINE = Failure("downstream", Flag.UT, 504, "the client's own deadline is over", grpc=4)
REQUEST_UNFINISHED = Failure("downstream", Flag.UT, 408, "the request's body took too long to come", close=True, grpc=4)
IDLE_TIMEOUT = Failure("upstream", Flag.SI, 504, "no byte came for too long", grpc=4)
CLIENT_STALLED = Failure("downstream", Flag.SI, 408, "the client does not take the answer", close=True, grpc=1)
DOWNSTREAM_GONE = Failure("downstream", Flag.DC, 0, "the client went away", grpc=1)
DOWNSTREAM_IDLE = Failure(
    "downstream", Flag.SI, 408, "the rest of the request did not come in time", close=True, grpc=1
)
MODEL_CONTRADICTED = Failure(
    "downstream", Flag.DPE, 400, "the message names another model than the one it began with", grpc=3
)
HEAD_TIMEOUT = Failure("downstream", Flag.SI, 408, "the request's head did not come in time", close=True)
MALFORMED = Failure("downstream", Flag.DPE, 400, "the request is not valid HTTP", close=True)
HEAD_TOO_LARGE = Failure("downstream", Flag.DPE, 431, "the request's head is too large", close=True, grpc=8)
VERSION_UNSUPPORTED = Failure("downstream", Flag.DPE, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here", close=True)
METHOD_UNSUPPORTED = Failure("downstream", Flag.DPE, 501, "CONNECT is not supported", close=True)
