"""Of a `Predictor`: how its endpoints are asked whether they are well (`healthCheck`).

Names and semantics are Envoy's (health_check.proto); `model` and `warm` are ours. A default that stands here is that of
the Snapshot's struct, and a test holds the two equal.
"""

from typing import Annotated, Literal

from msgspec import Meta

from turnout.rules.documents.base import Duration, ObjectName, Strict
from turnout.rules.documents.httproute import Header

Target = Annotated[str, Meta(min_length=1, max_length=1024, description="A path, and perhaps a query.")]
Threshold = Annotated[int, Meta(ge=1, le=1000)]


class StatusRange(Strict, frozen=True, kw_only=True):
    """Statuses from `start` up to, and without, `end` (Envoy `Int64Range`)."""

    start: Annotated[int, Meta(ge=100, le=599)]
    end: Annotated[int, Meta(ge=101, le=600)]


_OK = (StatusRange(start=200, end=201),)


class HttpCheck(Strict, frozen=True, kw_only=True):
    """A request whose status tells."""

    path: Annotated[Target | None, Meta(description="Default: what the Predictor's api has for it.")] = None
    host: Annotated[str, Meta(max_length=261, description="The Host field; default: the address and port.")] = ""
    method: Literal["GET", "HEAD", "OPTIONS", "POST"] = "GET"
    headers: tuple[Header, ...] = ()
    expected_statuses: tuple[StatusRange, ...] = _OK


class TcpCheck(Strict, frozen=True, kw_only=True):
    """A connection that opens tells."""


class GrpcCheck(Strict, frozen=True, kw_only=True):
    """`grpc.health.v1.Health/Check` tells (Envoy `GrpcHealthCheck`)."""

    service_name: Annotated[
        str, Meta(max_length=1024, description="A service that the server knows; default: the server as a whole.")
    ] = ""
    authority: Annotated[str, Meta(max_length=261, description="Default: the address and port.")] = ""
    metadata: tuple[Header, ...] = ()


class GrpcWarmCall(Strict, frozen=True, kw_only=True):
    """A recorded unary call; well if it ends with OK."""

    service: Annotated[str, Meta(min_length=1, max_length=1024)]
    method: Annotated[str, Meta(min_length=1, max_length=1024)]
    message: Annotated[str, Meta(max_length=1_398_104, description="The request message's bytes, in base64.")] = ""
    metadata: tuple[Header, ...] = ()


class WarmCheck(Strict, frozen=True, kw_only=True):
    """A recorded inference request, asked before an endpoint gets its first traffic: `path`, or `grpc`."""

    path: Target | None = None
    grpc: GrpcWarmCall | None = None
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: tuple[Header, ...] = ()
    body: Annotated[str, Meta(max_length=1_048_576)] = ""
    expected_statuses: tuple[StatusRange, ...] = _OK
    timeout: Annotated[Duration, Meta(description="A first inference may load the model.")] = "1m"


class HealthCheck(Strict, frozen=True, kw_only=True):
    """Active health checks; `http`, `grpc`, `tcp`, or what the Predictor's `api` and `protocol` have for it."""

    http: HttpCheck | None = None
    grpc: GrpcCheck | None = None
    tcp: TcpCheck | None = None
    model: Annotated[ObjectName | None, Meta(description="Ask by the api whether this model is ready, too.")] = None
    interval: Duration = "5s"
    timeout: Duration = "2s"
    interval_jitter: Annotated[Duration, Meta(description="An interval is longer by up to this.")] = "0s"
    unhealthy_threshold: Threshold = 3
    healthy_threshold: Threshold = 2
    warm: WarmCheck | None = None
