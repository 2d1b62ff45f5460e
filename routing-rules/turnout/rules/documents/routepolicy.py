"""`RoutePolicy`: what a rule may say beyond Gateway API, attached by an ExtensionRef filter.

Names are Envoy's, but for the retry budget, which is Gateway API's (GEP-3388 `retryConstraint`), and the faults, which
are Istio's.
"""

from typing import Annotated, Literal

from msgspec import Meta

from turnout.rules.documents.balancing import FieldName, Percent, SplitKey
from turnout.rules.documents.base import Duration, Resource, Strict
from turnout.rules.documents.mirroring import MirrorPolicy
from turnout.rules.documents.tls import IdentityPattern

Tokens = Annotated[int, Meta(ge=1, le=1_000_000_000)]


class PolicyTimeouts(Strict, frozen=True, kw_only=True):
    """Limits beyond those of the rule's `timeouts`."""

    first_byte: Annotated[
        Duration | None, Meta(description="Of one attempt, up to the answer's head; 0s is no limit.")
    ] = None
    idle: Annotated[Duration | None, Meta(description="Between two bytes; default 5m.")] = None
    queue: Annotated[Duration, Meta(description="Of waiting for a circuit breaker with overflow: Queue.")] = "5s"


class RateLimit(Strict, frozen=True, kw_only=True):
    """A token bucket, of the whole proxy over all its workers; beyond it 429 with Retry-After."""

    requests: Annotated[Tokens, Meta(description="So many an interval.")]
    interval: Duration = "1s"
    burst: Annotated[Tokens | None, Meta(description="The bucket's size; default: requests.")] = None
    header: Annotated[FieldName | None, Meta(description="A bucket for each value of this header.")] = None


class Delay(Strict, frozen=True, kw_only=True):
    """A share of the requests waits."""

    fixed_delay: Duration
    percentage: Percent = 100.0


class Abort(Strict, frozen=True, kw_only=True):
    """A share of the requests is answered."""

    http_status: Annotated[int, Meta(ge=200, le=599)]
    percentage: Percent = 100.0


class Fault(Strict, frozen=True, kw_only=True):
    """Faults on purpose: a request may be delayed, and then aborted."""

    delay: Delay | None = None
    abort: Abort | None = None


class Budget(Strict, frozen=True, kw_only=True):
    """Retries are at most this share of requests, in any interval and at any moment."""

    percent: Percent = 20.0
    interval: Annotated[Duration, Meta(description="0s: at any moment only.")] = "10s"


class RetryRate(Strict, frozen=True, kw_only=True):
    """So many retries are always allowed, whatever their share."""

    count: Annotated[int, Meta(ge=0, le=1_000_000)] = 10
    interval: Duration = "1s"


class RetryBudget(Strict, frozen=True, kw_only=True):
    """Bounds how much retries amplify (GEP-3388 `retryConstraint`, Envoy `RetryBudget`)."""

    budget: Budget = Budget()
    min_retry_rate: RetryRate = RetryRate()
    min_retry_concurrency: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="So many retries at one moment are always allowed; default 100, or 3 with an interval of 0s."),
    ] = None


GRPCStatus = Literal["CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"]


class GRPCRetry(Strict, frozen=True, kw_only=True):
    """When a gRPC call is tried again; as with an HTTPRoute's `retry`, connect failures, refused streams and resets
    always are."""

    # Not `on`, as in Envoy's words: that is a boolean to YAML 1.1, so to kubectl.
    codes: Annotated[tuple[GRPCStatus, ...], Meta(description="gRPC statuses of answers, those that Envoy knows.")] = ()
    attempts: Annotated[int, Meta(ge=0, le=100, description="After the first; 0: never again.")] = 1
    backoff: Annotated[Duration, Meta(description="The base of the jittered, exponential back-off.")] = "25ms"


class RoutePolicySpec(Strict, frozen=True, kw_only=True):
    """What holds for the rules that name the policy."""

    split_by: Annotated[
        SplitKey | None, Meta(description="A key stays with its backend; without one the split is random.")
    ] = None
    mirror_by: Annotated[
        SplitKey | None, Meta(description="All requests of a key are mirrored, or none; without one at random.")
    ] = None
    mirror: MirrorPolicy = MirrorPolicy()
    idempotent: Annotated[
        bool, Meta(description="true: a request may be sent again whatever its method, also after it was sent.")
    ] = False
    timeouts: PolicyTimeouts = PolicyTimeouts()
    allowed_identities: Annotated[
        tuple[IdentityPattern, ...],
        Meta(description="Whose certificates may ask, by their URI; without one, everybody's, and who has none."),
    ] = ()
    rate_limit: RateLimit | None = None
    fault: Fault | None = None
    grpc_retry: Annotated[
        GRPCRetry | None,
        Meta(description="Tries again by gRPC status; beside a rule's retry, that one's attempts and backoff hold."),
    ] = None
    retry_budget: RetryBudget = RetryBudget()
    replay_body_limit: Annotated[
        int | str, Meta(description="A larger body is streamed and not sent again: 64Ki, 1Mi, or bytes; at most 1Gi.")
    ] = "1Mi"


class RoutePolicy(Resource, frozen=True, kw_only=True):
    """What a rule may say beyond Gateway API."""

    api_version: Literal["turnout.dev/v1alpha1"]
    kind: Literal["RoutePolicy"]
    spec: RoutePolicySpec
