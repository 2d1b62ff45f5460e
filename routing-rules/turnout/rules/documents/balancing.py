"""Of a `Predictor`: which endpoint takes a request (`loadBalancing`, `slowStart`).

Names and semantics are Envoy's (cluster.proto and the protos of the policies); peak EWMA is Linkerd's. A
default that stands here is that of the Snapshot's struct, and a test holds the two equal.
"""

from typing import Annotated, Literal

from msgspec import Meta

from turnout.rules.documents.base import Duration, Strict

LocalityName = Annotated[str, Meta(max_length=253, extra_json_schema={"pattern": "^[^/]*$"})]
FieldName = Annotated[str, Meta(min_length=1, max_length=256)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class Locality(Strict, frozen=True, kw_only=True):
    """Where an endpoint is (Envoy `Locality`)."""

    region: LocalityName = ""
    zone: LocalityName = ""
    sub_zone: LocalityName = ""

    def __str__(self) -> str:
        """`region/zone/subzone`, as far as they are told: the Snapshot's form."""
        return "/".join((self.region, self.zone, self.sub_zone)).rstrip("/")


class LocalityWeight(Strict, frozen=True, kw_only=True):
    """The share of one locality (Envoy `LocalityLbEndpoints.load_balancing_weight`)."""

    locality: Locality
    weight: Annotated[int, Meta(ge=1, le=1_000_000)]


class SplitKey(Strict, frozen=True, kw_only=True):
    """What of a request is hashed: one of these."""

    header: Annotated[FieldName | None, Meta(description="The value of this header.")] = None
    cookie: Annotated[FieldName | None, Meta(description="The value of this cookie.")] = None
    source_address: Annotated[bool, Meta(description="true: the client's address.")] = False


class HashOn(SplitKey, frozen=True, kw_only=True):
    """What of a request is hashed: one of these."""

    model: Annotated[bool, Meta(description="true: the name of the model that is asked.")] = False


class LoadBalancing(Strict, frozen=True, kw_only=True):
    """How the endpoint of a request is picked."""

    policy: Literal["PeakEwma", "LeastRequest", "RoundRobin", "Random", "RingHash", "Maglev"] = "PeakEwma"
    choice_count: Annotated[
        int, Meta(ge=2, le=100, description="PeakEwma, LeastRequest: so many are compared, taken at random.")
    ] = 2
    active_request_bias: Annotated[
        float, Meta(ge=0, le=100, description="LeastRequest: weight / (active + 1) ^ bias, where weights differ.")
    ] = 1.0
    decay_time: Annotated[Duration, Meta(description="PeakEwma: how long a slow answer is remembered.")] = "10s"
    default_rtt: Annotated[Duration, Meta(description="PeakEwma: of an endpoint that was never asked.")] = "10ms"
    hash_on: Annotated[HashOn | None, Meta(description="RingHash, Maglev: needed there.")] = None
    minimum_ring_size: Annotated[int, Meta(ge=1, le=65_536, description="RingHash: points on the ring.")] = 1024
    table_size: Annotated[int, Meta(ge=2, le=655_373, description="Maglev: a prime.")] = 65_537
    hash_balance_factor: Annotated[
        Annotated[int, Meta(ge=100, le=10_000)] | None,
        Meta(description="RingHash, Maglev: no endpoint has more than this % of the mean load."),
    ] = None
    panic_threshold: Annotated[
        Percent, Meta(description="With less % of them healthy all endpoints are used; 0: never.")
    ] = 0.0
    locality_weights: Annotated[
        tuple[LocalityWeight, ...], Meta(description="Shares of the localities; one that is not here gets none.")
    ] = ()


class SlowStart(Strict, frozen=True, kw_only=True):
    """A new or recovered endpoint's weight grows over a window (Envoy `SlowStartConfig`)."""

    window: Duration = "30s"
    aggression: Annotated[float, Meta(gt=0, le=100, description="1 grows evenly; above, fast at first.")] = 1.0
    min_weight_percent: Percent = 10.0
