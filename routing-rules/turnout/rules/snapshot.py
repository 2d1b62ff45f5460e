"""The Snapshot: the immutable thing that a data plane runs on.

Rules of the house:

* Plain data. Frozen structs, msgpack there and back; equality is equality of content, and the hash is
  that of the encoding. Nothing compiled, no clock, no file name in it (those stand in `Origins`).
* The model is Envoy's: listener → virtual hosts by domain → *ordered* routes, the first match wins →
  action; clusters; endpoints. The precedence of Gateway API is applied once, by the compiler.
* Every cluster that a route names is in `clusters`, or in `missing` (no document defines it: its share is answered
  500), or in `cold` (a control plane names it and has not told it in time: its share is answered 503 `NC`).
* What Gateway API cannot say and Envoy can (an inverted match, a priority) is here too, since xDS is a source like
  the files; its semantics are Envoy's, and its defaults say nothing.
* Durations are seconds as float; `None` means "no limit".
"""

import hashlib
from collections.abc import Iterator
from typing import Literal

import msgspec

from turnout.rules.mirroring import Mirror, MirrorLimits
from turnout.rules.resilience import (
    QUEUE_TIMEOUT_S,
    CircuitBreaker,
    Fault,
    HashKey,
    HealthCheck,
    LoadBalancing,
    OutlierDetection,
    RateLimit,
    Retry,
    SlowStart,
)
from turnout.rules.tls import DownstreamTls, UpstreamTls

Protocol = Literal["http1", "h2c", "h2", "auto"]
"""HTTP/1.1, HTTP/2 in plain text with prior knowledge, HTTP/2 over TLS, or over TLS what ALPN agrees on."""

PathKind = Literal["exact", "path_prefix", "prefix", "regex"]
ValueKind = Literal["exact", "regex", "prefix", "suffix", "contains", "present", "range"]

CONNECT_TIMEOUT_S = 5.0
"""Envoy's `connect_timeout` default."""
POOL_IDLE_TIMEOUT_S = 4.0
"""Below the 5 s after which uvicorn, under most Python model servers, closes an idle connection."""
HTTP2_POOL_IDLE_TIMEOUT_S = 300.0
"""HTTP/2 tells when a connection ends, and which requests it did not take; so it may be kept for longer."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything in a Snapshot."""


class PathMatch(Record, frozen=True):
    """A condition on the path, without its query.

    `path_prefix` goes by path element (`/a` matches `/a` and `/a/b`, not `/ab`) and is written without a
    trailing slash, except for `/` itself; `prefix` goes by character, as Envoy's; `regex` is RE2 and must
    match the whole path. `ignore_case` is Envoy's `case_sensitive: false`, for all kinds but `regex`.
    """

    kind: PathKind = "path_prefix"
    value: str = "/"
    ignore_case: bool = False


class ValueMatch(Record, frozen=True):
    """A condition on a header (`name` in lower case) or on a query parameter (`name` as is).

    `present` needs no value; `range` wants a decimal integer with `range_from <= it < range_to`. `invert` turns the
    verdict round; what is not there does not hold, inverted or not, unless `missing_as_empty` (Envoy's
    `treat_missing_header_as_empty`); but for an inverted `present`, which holds just then. `ignore_case` is ASCII's,
    and says nothing to `regex`, `present` and `range`. Beside fields a header may be `:method`, `:path` (with its
    query), `:scheme`, and `:authority`, which is the same as `host`.
    """

    name: str
    value: str = ""
    kind: ValueKind = "exact"
    invert: bool = False
    ignore_case: bool = False
    missing_as_empty: bool = False
    range_from: int = 0
    range_to: int = 0


class Match(Record, frozen=True):
    """All conditions of one match; all must hold.

    `per_million` is the share of the requests that it takes (Envoy's `runtime_fraction`); None takes all. All routes
    that are asked for a request look at the same random number, so shares of routes in a row are cumulative: 100,000
    and then 300,000 are 10 % and 20 %.
    """

    path: PathMatch = PathMatch()
    method: str | None = None
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()
    per_million: int | None = None


class HeaderEdits(Record, frozen=True):
    """Edits of a head, applied in the order remove, set, add. Names are in lower case."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_EDITS = HeaderEdits()


class PathRewrite(Record, frozen=True):
    """`full` replaces the path; `prefix` replaces what the route's `path_prefix` matched, and joins with one slash.

    `raw_prefix` replaces as many characters as the route's path is long, and adds none (Envoy's `prefix_rewrite`).
    """

    kind: Literal["full", "prefix", "raw_prefix"]
    value: str


class Rewrite(Record, frozen=True):
    """What of the request's URL the upstream sees changed."""

    hostname: str | None = None
    path: PathRewrite | None = None


