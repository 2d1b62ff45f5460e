"""How long all attempts of a request may take, in a RouteAction.

gRPC's own `grpc-timeout` is a deadline to our proxy whatever the route says, and to Envoy only where a route has a
`max_stream_duration`, which in turn makes it forget the route's `timeout`. Both of them end a request, but `timeout` is
the endpoint's failure to Envoy's outlier detection, and is counted from the request's end. So:

* A route without a limit says nothing but that `grpc-timeout` is to be kept to, without a bound.
* A route for gRPC alone says its limit as a stream's, from the beginning, as it is for a stream that never ends.
* Any other says it as `timeout`; calls of gRPC there have that one only.
"""

from typing import Any

from turnout.rules.snapshot import Forward, Match
from turnout.xds.translate.emit.values import make_duration
from turnout.xds.translate.grpc_matches import takes_only_grpc


def add_timeouts(message: Any, forward: Forward, match: Match) -> None:
    limit_s = forward.request_timeout_s
    if limit_s is not None and not takes_only_grpc(match):
        message.timeout.CopyFrom(make_duration(limit_s))
        return
    message.timeout.CopyFrom(make_duration(0.0))
    if limit_s is not None:
        message.max_stream_duration.max_stream_duration.CopyFrom(make_duration(limit_s))
    message.max_stream_duration.grpc_timeout_header_max.CopyFrom(make_duration(limit_s or 0.0))
