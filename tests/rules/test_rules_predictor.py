"""What a Predictor says of balancing, breakers, outliers and health, as a cluster; and what is refused there."""

import pytest

from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.rules.compile import Compiled

TWO = "[{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80}]"


def predictor(spec: str = "", endpoints: str = TWO) -> str:
    head = "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: p}\n"
    return f"{head}spec: {{endpoints: {endpoints}{', ' if spec else ''}{spec}}}\n"


def cluster(load, spec: str = "", endpoints: str = TWO) -> s.Cluster:
    compiled = load(predictor(spec, endpoints))
    assert [str(d) for d in compiled.diagnostics if d.code != "unused-predictor"] == []
    [found] = compiled.snapshot.clusters
    assert s.decode_snapshot(compiled.snapshot.encode()) == compiled.snapshot
    return found


def found(compiled: Compiled) -> list[tuple[str, str, str]]:
    return [(d.severity, d.origin.path, d.code) for d in compiled.diagnostics if d.code != "unused-predictor"]


def test_a_predictor_that_says_nothing_of_all_this_is_a_cluster_with_defaults(load) -> None:
    assert cluster(load) == s.Cluster("default/p", (s.Endpoint("10.0.0.1", 80), s.Endpoint("10.0.0.2", 80)))


def test_the_defaults_of_a_part_that_is_named_are_those_of_the_snapshot(load) -> None:
    spec = "loadBalancing: {}, outlierDetection: {}, healthCheck: {tcp: {}}, slowStart: {}"
    compiled = cluster(load, f"{spec}, circuitBreaker: {{consecutiveFailures: {{}}}}")
    assert compiled.load_balancing == r.LoadBalancing()
    assert compiled.circuit_breaker == r.CircuitBreaker(failures=r.FailureAccrual())
    assert compiled.outlier_detection == r.OutlierDetection()
    assert compiled.health_check == r.HealthCheck()
    assert compiled.slow_start == r.SlowStart()


def test_a_default_that_is_written_makes_no_other_version(load) -> None:
    written = (
        "loadBalancing: {policy: PeakEwma, decayTime: 10s, choiceCount: 2, panicThreshold: 0},"
        " circuitBreaker: {overflow: Fail, maxRequests: 1}, slowStart: {window: 30s, minWeightPercent: 10},"
        " outlierDetection: {minAvailable: 50%, consecutive5xx: 5, latency: {factor: 3}}, healthCheck: {tcp: {},"
        " interval: 5s}, connection: {connectTimeout: 5s}"
    )
    bare = "circuitBreaker: {maxRequests: 1}, slowStart: {}, outlierDetection: {}, healthCheck: {tcp: {}}"
    one, other = load(predictor(written)).snapshot, load(predictor(bare)).snapshot
    assert one == other
    assert one.version() == other.version()
    endpoints = s.Endpoint("10.0.0.1", 80), s.Endpoint("10.0.0.2", 80)
    plain = s.Snapshot(one.listeners, (s.Cluster("default/p", endpoints),))
    assert load(predictor()).snapshot.encode() == plain.encode()


def test_endpoints_have_weights_priorities_and_localities(load) -> None:
    endpoints = (
        "[{address: a, port: 1, weight: 3, locality: {region: eu, zone: eu-1, subZone: rack}},"
        " {address: b, port: 1, priority: 1, locality: {region: us}}]"
    )
    assert cluster(load, endpoints=endpoints).endpoints == (
        s.Endpoint("a", 1, weight=3, locality="eu/eu-1/rack"),
        s.Endpoint("b", 1, priority=1, locality="us"),
    )