class Redirect(Record, frozen=True, tag="redirect"):
    """Answer with a redirect; what is None is taken from the request (Gateway API `RequestRedirect`).

    A `port` of None is the listener's, or the well-known one of a `scheme` that is named; the well-known port of the
    answer's scheme is left out. 0 is Envoy's way without a
    `port_redirect`: a `hostname` that is named has none, and the request's host keeps the one that it came with, unless
    it is the well-known one of another scheme than the answer's.
    """

    status: int = 302
    scheme: str | None = None
    hostname: str | None = None
    port: int | None = None
    path: PathRewrite | None = None
    keep_query: bool = True


class Respond(Record, frozen=True, tag="respond"):
    """Answer at once with a status, as for a rule without backends (500, Gateway API).

    With a `body` (Envoy's `direct_response`) that is the answer, as `text/plain`; without, it is an error of ours that
    says `message`.
    """

    status: int
    message: str = ""
    body: str | None = None


class Backend(Record, frozen=True):
    """One share of a split. `redirect` and `rewrite` override what the route says."""

    cluster: str
    weight: int = 1
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None


class Forward(Record, frozen=True, tag="forward"):
    """Send the request to one of `backends`, picked by weight (the sum of the weights is > 0): at random, or by the
    hash of `split_by`, so that a key stays with its backend.

    Limits: `request_timeout_s` of all attempts together, `backend_timeout_s` of one attempt up to the end of its
    answer, `first_byte_timeout_s` of one attempt up to the answer's head, `idle_timeout_s` between bytes (None: the
    proxy's own), `queue_timeout_s` of waiting for a circuit breaker. `retry` None: only what was never sent is sent
    again, once. Each of `mirrors` gets a copy of its share of the requests, by the hash of `mirror_by` if there is one,
    else at random; `mirror_limits` bound the copies.
    """

    backends: tuple[Backend, ...]
    rewrite: Rewrite | None = None
    request_timeout_s: float | None = None
    backend_timeout_s: float | None = None
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    queue_timeout_s: float = QUEUE_TIMEOUT_S
    retry: Retry | None = None
    split_by: HashKey | None = None
    rate_limit: RateLimit | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    mirror_by: HashKey | None = None
    mirror_limits: MirrorLimits = MirrorLimits()

    def clusters(self) -> set[str]:
        """The names of all that get requests of it, or copies of them."""
        return {backend.cluster for backend in self.backends} | {mirror.cluster for mirror in self.mirrors}


Action = Forward | Redirect | Respond


class Route(Record, frozen=True):
    """One match and what to do. Matches of one rule share its `name`, the rule's id in metrics and logs.

    The header edits are applied in their order, before those of the backend that is picked. Of `allowed_identities`
    (see `turnout.rules.identities`; empty: all) one has to be that of the client's certificate.
    """

    name: str
    match: Match
    action: Action
    request_headers: tuple[HeaderEdits, ...] = ()
    response_headers: tuple[HeaderEdits, ...] = ()
    allowed_identities: tuple[str, ...] = ()


class VirtualHost(Record, frozen=True):
    """Routes of a set of domains: `a.example`, `*.example`, `a.*`, or `*`, in lower case, without port.

    `allowed_identities`: who may ask for any of it, beside what a route says of itself; empty: everybody.
    """

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    allowed_identities: tuple[str, ...] = ()


class Listener(Record, frozen=True):
    """Where requests come in. `address` empty: the host of `--listen`; `port` 0: the port of `--listen`.

    With `tls` it speaks TLS and nothing else.
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    address: str = ""
    port: int = 0
    tls: DownstreamTls | None = None


class Endpoint(Record, frozen=True):
    """An address (IPv4 or IPv6 literal, or a DNS name, of which each address is one endpoint) and a port.

    `weight` is that within its priority; the lowest priority is used as long as enough of it is healthy, by Envoy's
    rule (over-provisioning factor 1.4); `healthy: False` is a control plane's word (`UNHEALTHY`, `DRAINING` …).
    `locality` is `region/zone/subzone`, as far as they are told.
    """

    address: str
    port: int
    weight: int = 1
    priority: int = 0
    healthy: bool = True
    locality: str = ""


class Cluster(Record, frozen=True):
    """What stands behind one name: a Predictor, or a Kubernetes Service. `h2` and `auto` are spoken over TLS only."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    pool_idle_timeout_s: float = POOL_IDLE_TIMEOUT_S
    load_balancing: LoadBalancing = LoadBalancing()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    outlier_detection: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    slow_start: SlowStart | None = None
    protocol: Protocol = "http1"
    tls: UpstreamTls | None = None


