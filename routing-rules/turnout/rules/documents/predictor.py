"""`Predictor`: a model server, one or more endpoints that answer alike."""

from typing import Annotated, Literal

from msgspec import Meta

from turnout.rules.apis import Api
from turnout.rules.documents.balancing import LoadBalancing, Locality, SlowStart
from turnout.rules.documents.base import Duration, Port, Resource, Strict
from turnout.rules.documents.breaking import CircuitBreaker, OutlierDetection
from turnout.rules.documents.healthcheck import HealthCheck
from turnout.rules.documents.tls import PredictorTls
from turnout.rules.snapshot import Protocol


class PredictorEndpoint(Strict, frozen=True, kw_only=True):
    """One place where the model answers."""

    address: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            description="An IPv4 or IPv6 address, or a DNS name, of which each address is an endpoint.",
        ),
    ]
    port: Port
    weight: Annotated[int, Meta(ge=1, le=1_000_000, description="Its share among those of its priority.")] = 1
    priority: Annotated[
        int, Meta(ge=0, le=128, description="The lowest is used as long as enough of it is healthy.")
    ] = 0
    locality: Locality = Locality()


class Connection(Strict, frozen=True, kw_only=True):
    """Connections to the endpoints."""

    connect_timeout: Annotated[Duration | None, Meta(description="Default 5s.")] = None
    idle_timeout: Annotated[
        Duration | None,
        Meta(description="An idle kept connection is closed after this; default 4s (uvicorn: 5s), 5m for HTTP/2."),
    ] = None


class PredictorSpec(Strict, frozen=True, kw_only=True):
    """How to reach a model server."""

    protocol: Annotated[
        Protocol,
        Meta(description="What is spoken on the wire; h2c is HTTP/2 in plain text, h2 and auto (by ALPN) need tls."),
    ] = "http1"
    api: Annotated[Api, Meta(description="The inference protocol; tells what healthCheck asks.")] = "none"
    endpoints: tuple[PredictorEndpoint, ...]
    connection: Connection = Connection()
    load_balancing: LoadBalancing = LoadBalancing()
    circuit_breaker: CircuitBreaker | None = None
    outlier_detection: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    slow_start: SlowStart | None = None
    tls: PredictorTls | None = None


class Predictor(Resource, frozen=True, kw_only=True):
    """A model server."""

    api_version: Literal["turnout.dev/v1alpha1"]
    kind: Literal["Predictor"]
    spec: PredictorSpec