def test_every_field_of_load_balancing_is_in_the_cluster(load) -> None:
    def balancing(text: str, endpoints: str = TWO) -> r.LoadBalancing:
        return cluster(load, f"loadBalancing: {{{text}}}", endpoints).load_balancing

    assert balancing("choiceCount: 3, decayTime: 5s, defaultRtt: 1s, panicThreshold: 12.5") == r.LoadBalancing(
        choice_count=3, decay_s=5.0, default_rtt_s=1.0, panic_percent=12.5
    )
    assert balancing("policy: LeastRequest, activeRequestBias: 0.5") == r.LoadBalancing(
        "least_request", active_request_bias=0.5
    )
    assert balancing("policy: RoundRobin").policy == "round_robin"
    assert balancing("policy: Random").policy == "random"
    assert balancing("policy: RingHash, minimumRingSize: 64, hashOn: {cookie: Sid}") == r.LoadBalancing(
        "ring_hash", minimum_ring_size=64, hash_on=r.HashKey("cookie", "Sid")
    )
    maglev = "policy: Maglev, tableSize: 251, hashBalanceFactor: 150, hashOn: "
    expected = r.LoadBalancing("maglev", table_size=251, hash_balance_percent=150, hash_on=r.HashKey("model"))
    assert balancing(maglev + "{model: true}") == expected
    assert balancing(maglev + "{header: X-User}").hash_on == r.HashKey("header", "x-user")
    assert balancing(maglev + "{sourceAddress: true}").hash_on == r.HashKey("source_address")
    zones = "[{address: a, port: 1, locality: {zone: a}}, {address: b, port: 1, locality: {zone: b}}]"
    weights = "localityWeights: [{locality: {zone: a}, weight: 9}, {locality: {zone: b}, weight: 1}]"
    assert balancing(weights, zones).locality_weights == (("/a", 9), ("/b", 1))


def test_every_field_of_a_circuit_breaker_is_in_the_cluster(load) -> None:
    text = (
        "circuitBreaker: {maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 0, overflow: Queue,"
        " perEndpoint: {maxConnections: 4, maxRequests: 5},"
        " consecutiveFailures: {maxFailures: 6, minPenalty: 2s, maxPenalty: 1h, jitterRatio: 0.25}}"
    )
    assert cluster(load, text).circuit_breaker == r.CircuitBreaker(
        limits=r.Limits(1, 2, 3, 0),
        endpoint=r.Limits(4, None, 5, None),
        queue=True,
        failures=r.FailureAccrual(6, 2.0, 3600.0, 0.25),
    )


def test_a_queue_without_a_length_has_one(load) -> None:
    breaker = cluster(load, "circuitBreaker: {maxRequests: 3, overflow: Queue}").circuit_breaker
    assert breaker.limits == r.Limits(None, 1024, 3, None)


OUTLIERS = {
    "interval: 1s": {"interval_s": 1.0},
    "baseEjectionTime: 10s": {"base_ejection_s": 10.0},
    "baseEjectionTime: 10m": {"base_ejection_s": 600.0, "max_ejection_s": 600.0},
    "maxEjectionTime: 1h": {"max_ejection_s": 3600.0},
    "maxEjectionTimeJitter: 5s": {"ejection_jitter_s": 5.0},
    "maxEjectionPercent: 10": {"max_ejection_percent": 10},
    "minAvailable: 34%": {"min_available_percent": 34.0},
    "alwaysEjectOneHost: true": {"always_eject_one": True},
    "consecutive5xx: 2, enforcingConsecutive5xx: 1": {"consecutive_5xx": 2, "enforcing_consecutive_5xx": 1},
    "consecutiveGatewayFailure: 2": {"consecutive_gateway_failure": 2},
    "enforcingConsecutiveGatewayFailure: 9": {"enforcing_consecutive_gateway_failure": 9},
    "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailure: 7": {
        "split_local_origin": True,
        "consecutive_local_origin_failure": 7,
    },
    "splitExternalLocalOriginErrors: true, enforcingConsecutiveLocalOriginFailure: 8": {
        "split_local_origin": True,
        "enforcing_consecutive_local_origin_failure": 8,
    },
    "splitExternalLocalOriginErrors: true, enforcingLocalOriginSuccessRate: 9": {
        "split_local_origin": True,
        "enforcing_local_origin_success_rate": 9,
    },
    "splitExternalLocalOriginErrors: true, enforcingFailurePercentageLocalOrigin: 10": {
        "split_local_origin": True,
        "enforcing_failure_percentage_local_origin": 10,
    },
    "successRateMinimumHosts: 3": {"success_rate_minimum_hosts": 3},
    "successRateRequestVolume: 10": {"success_rate_request_volume": 10},
    "successRateStdevFactor: 1500": {"success_rate_stdev_factor": 1500},
    "enforcingSuccessRate: 0": {"enforcing_success_rate": 0},
    "failurePercentageThreshold: 85": {"failure_percentage_threshold": 85},
    "failurePercentageMinimumHosts: 5": {"failure_percentage_minimum_hosts": 5},
    "failurePercentageRequestVolume: 50": {"failure_percentage_request_volume": 50},
    "enforcingFailurePercentage: 0": {"enforcing_failure_percentage": 0},
    "latency: {mode: Ignore}": {"latency": None},
    "latency: {factor: 2, requestVolume: 9, confidence: 4}": {"latency": r.LatencyOutliers(2.0, 9, 4.0)},
}


