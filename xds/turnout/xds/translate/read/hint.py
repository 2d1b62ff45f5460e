"""The hint in a route's metadata: the Snapshot's route that it was made of. `lower.raise_routes` decides if it counts.

What lowering looks at is compared there; the rest is checked here, since it comes from the network like all else.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from turnout.rules.snapshot import Forward, HeaderEdits, Route
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import HINT, NO_LIMIT
from turnout.xds.translate.read.headers import check_edits
from turnout.xds.translate.read.values import MAX_SECONDS, read_own

_decoder = msgspec.json.Decoder(Route)


def read_hint(message: Any, place: Place) -> Route | None:
    """The hint of a Route message; None if it has none, or (said) none that can be used."""
    value = read_own(message, HINT)
    if value is None:
        return None
    place = place.at("metadata")
    try:
        route = _decoder.decode(value.string_value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        place.say(f"is no route: {error}")
        return None
    for edits in _all_edits(route):
        check_edits(edits, place)
    if isinstance(route.action, Forward):
        _check_forward(route.action, place)
    return route


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
    for seconds in (forward.request_timeout_s, forward.backend_timeout_s):
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            place.say("has no possible timeout")
