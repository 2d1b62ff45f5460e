"""Snapshots that say all that a Snapshot can say of failures, slowness and too much: for property tests."""

from typing import Any, get_args

from hypothesis import strategies as st

from turnout.rules import mirroring as m
from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.rules import tls as t

NAMES = ("a", "b", "c")
MODEL_HEADER = "x-gateway-model-name"

seconds = st.integers(1, 100_000).map(lambda milliseconds: milliseconds / 1000)
limits = st.none() | st.integers(1, 5_000)
percents = st.sampled_from([0.0, 12.5, 50.0, 100.0])
shares = st.integers(0, 1_000_000)
keys = st.builds(r.HashKey, st.just("header"), st.sampled_from(["x-user", MODEL_HEADER])) | st.sampled_from(
    [r.HashKey("cookie", "User"), r.HashKey("source_address"), r.HashKey("model")]
)
budgets = st.builds(r.RetryBudget, percents, st.integers(0, 9), seconds | st.just(0.0), percents)
retries = st.builds(
    r.Retry,
    attempts=st.integers(0, 4),
    on=st.lists(st.sampled_from(get_args(r.RetryOn)), max_size=3).map(tuple),
    codes=st.lists(st.sampled_from([409, 429, 500, 503]), max_size=2).map(tuple),
    back_off_s=st.sampled_from([0.0, 0.025, 0.1]),
    max_back_off_s=st.sampled_from([None, 0.01, 0.25, 10.0]),
    only_idempotent=st.booleans(),
    retry_after=st.booleans(),
    other_endpoint=st.booleans(),
    replay_bytes=st.sampled_from([0, 4_096, r.REPLAY_BYTES, 2**33]),
    budget=st.none() | budgets,
)
rates = st.builds(
    r.RateLimit,
    st.sampled_from([0.001, 0.7, 1.0, 100 / 60, 2.5, 1 / 86_400, 3.14159, 12_345.0]),
    st.integers(1, 1_000),
    st.sampled_from(["", "x-tenant"]),
)
faults = st.builds(r.Fault, st.just(0.0) | seconds, shares, st.sampled_from([200, 503]), shares)
backends = st.builds(
    s.Backend,
    st.sampled_from(NAMES),
    st.integers(1, 3),
    rewrite=st.none() | st.just(s.Rewrite("h.example")) | st.just(s.Rewrite(None, s.PathRewrite("full", "/f"))),
    redirect=st.none() | st.just(s.Redirect(302, hostname="r.example", port=0)),
)
mirrors = st.builds(m.Mirror, st.sampled_from(NAMES), st.just(1_000_000) | shares)
mirror_limits = st.just(m.MirrorLimits()) | st.builds(
    m.MirrorLimits,
    seconds,
    st.integers(1, 5_000),
    st.none() | st.builds(r.RateLimit, st.sampled_from([0.5, 100.0]), st.integers(1, 9)),
    st.none() | st.builds(m.PauseAbove, st.none() | seconds, limits, limits),
)
forwards = st.builds(
    s.Forward,
    st.lists(backends, min_size=1, max_size=3).map(tuple) | st.just((s.Backend("a"),)),
    request_timeout_s=st.none() | seconds,
    backend_timeout_s=st.none() | seconds,
    first_byte_timeout_s=st.none() | seconds,
    idle_timeout_s=st.none() | seconds,
    queue_timeout_s=seconds,
    retry=st.none() | retries,
    split_by=st.none() | keys,
    rate_limit=st.none() | rates,
    fault=st.none() | faults,
    mirrors=st.lists(mirrors, max_size=2).map(tuple),
    mirror_by=st.none() | keys,
    mirror_limits=mirror_limits,
)
paths = st.sampled_from(["/", "/a", "/v2/models/iris/infer"])
OF_GRPC = s.ValueMatch("content-type", "application/grpc", "prefix")
matches = st.builds(
    s.Match,
    st.builds(s.PathMatch, st.sampled_from(["exact", "path_prefix", "prefix"]), paths),
    st.sampled_from([None, "GET", "POST", "PATCH"]),
    headers=st.sampled_from([(), (OF_GRPC,)]),
    per_million=st.sampled_from([None, 250_000]),
)
identities = st.lists(
    st.sampled_from(["spiffe://td/ns/apps/*", "spiffe://td/ns/ops/sa/root", "urn:x:y"]), unique=True, max_size=2
).map(tuple)
routes = st.builds(s.Route, st.sampled_from(["r", "q"]), matches, forwards, allowed_identities=identities)