@pytest.mark.parametrize("text", OUTLIERS)
def test_every_field_of_outlier_detection_is_in_the_cluster(load, text: str) -> None:
    assert cluster(load, f"outlierDetection: {{{text}}}").outlier_detection == r.OutlierDetection(**OUTLIERS[text])


def test_health_checks_may_leave_an_ejection_alone(load) -> None:
    spec = "outlierDetection: {successfulActiveHealthCheckUnejectHost: false}, healthCheck: {tcp: {}}"
    assert cluster(load, spec).outlier_detection == r.OutlierDetection(uneject_on_health_check=False)


@pytest.mark.parametrize(
    ("api", "model", "paths"),
    [
        ("oip-v1", "iris", ["/v1/models/iris"]),
        ("oip-v2", None, ["/v2/health/ready"]),
        ("oip-v2", "iris", ["/v2/health/ready", "/v2/models/iris/ready"]),
        ("oip-v2", "a/b ?", ["/v2/health/ready", "/v2/models/a%2Fb%20%3F/ready"]),
        ("openai", None, ["/v1/models"]),
        ("openai", "m", ["/v1/models", "/v1/models/m"]),
        ("bentoml", None, ["/readyz"]),
        ("rayserve", None, ["/-/healthz"]),
    ],
)
def test_a_health_check_asks_what_the_api_has_for_it(load, api: str, model: str | None, paths: list[str]) -> None:
    text = "{}" if model is None else f"{{model: '{model}'}}"
    check = cluster(load, f"api: {api}, healthCheck: {text}").health_check
    assert check == r.HealthCheck(http=tuple(r.Probe(path) for path in paths))


def test_every_field_of_a_health_check_is_in_the_cluster(load) -> None:
    text = (
        "healthCheck: {interval: 1s, timeout: 3s, intervalJitter: 100ms, unhealthyThreshold: 4, healthyThreshold: 5,"
        " http: {path: '/up?a=b', host: 'models:80', method: HEAD, headers: [{name: X-A, value: b}],"
        " expectedStatuses: [{start: 200, end: 300}, {start: 404, end: 405}]},"
        " warm: {path: /infer, method: PUT, headers: [{name: X-C, value: d}], body: '{}', timeout: 5s,"
        " expectedStatuses: [{start: 201, end: 202}]}}"
    )
    assert cluster(load, text).health_check == r.HealthCheck(
        http=(r.Probe("/up?a=b", "HEAD", "models:80", (("x-a", "b"),), "", ((200, 300), (404, 405))),),
        interval_s=1.0,
        timeout_s=3.0,
        interval_jitter_s=0.1,
        unhealthy_threshold=4,
        healthy_threshold=5,
        warm=r.Probe("/infer", "PUT", "", (("x-c", "d"),), "{}", ((201, 202),)),
        warm_timeout_s=5.0,
    )


def test_every_field_of_slow_start_is_in_the_cluster(load) -> None:
    text = "slowStart: {window: 1m, aggression: 2, minWeightPercent: 5}"
    assert cluster(load, text).slow_start == r.SlowStart(60.0, 2.0, 5.0)


BREAKER, BALANCING, CHECK, OUTLIER = "circuitBreaker", "loadBalancing", "healthCheck", "outlierDetection"


