"""How long all attempts of a request may take, of a RouteAction: its `max_stream_duration`, or else its `timeout`."""

from typing import Any

from turnout.xds.translate.faults import Place
from turnout.xds.translate.read.numbers import read_seconds

ROUTE_TIMEOUT_S = 15.0
"""Of a route that says nothing (Envoy's RouteAction.timeout)."""


def read_request_timeout(message: Any, place: Place) -> float | None:
    """Seconds. `grpc-timeout` is kept to anyway, so its bound can only be the one that all requests have."""
    if not message.HasField("max_stream_duration"):
        return read_seconds(message, "timeout", ROUTE_TIMEOUT_S, place) or None
    told, spot = message.max_stream_duration, place.at("max_stream_duration")
    limit_s = read_seconds(told, "max_stream_duration", 0.0, spot) or None
    bound_s = read_seconds(told, "grpc_timeout_header_max", 0.0, spot) or None
    if told.HasField("grpc_timeout_header_max") and bound_s != limit_s:
        spot.at("grpc_timeout_header_max").say("must be as long as max_stream_duration, or 0s if that is not said")
    return limit_s
