"""What supervisor and worker say to each other, over a Unix socket pair.

A frame is a 4-byte big-endian length, a byte that counts its descriptors, and a msgpack message; descriptors
travel beside the frame that needs them (SCM_RIGHTS). A pair that closes ends the worker: an orphan must not serve.
"""

import msgspec

from turnout.proxy.cluster.target import Target
from turnout.proxy.net.options import Options
from turnout.rules.source import Secret


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Base of all messages."""


class Hello(Message, frozen=True):
    """First to the worker, with the descriptors of all counter blocks by slot, of which its own is the one it
    writes."""

    slot: int
    options: Options
    salt: bytes
    """A secret of the proxy's: clients must not be able to choose where header values fall."""


class Listen(Message, frozen=True):
    """With the descriptor of one listening socket, for the listener of that name."""

    listener: str
    address: str


class Unlisten(Message, frozen=True):
    """Stop accepting on that listener: accept what is queued, then close the socket."""

    listener: str


class Configure(Message, frozen=True):
    """A whole Snapshot. `records` are the counter offsets of `route_keys(snapshot)`, in that order."""

    number: int
    snapshot: msgspec.Raw
    version: str
    records: list[int]


class Resolved(Message, frozen=True):
    """The endpoints of one cluster now, each address once: those of DNS names resolved.

    Sent for every cluster, before the Configure that names it and again at each change, also of a state. `record` is
    the offset of the cluster's counters.
    """

    cluster: str
    record: int
    endpoints: list[Target]


class Secrets(Message, frozen=True):
    """Secrets that are new or changed, before the Configure that names them, and the names of those that nothing names
    any more."""

    secrets: list[Secret]
    gone: list[str] = []


class Drain(Message, frozen=True):
    """Stop accepting, let requests end, answer with `Connection: close`; at the timeout cut what is left."""

    timeout_s: float


class Started(Message, frozen=True):
    """From the worker: it can take messages. `build` is what it runs (`turnout.proxy.compiled`)."""

    pid: int
    build: str = "plain"


class Configured(Message, frozen=True):
    """From the worker: the Snapshot of that number serves now, or (`error`) was not taken."""

    number: int
    error: str = ""


class Failing(Message, frozen=True):
    """From the worker: so many requests in a row failed at this endpoint, in this way. `kind` is `consecutive_5xx`,
    `consecutive_gateway_failure`, `consecutive_local_origin_failure` (Envoy's), or `accrual`, the breaker's."""

    cluster: str
    address: str
    port: int
    kind: str
    count: int


class Probing(Message, frozen=True):
    """From the worker that was given the probe of a half-open endpoint: a request is on its way."""

    cluster: str
    address: str
    port: int


class Probed(Message, frozen=True):
    """From that worker: how it went; None if nothing was learnt, since the client left."""

    cluster: str
    address: str
    port: int
    well: bool | None


class Overloaded(Message, frozen=True):
    """From the worker: it refuses new requests for want of memory, or (`refusing` false) no longer. `pressure` is the
    share of its memory that is in use."""

    refusing: bool
    pressure: float


class TlsFailed(Message, frozen=True):
    """From the worker: a handshake failed, at that listener or with an endpoint of that cluster (`place`). `others`: so
    many more did for the same reason since the last such message."""

    side: str
    place: str
    peer: str
    reason: str
    text: str
    others: int


class Spans(Message, frozen=True):
    """From the worker: records of exchanges (`telemetry.trace.record`, encoded), of which so many spans are made."""

    spans: int
    records: bytes


class SpansTaken(Message, frozen=True):
    """To the worker: a batch of them has come. It has no more than some under way."""


class Drained(Message, frozen=True):
    """From the worker: nothing is left; it exits next."""


ToWorker = Hello | Listen | Unlisten | Configure | Resolved | Secrets | Drain | SpansTaken
FromWorker = Started | Configured | Failing | Probing | Probed | Overloaded | TlsFailed | Spans | Drained
