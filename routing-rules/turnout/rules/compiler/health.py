"""A Predictor's `healthCheck` as the probes of the Snapshot.

Without a path of its own a check asks what the Predictor's API has for it (`turnout.rules.apis`): the server's
readiness, and for a `model` that model's, where the API knows of models. What speaks HTTP/2 is asked in it, and for
the Open Inference Protocol over gRPC, for that is what a server of both has at such a port.
"""

from base64 import b64decode
from urllib.parse import quote

from turnout.rules import resilience as r
from turnout.rules.apis import MODEL_PATHS, SERVER_PATHS, is_asked_over_grpc
from turnout.rules.documents.healthcheck import GrpcCheck, GrpcWarmCall, HealthCheck, HttpCheck, StatusRange, WarmCheck
from turnout.rules.documents.httproute import Header
from turnout.rules.durations import parse_duration_s
from turnout.rules.snapshot import Protocol


def compile_health_check(written: HealthCheck, api: str, protocol: Protocol) -> r.HealthCheck:
    """The checks of a Predictor that speaks `api` over `protocol`."""
    warm, http2 = written.warm, protocol in ("h2c", "h2")
    http: tuple[r.Probe, ...] = ()
    grpc: tuple[r.GrpcProbe, ...] = ()
    if written.grpc is not None or (written.http is None and is_asked_over_grpc(api, protocol)):
        grpc = () if written.tcp is not None else _grpc_probes(written.grpc, written.model)
    elif written.tcp is None:
        http = _probes(written.http or HttpCheck(), written.model, api, http2)
    return r.HealthCheck(
        http=http,
        interval_s=parse_duration_s(written.interval),
        timeout_s=parse_duration_s(written.timeout),
        interval_jitter_s=parse_duration_s(written.interval_jitter),
        unhealthy_threshold=written.unhealthy_threshold,
        healthy_threshold=written.healthy_threshold,
        warm=None if warm is None or warm.path is None else _warm(warm, warm.path, http2),
        warm_timeout_s=60.0 if warm is None else parse_duration_s(warm.timeout),
        grpc=grpc,
        warm_call=None if warm is None or warm.grpc is None else _warm_call(warm.grpc),
    )


def _grpc_probes(written: GrpcCheck | None, model: str | None) -> tuple[r.GrpcProbe, ...]:
    if written is None:
        first = r.GrpcProbe("server")
    else:
        first = r.GrpcProbe("health", written.service_name, written.authority, _headers(written.metadata))
    if model is None:
        return (first,)
    return first, r.GrpcProbe("model", model, first.authority, first.metadata)


def _warm_call(written: GrpcWarmCall) -> r.GrpcCall:
    path = f"{written.service}/{written.method}"
    return r.GrpcCall(path, b64decode(written.message, validate=True), _headers(written.metadata))


def _probes(written: HttpCheck, model: str | None, api: str, http2: bool) -> tuple[r.Probe, ...]:
    paths = [written.path or SERVER_PATHS.get(api)]
    if model is not None:
        # A model's name is one segment of the path, whatever it has in it.
        paths.append(MODEL_PATHS[api].format(quote(model, safe="")))
    headers, expect = _headers(written.headers), _expect(written.expected_statuses)
    return tuple(
        r.Probe(path, written.method, written.host, headers, "", expect, http2) for path in paths if path is not None
    )


def _warm(written: WarmCheck, path: str, http2: bool) -> r.Probe:
    headers, expect = _headers(written.headers), _expect(written.expected_statuses)
    return r.Probe(path, written.method, "", headers, written.body, expect, http2)


def _headers(headers: tuple[Header, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((h.name.lower(), h.value) for h in headers)


def _expect(ranges: tuple[StatusRange, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((range_.start, range_.end) for range_ in ranges)
