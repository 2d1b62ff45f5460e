"""`Predictor`: a model server, one or more endpoints that answer alike."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from turnout.rules.documents.base import Duration, Port, Resource, Strict


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


class Connection(Strict, frozen=True, kw_only=True):
    """Connections to the endpoints."""

    connect_timeout: Annotated[Duration | None, Meta(description="Default 5s.")] = None
    idle_timeout: Annotated[
        Duration | None,
        Meta(description="An idle kept connection is closed after this; default 4s, below uvicorn's 5s."),
    ] = None


class PredictorSpec(Strict, frozen=True, kw_only=True):
    """How to reach a model server."""

    later: ClassVar = frozenset(
        {"api", "loadBalancing", "circuitBreaker", "outlierDetection", "healthCheck", "slowStart", "tls"}
    )
    later_values: ClassVar = {"protocol": frozenset({"h2c", "h2", "auto"})}

    protocol: Annotated[Literal["http1"], Meta(description="What is spoken on the wire.")] = "http1"
    endpoints: tuple[PredictorEndpoint, ...]
    connection: Connection = Connection()


class Predictor(Resource, frozen=True, kw_only=True):
    """A model server."""

    api_version: Literal["turnout.dev/v1alpha1"]
    kind: Literal["Predictor"]
    spec: PredictorSpec