@pytest.mark.parametrize(
    ("spec", "severity", "path", "code"),
    [
        (f"{BALANCING}: {{policy: Maglev}}", "error", BALANCING, "missing-field"),
        (f"{BALANCING}: {{policy: RingHash, hashOn: {{}}}}", "error", f"{BALANCING}.hashOn", "invalid-value"),
        (
            f"{BALANCING}: {{policy: RingHash, hashOn: {{header: a, cookie: b}}}}",
            "error",
            f"{BALANCING}.hashOn",
            "invalid-value",
        ),
        (
            f"{BALANCING}: {{policy: RingHash, hashOn: {{sourceAddress: false}}}}",
            "error",
            f"{BALANCING}.hashOn",
            "invalid-value",
        ),
        (
            f"{BALANCING}: {{policy: RingHash, hashOn: {{header: 'a b'}}}}",
            "error",
            f"{BALANCING}.hashOn.header",
            "invalid-name",
        ),
        (f"{BALANCING}: {{hashOn: {{header: a}}}}", "error", f"{BALANCING}.hashOn", "no-effect"),
        (f"{BALANCING}: {{policy: Random, choiceCount: 2}}", "error", f"{BALANCING}.choiceCount", "no-effect"),
        (f"{BALANCING}: {{activeRequestBias: 1}}", "error", f"{BALANCING}.activeRequestBias", "no-effect"),
        (f"{BALANCING}: {{policy: Random, decayTime: 1s}}", "error", f"{BALANCING}.decayTime", "no-effect"),
        (f"{BALANCING}: {{policy: Random, defaultRtt: 1s}}", "error", f"{BALANCING}.defaultRtt", "no-effect"),
        (f"{BALANCING}: {{minimumRingSize: 1}}", "error", f"{BALANCING}.minimumRingSize", "no-effect"),
        (f"{BALANCING}: {{tableSize: 251}}", "error", f"{BALANCING}.tableSize", "no-effect"),
        (f"{BALANCING}: {{hashBalanceFactor: 150}}", "error", f"{BALANCING}.hashBalanceFactor", "no-effect"),
        (f"{BALANCING}: {{decayTime: 0s}}", "error", f"{BALANCING}.decayTime", "invalid-duration"),
        (f"{BALANCING}: {{choiceCount: 1}}", "error", f"{BALANCING}.choiceCount", "invalid-value"),
        (f"{BALANCING}: {{panicThreshold: 101}}", "error", f"{BALANCING}.panicThreshold", "invalid-value"),
        (
            f"{BALANCING}: {{policy: Maglev, hashOn: {{model: true}}, tableSize: 1000}}",
            "error",
            f"{BALANCING}.tableSize",
            "invalid-value",
        ),
        (f"{BREAKER}: {{}}", "warning", BREAKER, "no-effect"),
        (f"{BREAKER}: {{overflow: Queue}}", "error", f"{BREAKER}.overflow", "no-effect"),
        (f"{BREAKER}: {{overflow: Queue, maxRetries: 2}}", "error", f"{BREAKER}.overflow", "no-effect"),
        (f"{BREAKER}: {{maxRequests: 0}}", "error", f"{BREAKER}.maxRequests", "invalid-value"),
        (
            f"{BREAKER}: {{maxRequests: 1, overflow: Queue, maxPendingRequests: 0}}",
            "error",
            f"{BREAKER}.maxPendingRequests",
            "invalid-value",
        ),
        (
            f"{BREAKER}: {{consecutiveFailures: {{minPenalty: 2m}}}}",
            "error",
            f"{BREAKER}.consecutiveFailures.maxPenalty",
            "duration-order",
        ),
        (f"{OUTLIER}: {{interval: 0s}}", "error", f"{OUTLIER}.interval", "invalid-duration"),
        (f"{OUTLIER}: {{minAvailable: 101%}}", "error", f"{OUTLIER}.minAvailable", "invalid-value"),
        (f"{OUTLIER}: {{minAvailable: '2'}}", "error", f"{OUTLIER}.minAvailable", "invalid-value"),
        (f"{OUTLIER}: {{maxEjectionTime: 29s}}", "error", f"{OUTLIER}.maxEjectionTime", "duration-order"),
        (f"{OUTLIER}: {{latency: {{mode: Ignore, factor: 2}}}}", "error", f"{OUTLIER}.latency.factor", "no-effect"),
        (f"{OUTLIER}: {{latency: {{factor: 1}}}}", "error", f"{OUTLIER}.latency.factor", "invalid-value"),
        *[
            (f"{OUTLIER}: {{{name}: 1}}", "error", f"{OUTLIER}.{name}", "no-effect")
            for name in (
                "consecutiveLocalOriginFailure",
                "enforcingConsecutiveLocalOriginFailure",
                "enforcingLocalOriginSuccessRate",
                "enforcingFailurePercentageLocalOrigin",
            )
        ],
        (
            f"{OUTLIER}: {{successfulActiveHealthCheckUnejectHost: true}}",
            "error",
            f"{OUTLIER}.successfulActiveHealthCheckUnejectHost",
            "no-effect",
        ),
        (f"{CHECK}: {{}}", "error", CHECK, "missing-field"),
        (f"{CHECK}: {{http: {{}}}}", "error", CHECK, "missing-field"),
        (f"api: oip-v1, {CHECK}: {{}}", "error", CHECK, "missing-field"),
        (f"api: bentoml, {CHECK}: {{model: a}}", "error", f"{CHECK}.model", "no-effect"),
        (f"{CHECK}: {{tcp: {{}}, http: {{path: /}}}}", "error", f"{CHECK}.http", "health-check-conflict"),
        (f"api: oip-v2, {CHECK}: {{tcp: {{}}, model: a}}", "error", f"{CHECK}.model", "health-check-conflict"),
        (f"{CHECK}: {{tcp: {{}}, interval: 0s}}", "error", f"{CHECK}.interval", "invalid-duration"),
        (f"{CHECK}: {{http: {{path: 'a'}}}}", "error", f"{CHECK}.http.path", "invalid-path"),
        (f"{CHECK}: {{http: {{path: '/a b'}}}}", "error", f"{CHECK}.http.path", "invalid-path"),
        (f'{CHECK}: {{http: {{path: "/a\\r\\nb: c"}}}}', "error", f"{CHECK}.http.path", "invalid-path"),
        (f"{CHECK}: {{http: {{path: /, host: 'a b'}}}}", "error", f"{CHECK}.http.host", "invalid-hostname"),
        (
            f"{CHECK}: {{http: {{path: /, headers: [{{name: Host, value: a}}]}}}}",
            "error",
            f"{CHECK}.http.headers[0].name",
            "uneditable-header",
        ),
        (
            f"{CHECK}: {{http: {{path: /, expectedStatuses: []}}}}",
            "error",
            f"{CHECK}.http.expectedStatuses",
            "invalid-value",
        ),
        (
            f"{CHECK}: {{http: {{path: /, expectedStatuses: [{{start: 300, end: 300}}]}}}}",
            "error",
            f"{CHECK}.http.expectedStatuses[0]",
            "invalid-value",
        ),
        (
            f"{CHECK}: {{tcp: {{}}, warm: {{path: /, method: GET, body: a}}}}",
            "error",
            f"{CHECK}.warm.body",
            "no-effect",
        ),
        ("slowStart: {window: 0s}", "error", "slowStart.window", "invalid-duration"),
        ("slowStart: {aggression: 0}", "error", "slowStart.aggression", "invalid-value"),
        (
            f"slowStart: {{}}, {BALANCING}: {{policy: Maglev, hashOn: {{model: true}}}}",
            "warning",
            "slowStart",
            "no-effect",
        ),
    ],
)
def test_what_could_not_take_effect_is_told_at_its_place(load, spec: str, severity: str, path: str, code: str) -> None:
    assert found(load(predictor(spec))) == [(severity, f"spec.{path}", code)]