class Snapshot(Record, frozen=True):
    """All that a data plane needs to answer requests. `clusters`, `missing` and `cold` are sorted by name."""

    listeners: tuple[Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    missing: tuple[str, ...] = ()
    cold: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The msgpack form, the same for equal Snapshots."""
        return _encoder.encode(self)

    def version(self) -> str:
        """The first 16 hex digits of the SHA-256 of the encoding."""
        return hashlib.sha256(self.encode()).hexdigest()[:16]

    def routes(self) -> Iterator[Route]:
        """Every route of every virtual host, in order; a route bound to several domains comes once a host."""
        for listener in self.listeners:
            for host in listener.virtual_hosts:
                yield from host.routes

    def secrets(self) -> set[str]:
        """The names of all secrets that listeners and clusters name; what they hold is never in a Snapshot."""
        names = {name for listener in self.listeners if listener.tls for name in listener.tls.secrets()}
        for cluster in self.clusters:
            if cluster.tls is not None:
                names.update(name for name in (cluster.tls.certificate, cluster.tls.ca) if name)
        return names

    def check(self) -> None:
        """Raise ValueError unless every name resolves, names are unique and every split has a weight."""
        clusters = [c.name for c in self.clusters]
        known = {*clusters, *self.missing, *self.cold}
        if len(known) != len(clusters) + len(self.missing) + len(self.cold):
            raise ValueError("a cluster is there twice")
        for listener in self.listeners:
            domains = [d for host in listener.virtual_hosts for d in host.domains]
            if len(set(domains)) != len(domains):
                raise ValueError(f"listener {listener.name}: a domain is there twice")
        for cluster in self.clusters:
            _check_endpoints(cluster)
        for route in self.routes():
            if isinstance(route.action, Forward):
                _check_backends(route.name, route.action.backends, known)
                _check_mirrors(route.name, route.action.mirrors, known)


def decode_snapshot(data: bytes) -> Snapshot:
    """Read what `Snapshot.encode` wrote. Raises msgspec.DecodeError or msgspec.ValidationError."""
    return _decoder.decode(data)


def _check_endpoints(cluster: Cluster) -> None:
    for endpoint in cluster.endpoints:
        if endpoint.weight < 1 or endpoint.priority < 0:
            raise ValueError(f"cluster {cluster.name}: an endpoint's weight is at least 1, and its priority at least 0")


def _check_backends(route: str, backends: tuple[Backend, ...], known: set[str]) -> None:
    if sum(b.weight for b in backends) <= 0 or any(b.weight < 0 for b in backends):
        raise ValueError(f"route {route}: weights must not be negative, and their sum must be above 0")
    for backend in backends:
        if backend.cluster not in known:
            raise ValueError(f"route {route}: {backend.cluster} is neither a cluster nor missing nor cold")


def _check_mirrors(route: str, mirrors: tuple[Mirror, ...], known: set[str]) -> None:
    for mirror in mirrors:
        if mirror.cluster not in known:
            raise ValueError(f"route {route}: {mirror.cluster} is neither a cluster nor missing nor cold")
        if not 0 <= mirror.per_million <= 1_000_000:
            raise ValueError(f"route {route}: the share of the mirror {mirror.cluster} is not between nothing and all")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


class Origin(Record, frozen=True):
    """Where something was written: `path` is the place in the document, like `spec.rules[0].matches[1]`."""

    file: str
    line: int
    path: str = ""

    def __str__(self) -> str:
        place = f" ({self.path})" if self.path else ""
        return f"{self.file}:{self.line}{place}"


class Origins(msgspec.Struct):
    """Where things in a Snapshot were written, outside its equality and hash.

    `routes` is keyed by `(route name, position among the routes of that name in one virtual host)`; the
    position is the same in every virtual host, and the origin's path tells the index of the match as it was
    written. `clusters`, `missing` and `listeners` are keyed by name.
    """

    routes: dict[tuple[str, int], Origin] = {}
    clusters: dict[str, Origin] = {}
    missing: dict[str, Origin] = {}
    listeners: dict[str, Origin] = {}
