"""Copies of requests: Gateway API's `RequestMirror` filter, and what a `RoutePolicy` says of it.

Source: gateway-api, apis/v1/httproute_types.go (`HTTPRequestMirrorFilter`) and shared_types.go (`Fraction`,
`BackendObjectReference`). Names of limits are those of Envoy's circuit breakers.
"""

from typing import Annotated

from msgspec import Meta

from turnout.rules.documents.base import Duration, ObjectName, Port, Strict

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bound = Annotated[int, Meta(ge=0, le=1_000_000)]


class ObjectRef(Strict, frozen=True, kw_only=True):
    """Where requests go. A bare name is the Predictor of that name."""

    group: Annotated[str | None, Meta(description="turnout.dev, or empty for a Service.")] = None
    kind: Annotated[str | None, Meta(description="Predictor (the default for a bare name) or Service.")] = None
    name: ObjectName
    namespace: Annotated[str | None, Meta(description="The route's own if not given.")] = None
    port: Annotated[Port | None, Meta(description="Of a Service; without effect for a Predictor.")] = None


class Fraction(Strict, frozen=True, kw_only=True):
    """A share of the requests."""

    numerator: Annotated[int, Meta(ge=0, le=2_147_483_647)]
    denominator: Annotated[int, Meta(ge=1, le=2_147_483_647)] = 100


class RequestMirror(Strict, frozen=True, kw_only=True):
    """A copy of each request, or of a share, goes to another predictor, whose answers nobody gets."""

    backend_ref: ObjectRef
    percent: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, Meta(description="Of the requests; all if nothing is said.")
    ] = None
    fraction: Annotated[Fraction | None, Meta(description="In place of percent.")] = None


class MirrorRate(Strict, frozen=True, kw_only=True):
    """So many copies may begin, of the whole proxy over all its workers."""

    requests: Annotated[int, Meta(ge=1, le=1_000_000_000, description="So many an interval.")]
    interval: Duration = "1s"
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        Meta(description="At once, after a pause; default: requests."),
    ] = None


class PauseAbove(Strict, frozen=True, kw_only=True):
    """No copies while the predictor that answers is above one of these."""

    p99: Annotated[Duration | None, Meta(description="Of the rule's times to the first byte, in 10 s.")] = None
    active_requests: Annotated[Bound | None, Meta(description="Requests in flight to the predictor.")] = None
    pending_requests: Annotated[Bound | None, Meta(description="Requests that wait for its circuit breaker.")] = None


class MirrorPolicy(Strict, frozen=True, kw_only=True):
    """What bounds the copies, of each mirror of a rule."""

    timeout: Annotated[Duration, Meta(description="From the end of the request to that of the answer.")] = "60s"
    max_requests: Annotated[Count, Meta(description="Copies in flight; beyond it there are none.")] = 1024
    rate_limit: MirrorRate | None = None
    pause_above: PauseAbove | None = None
