"""The hint in a route's or a cluster's metadata: what of the Snapshot it was made of. `lower.raise_routes` and
`lower_cluster.raise_cluster` decide if it counts.

What lowering looks at is compared there; the rest is checked here, since it comes from the network like all else.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.snapshot import Cluster, Forward, HeaderEdits, Route
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import CLUSTER_HINT, HINT, NO_LIMIT
from turnout.xds.translate.read.balancing import is_prime
from turnout.xds.translate.read.hashing import check_key
from turnout.xds.translate.read.headers import check_edits
from turnout.xds.translate.read.health import check_call, check_probe
from turnout.xds.translate.read.numbers import check_numbers
from turnout.xds.translate.read.values import MAX_SECONDS, read_own

T = TypeVar("T")

_decoder = msgspec.json.Decoder(Route)
_cluster_decoder = msgspec.json.Decoder(Cluster)


def read_hint(message: Any, place: Place) -> Route | None:
    """The hint of a Route message; None if it has none, or (said) none that can be used."""
    place = place.at("metadata")
    route = _decode(message, HINT, _decoder, "route", place)
    if route is None:
        return None
    for edits in _all_edits(route):
        check_edits(edits, place)
    if isinstance(route.action, Forward):
        _check_forward(route.action, place)
    return route


def read_cluster_hint(message: Any, place: Place) -> Cluster | None:
    """The hint of a Cluster message; None if it has none, or (said) none that can be used."""
    place = place.at("metadata")
    cluster = _decode(message, CLUSTER_HINT, _cluster_decoder, "cluster", place)
    if cluster is None:
        return None
    check_numbers(cluster, place)
    if cluster.load_balancing.hash_on is not None:
        check_key(cluster.load_balancing.hash_on, place)
    if not is_prime(cluster.load_balancing.table_size):
        place.say("has a table_size that is no prime number")
    if any(not 0 <= weight <= NO_LIMIT for _, weight in cluster.load_balancing.locality_weights):
        place.say("has no possible weights of localities")
    health = cluster.health_check
    if health is not None:
        for probe in (*health.http, *([health.warm] if health.warm else ())):
            check_probe(probe, place)
        for call in (*health.grpc, *([health.warm_call] if health.warm_call else ())):
            check_call(call, place)
    return cluster


def _decode(message: Any, key: str, decoder: msgspec.json.Decoder[T], what: str, place: Place) -> T | None:
    value = read_own(message, key)
    if value is None:
        return None
    try:
        return decoder.decode(value.string_value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        place.say(f"is no {what}: {error}")
        return None


def _all_edits(route: Route) -> Iterator[HeaderEdits]:
    yield from route.request_headers
    yield from route.response_headers
    if isinstance(route.action, Forward):
        for backend in route.action.backends:
            yield backend.request_headers
            yield backend.response_headers


def _check_forward(forward: Forward, place: Place) -> None:
    weights = [backend.weight for backend in forward.backends]
    if not 0 < sum(weights) <= NO_LIMIT or min(weights) < 0:
        place.say("has no possible weights")
    limits = (forward.request_timeout_s, forward.backend_timeout_s, forward.first_byte_timeout_s)
    if any(seconds is not None and not 0 < seconds <= MAX_SECONDS for seconds in (*limits, forward.idle_timeout_s)):
        place.say("has no possible timeout")
    check_numbers(forward, place)
    for key in (forward.split_by, forward.mirror_by):
        if key is not None:
            check_key(key, place)
    if forward.mirror_limits.rate is not None and forward.mirror_limits.rate.header:
        place.say("limits copies by a header")
    header = "" if forward.rate_limit is None else forward.rate_limit.header
    if header and (fault := header_name_fault(header)):
        place.say(fault)
    if forward.fault is not None and forward.fault.abort_per_million and not 200 <= forward.fault.abort_status < 600:
        place.say("aborts with what is no status")
    if forward.retry is not None and any(not 100 <= code < 600 for code in forward.retry.codes):
        place.say("has no possible statuses to retry")
