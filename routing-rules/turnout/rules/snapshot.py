"""The Snapshot: the immutable thing that a data plane runs on.

Rules of the house:

* Plain data. Frozen structs, msgpack there and back; equality is equality of content, and the hash is
  that of the encoding. Nothing compiled, no clock, no file name in it (those stand in `Origins`).
* The model is Envoy's: listener → virtual hosts by domain → *ordered* routes, the first match wins →
  action; clusters; endpoints. The precedence of Gateway API is applied once, by the compiler.
* Every cluster that a route names is in `clusters`, or in `missing` (its share is answered 500).
* Durations are seconds as float; `None` means "no limit".
"""

import hashlib
from collections.abc import Iterator
from typing import Literal

import msgspec

PathKind = Literal["exact", "path_prefix", "prefix", "regex"]
ValueKind = Literal["exact", "regex"]

CONNECT_TIMEOUT_S = 5.0
"""Envoy's `connect_timeout` default."""
POOL_IDLE_TIMEOUT_S = 4.0
"""Below the 5 s after which uvicorn, under most Python model servers, closes an idle connection."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of everything in a Snapshot."""


class PathMatch(Record, frozen=True):
    """A condition on the path, without its query.

    `path_prefix` goes by path element (`/a` matches `/a` and `/a/b`, not `/ab`) and is written without a
    trailing slash, except for `/` itself; `prefix` goes by character, as Envoy's; `regex` is RE2 and must
    match the whole path.
    """

    kind: PathKind = "path_prefix"
    value: str = "/"


class ValueMatch(Record, frozen=True):
    """A condition on a header (`name` in lower case) or on a query parameter (`name` as is)."""

    name: str
    value: str
    kind: ValueKind = "exact"


class Match(Record, frozen=True):
    """All conditions of one match; all must hold."""

    path: PathMatch = PathMatch()
    method: str | None = None
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


class HeaderEdits(Record, frozen=True):
    """Edits of a head, applied in the order remove, set, add. Names are in lower case."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_EDITS = HeaderEdits()


class PathRewrite(Record, frozen=True):
    """`full` replaces the path; `prefix` replaces what the route's `path_prefix` matched."""

    kind: Literal["full", "prefix"]
    value: str


class Rewrite(Record, frozen=True):
    """What of the request's URL the upstream sees changed."""

    hostname: str | None = None
    path: PathRewrite | None = None


class Redirect(Record, frozen=True, tag="redirect"):
    """Answer with a redirect; what is None is taken from the request (Gateway API `RequestRedirect`)."""

    status: int = 302
    scheme: str | None = None
    hostname: str | None = None
    port: int | None = None
    path: PathRewrite | None = None


class Respond(Record, frozen=True, tag="respond"):
    """Answer at once with a status, as for a rule without backends (500, Gateway API)."""

    status: int
    message: str = ""


class Backend(Record, frozen=True):
    """One share of a split. `redirect` and `rewrite` override what the route says."""

    cluster: str
    weight: int = 1
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    rewrite: Rewrite | None = None
    redirect: Redirect | None = None


class Forward(Record, frozen=True, tag="forward"):
    """Send the request to one of `backends`, picked by weight (the sum of the weights is > 0)."""

    backends: tuple[Backend, ...]
    rewrite: Rewrite | None = None
    request_timeout_s: float | None = None
    backend_timeout_s: float | None = None


Action = Forward | Redirect | Respond


class Route(Record, frozen=True):
    """One match and what to do. Matches of one rule share its `name`, the rule's id in metrics and logs."""

    name: str
    match: Match
    action: Action
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


class VirtualHost(Record, frozen=True):
    """Routes of a set of domains: `a.example`, `*.example`, `a.*`, or `*`, in lower case, without port."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]


class Listener(Record, frozen=True):
    """Where requests come in. `address` empty: the host of `--listen`; `port` 0: the port of `--listen`."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    address: str = ""
    port: int = 0


class Endpoint(Record, frozen=True):
    """An address (IPv4 or IPv6 literal, or a DNS name, of which each address is one endpoint) and a port."""

    address: str
    port: int


class Cluster(Record, frozen=True):
    """What stands behind one name: a Predictor, or a Kubernetes Service."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    pool_idle_timeout_s: float = POOL_IDLE_TIMEOUT_S


class Snapshot(Record, frozen=True):
    """All that a data plane needs to answer requests. `clusters` and `missing` are sorted by name."""

    listeners: tuple[Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    missing: tuple[str, ...] = ()

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

    def check(self) -> None:
        """Raise ValueError unless every name resolves, names are unique and every split has a weight."""
        clusters = [c.name for c in self.clusters]
        known = {*clusters, *self.missing}
        if len(known) != len(clusters) + len(self.missing):
            raise ValueError("a cluster is there twice")
        for listener in self.listeners:
            domains = [d for host in listener.virtual_hosts for d in host.domains]
            if len(set(domains)) != len(domains):
                raise ValueError(f"listener {listener.name}: a domain is there twice")
        for route in self.routes():
            if isinstance(route.action, Forward):
                _check_backends(route.name, route.action.backends, known)


def decode_snapshot(data: bytes) -> Snapshot:
    """Read what `Snapshot.encode` wrote. Raises msgspec.DecodeError or msgspec.ValidationError."""
    return _decoder.decode(data)


def _check_backends(route: str, backends: tuple[Backend, ...], known: set[str]) -> None:
    if sum(b.weight for b in backends) <= 0 or any(b.weight < 0 for b in backends):
        raise ValueError(f"route {route}: weights must not be negative, and their sum must be above 0")
    for backend in backends:
        if backend.cluster not in known:
            raise ValueError(f"route {route}: {backend.cluster} is neither a cluster nor missing")


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
