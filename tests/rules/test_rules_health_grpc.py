"""Health checks of what speaks HTTP/2: over gRPC or HTTP/2, what each asks, and what is refused."""

from base64 import b64encode

import pytest

from turnout.rules import resilience as r
from turnout.rules import snapshot as s


def load_spec(load, spec: str, protocol: str = "h2c"):
    head = "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: p}\n"
    return load(f"{head}spec: {{protocol: {protocol}, endpoints: [{{address: 10.0.0.1, port: 80}}], {spec}}}\n")


def check_of(load, spec: str, protocol: str = "h2c") -> r.HealthCheck:
    compiled = load_spec(load, spec, protocol)
    assert [str(d) for d in compiled.diagnostics if d.code != "unused-predictor"] == []
    assert s.decode_snapshot(compiled.snapshot.encode()) == compiled.snapshot
    (cluster,) = compiled.snapshot.clusters
    assert cluster.health_check is not None
    return cluster.health_check


@pytest.mark.parametrize(
    ("spec", "http", "grpc"),
    [
        # The API's own question is a gRPC call.
        ("api: oip-v2, healthCheck: {}", (), (r.GrpcProbe("server"),)),
        ("api: oip-v2, healthCheck: {model: a/b}", (), (r.GrpcProbe("server"), r.GrpcProbe("model", "a/b"))),
        # gRPC's own health service, and the model beside it.
        ("healthCheck: {grpc: {}}", (), (r.GrpcProbe("health"),)),
        ("api: openai, healthCheck: {grpc: {serviceName: a.B}}", (), (r.GrpcProbe("health", "a.B"),)),
        (
            "api: oip-v2, healthCheck: {model: m, grpc: {serviceName: s, authority: 'a:1',"
            " metadata: [{name: X-K, value: v}]}}",
            (),
            (
                r.GrpcProbe("health", "s", "a:1", (("x-k", "v"),)),
                r.GrpcProbe("model", "m", "a:1", (("x-k", "v"),)),
            ),
        ),
        # HTTP where it is asked for, or the API has nothing else; in HTTP/2.
        ("api: oip-v2, healthCheck: {http: {}}", (r.Probe("/v2/health/ready", http2=True),), ()),
        ("api: openai, healthCheck: {}", (r.Probe("/v1/models", http2=True),), ()),
        ("api: oip-v2, healthCheck: {tcp: {}}", (), ()),
    ],
)
def test_a_check_asks_in_the_protocol_of_the_predictor(
    load, spec: str, http: tuple[r.Probe, ...], grpc: tuple[r.GrpcProbe, ...]
) -> None:
    assert check_of(load, spec) == r.HealthCheck(http, grpc=grpc)


def test_http1_is_asked_in_http1(load) -> None:
    check = check_of(load, "api: oip-v2, healthCheck: {warm: {path: /w}}", "http1")
    assert check == r.HealthCheck((r.Probe("/v2/health/ready"),), warm=r.Probe("/w", "POST"))


def test_a_warm_check_is_a_recorded_call_or_a_request(load) -> None:
    message = b"\x0a\x04iris\x00\xff"
    text = (
        "healthCheck: {tcp: {}, warm: {timeout: 5s, grpc: {service: a.B, method: C,"
        f" message: '{b64encode(message).decode()}', metadata: [{{name: X-A, value: b}}]}}}}}}"
    )
    call = r.GrpcCall("a.B/C", message, (("x-a", "b"),))
    assert check_of(load, text) == r.HealthCheck(warm_call=call, warm_timeout_s=5.0)
    check = check_of(load, "healthCheck: {tcp: {}, warm: {path: /w}}")
    assert check == r.HealthCheck(warm=r.Probe("/w", "POST", http2=True))
    assert (r.HealthCheck().warms, check.warms, r.HealthCheck(warm_call=call).warms) == (False, True, True)


@pytest.mark.parametrize(
    ("protocol", "check", "field", "code"),
    [
        ("http1", "grpc: {}", ".grpc", "protocol-mismatch"),
        ("http1", "tcp: {}, warm: {grpc: {service: a, method: b}}", ".warm.grpc", "protocol-mismatch"),
        ("h2c", "grpc: {}, tcp: {}", ".grpc", "health-check-conflict"),
        ("h2c", "grpc: {}, http: {path: /}", ".http", "health-check-conflict"),
        ("h2c", "grpc: {}, model: m", ".model", "no-effect"),
        ("h2c", "grpc: {authority: 'a b'}", ".grpc.authority", "invalid-hostname"),
        ("h2c", "grpc: {metadata: [{name: 'a b', value: c}]}", ".grpc.metadata[0].name", "invalid-header"),
        ("h2c", "grpc: {metadata: [{name: te, value: c}]}", ".grpc.metadata[0].name", "uneditable-header"),
        ("h2c", "{}", "", "missing-field"),
        ("h2c", "tcp: {}, warm: {}", ".warm", "missing-field"),
        ("h2c", "tcp: {}, warm: {path: /, grpc: {service: a, method: b}}", ".warm", "missing-field"),
        ("h2c", "tcp: {}, warm: {grpc: {service: a/b, method: c}}", ".warm.grpc.service", "invalid-value"),
        ("h2c", "tcp: {}, warm: {grpc: {service: a, method: 'c d'}}", ".warm.grpc.method", "invalid-value"),
        ("h2c", "tcp: {}, warm: {grpc: {service: a, method: b, message: '!'}}", ".warm.grpc.message", "invalid-value"),
        ("h2c", "tcp: {}, warm: {body: x, grpc: {service: a, method: b}}", ".warm.body", "no-effect"),
    ],
)
def test_what_can_not_be_asked_is_an_error(load, protocol: str, check: str, field: str, code: str) -> None:
    text = check if check.startswith("{") else f"{{{check}}}"
    found = load_spec(load, f"healthCheck: {text}", protocol).diagnostics
    assert [(d.severity, d.origin.path, d.code) for d in found] == [("error", f"spec.healthCheck{field}", code)]