probes = st.builds(
    r.Probe,
    st.sampled_from(["/v2/health/ready", "/x?y=1"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["", "h.example:8080"]),
    st.sampled_from([(), (("x-a", "100%"), ("x-b", "b"))]),
    expect=st.sampled_from([((200, 201),), ((200, 300), (404, 405))]),
    http2=st.booleans(),
)
bodies = st.sampled_from(["", '{"a": "ä"}'])
warmers = st.builds(r.Probe, st.just("/v2/models/iris/infer"), st.just("POST"), body=bodies)
health_checks = st.builds(
    r.HealthCheck,
    st.lists(probes | warmers, max_size=2).map(tuple),
    seconds,
    seconds,
    st.just(0.0) | seconds,
    st.integers(1, 9),
    st.integers(1, 9),
    st.none() | warmers,
    seconds,
)
LOCALITIES = ("", "eu", "eu/a", "eu/a/1", "us//2")
balancing = st.builds(
    r.LoadBalancing,
    policy=st.sampled_from(["peak_ewma", "least_request", "round_robin", "random", "ring_hash", "maglev"]),
    choice_count=st.integers(1, 4),
    active_request_bias=st.sampled_from([0.0, 1.0, 1.5]),
    decay_s=seconds,
    default_rtt_s=seconds,
    hash_on=st.none() | keys,
    minimum_ring_size=st.integers(1, 10_000),
    table_size=st.sampled_from([251, 65_537]),
    hash_balance_percent=st.sampled_from([None, 100, 150]),
    panic_percent=percents,
    locality_weights=st.dictionaries(st.sampled_from(LOCALITIES), st.integers(0, 9), max_size=3).map(
        lambda weights: tuple(weights.items())
    ),
)
breakers = st.builds(
    r.CircuitBreaker,
    st.builds(r.Limits, limits, limits, limits, limits),
    st.builds(r.Limits, limits, limits, limits, limits),
    st.booleans(),
    st.none() | st.builds(r.FailureAccrual, st.integers(1, 9), seconds, seconds, st.sampled_from([0.0, 0.5])),
    st.none() | budgets,
)
outliers = st.builds(
    r.OutlierDetection,
    interval_s=seconds,
    base_ejection_s=seconds,
    max_ejection_s=seconds,
    ejection_jitter_s=seconds,
    max_ejection_percent=st.integers(0, 100),
    min_available_percent=st.none() | percents,
    always_eject_one=st.booleans(),
    consecutive_5xx=st.integers(1, 9),
    enforcing_consecutive_5xx=st.integers(0, 100),
    split_local_origin=st.booleans(),
    success_rate_stdev_factor=st.integers(0, 5_000),
    failure_percentage_threshold=st.integers(0, 100),
    uneject_on_health_check=st.booleans(),
    latency=st.none() | st.builds(r.LatencyOutliers, st.sampled_from([2.0, 3.5]), st.integers(1, 50)),
)
slow_starts = st.builds(r.SlowStart, seconds, st.sampled_from([0.5, 1.0, 2.0]), percents)


alt_names = st.sampled_from(
    [
        t.SubjectAltName("dns", "a.test"),
        t.SubjectAltName("uri", "spiffe://td/a"),
        t.SubjectAltName("uri", "spiffe://td/*"),
    ]
)
upstream_tls = st.builds(
    t.UpstreamTls,
    st.sampled_from(["", "a.test"]),
    st.sampled_from(["", "default/web"]),
    st.sampled_from(["", "default/web"]),
    st.lists(alt_names, unique=True, max_size=2).map(tuple),
    st.booleans(),
)
wires = st.fixed_dictionaries({"protocol": st.sampled_from(["http1", "h2c"])}) | st.fixed_dictionaries(
    {"protocol": st.sampled_from(["http1", "h2", "auto"]), "tls": upstream_tls}
)
served = st.dictionaries(
    st.sampled_from(["*", "*.a.test", "b.test"]),
    st.lists(st.sampled_from(["default/web", "x/y"]), min_size=1, max_size=2, unique=True).map(tuple),
    min_size=1,
).map(lambda told: tuple(t.ServedCertificates(told[hostname], hostname) for hostname in sorted(told)))
downstream_tls = st.builds(t.DownstreamTls, served) | st.builds(
    t.DownstreamTls, served, st.sampled_from([("default/web",), ("default/web", "x/z")]), st.booleans()
)


@st.composite
def clusters(draw: st.DrawFn, name: str) -> s.Cluster:
    count = draw(st.integers(0, 4))
    host = draw(st.sampled_from(["127.0.0.1", "localhost"]))
    return s.Cluster(
        name,
        tuple(draw(endpoints(host, 80 + number)) for number in range(count)),
        load_balancing=draw(balancing),
        circuit_breaker=draw(breakers),
        outlier_detection=draw(st.none() | outliers),
        health_check=draw(st.none() | health_checks),
        slow_start=draw(st.none() | slow_starts),
        **draw(wires),
    )


def endpoints(host: str, port: int) -> Any:
    return st.builds(
        s.Endpoint,
        st.just(host),
        st.just(port),
        st.integers(1, 3),
        st.integers(0, 1),
        st.booleans(),
        st.sampled_from(LOCALITIES),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> s.Snapshot:
    """Up to three routes on one listener, and the clusters that they name."""
    told = tuple(draw(st.lists(routes, min_size=1, max_size=3)))
    host = s.VirtualHost("v", draw(st.sampled_from([("*",), ("h.example",)])), told, draw(identities))
    found = tuple(draw(clusters(name)) for name in NAMES)
    tls = draw(st.none() | downstream_tls)
    return s.Snapshot((s.Listener("l", (host,), "127.0.0.1", 8080, tls),), found)