@pytest.mark.parametrize(
    ("endpoints", "spec", "severity", "path", "code"),
    [
        ("[{address: a, port: 1, weight: 0}]", "", "error", "endpoints[0].weight", "invalid-value"),
        ("[{address: a, port: 1, priority: 1}]", "", "error", "endpoints", "priority-gap"),
        (
            "[{address: a, port: 1}, {address: b, port: 1, priority: 2}]",
            "",
            "error",
            "endpoints",
            "priority-gap",
        ),
        ("[{address: a, port: 1, locality: {zone: a/b}}]", "", "error", "endpoints[0].locality", "invalid-value"),
        ("[{address: 10.0.0.1, port: 1}]", "outlierDetection: {}", "warning", "outlierDetection", "no-effect"),
        (
            "[{address: a, port: 1}]",
            "loadBalancing: {localityWeights: [{locality: {}, weight: 1}, {locality: {zone: b}, weight: 1}]}",
            "warning",
            "loadBalancing.localityWeights[1]",
            "no-effect",
        ),
        (
            "[{address: a, port: 1}, {address: b, port: 1, locality: {zone: b}}]",
            "loadBalancing: {localityWeights: [{locality: {}, weight: 1}]}",
            "warning",
            "loadBalancing.localityWeights",
            "no-weight",
        ),
        (
            "[{address: a, port: 1}]",
            "loadBalancing: {localityWeights: [{locality: {}, weight: 1}, {locality: {}, weight: 2}]}",
            "error",
            "loadBalancing.localityWeights[1]",
            "duplicate",
        ),
    ],
)
def test_endpoints_and_what_is_said_of_them_go_together(
    load, endpoints: str, spec: str, severity: str, path: str, code: str
) -> None:
    assert found(load(predictor(spec, endpoints))) == [(severity, f"spec.{path}", code)]


def test_a_name_of_several_addresses_may_have_outliers(load) -> None:
    assert found(load(predictor("outlierDetection: {}", "[{address: models.example, port: 1}]"))) == []
