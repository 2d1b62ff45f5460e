"""What a Snapshot says of failures, slowness and too much survives the way to Envoy's words and back."""

from typing import Any, get_args

import envoy_messages as written
import msgspec
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from resilience_snapshots import snapshots

from turnout.predictors.calls import is_inference
from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, make_resource
from turnout.xds.translate.emit.hints import write_hint
from turnout.xds.translate.from_envoy import check_resource, from_xds
from turnout.xds.translate.repeatable import is_repeatable
from turnout.xds.translate.to_envoy import to_xds

HOSTS = (s.Endpoint("10.0.0.1", 80), s.Endpoint("10.0.0.2", 80))
TO_A = s.Forward((s.Backend("a"),))
SPLIT = (s.Backend("a", 9), s.Backend("b", 1))
INFER = s.PathMatch("exact", "/v2/models/m/infer")
ANY = s.Match(s.PathMatch("prefix", "/"))


@settings(max_examples=settings.default.max_examples)
@given(snapshots())
def test_every_snapshot_survives_and_nothing_of_it_is_refused(snapshot: s.Snapshot) -> None:
    resources = to_xds(snapshot)
    for of_type in resources.values():
        for resource in of_type.values():
            name, faults = check_resource(resource.type_url, resource.body)
            assert name == resource.name
            assert not resource.wildcard or not faults, [str(fault) for fault in faults]
    assert from_xds(resources) == snapshot


@given(snapshots(), st.data())
def test_a_byte_that_is_another_is_refused_or_gives_a_snapshot(snapshot: s.Snapshot, data: st.DataObject) -> None:
    resources = to_xds(snapshot)
    type_url = data.draw(st.sampled_from([CLUSTER, ENDPOINTS, LISTENER, ROUTES]))
    own = {name: resource for name, resource in resources[type_url].items() if resource.wildcard}
    if not own:
        return
    resource = own[data.draw(st.sampled_from(sorted(own)))]
    body = bytearray(resource.body)
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    name, faults = check_resource(type_url, bytes(body))
    if not faults:
        resources[type_url][resource.name] = make_resource(type_url, name, bytes(body))
        found = from_xds(resources)
        assert s.decode_snapshot(found.encode()) == found


def snapshot_of(action: s.Action, *clusters: s.Cluster, match: s.Match = ANY, host: str = "*") -> s.Snapshot:
    listener = s.Listener("l", (s.VirtualHost("v", (host,), (s.Route("r", match, action),)),), "127.0.0.1", 8080)
    return s.Snapshot((listener,), clusters or (s.Cluster("a", HOSTS), s.Cluster("b", HOSTS)))


def routes_of(snapshot: s.Snapshot, name: str = "l") -> list[Any]:
    message = RouteConfiguration.FromString(to_xds(snapshot)[ROUTES][name].body)
    return list(message.virtual_hosts[0].routes)


def cluster_of(cluster: s.Cluster) -> Any:
    return Cluster.FromString(to_xds(s.Snapshot((), (cluster,)))[CLUSTER][cluster.name].body)


# Retries


@pytest.mark.parametrize(
    ("match", "retry_on"),
    [
        (replace(ANY, method="GET"), "connect-failure,refused-stream,reset,retriable-status-codes"),
        (replace(ANY, method="PUT"), "connect-failure,refused-stream,reset,retriable-status-codes"),
        (s.Match(INFER), "connect-failure,refused-stream,reset,retriable-status-codes"),
        (ANY, "connect-failure,refused-stream,reset-before-request"),
        (replace(ANY, method="POST"), "connect-failure,refused-stream,reset-before-request"),
        (replace(ANY, method="PATCH"), "connect-failure,refused-stream,reset-before-request"),
        (s.Match(s.PathMatch("prefix", "/v2/models/m/infer")), "connect-failure,refused-stream,reset-before-request"),
    ],
)  # fmt: skip
def test_envoy_repeats_what_was_sent_only_if_the_match_takes_nothing_else(match: s.Match, retry_on: str) -> None:
    snapshot = snapshot_of(replace(TO_A, retry=r.Retry(codes=(503,))), match=match)
    assert routes_of(snapshot)[0].route.retry_policy.retry_on == retry_on
    sure = replace(TO_A, retry=r.Retry(codes=(503,), only_idempotent=False))
    (route,) = routes_of(snapshot_of(sure, match=match))
    assert route.route.retry_policy.retry_on == "connect-failure,refused-stream,reset,retriable-status-codes"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/m:predict", "/v1/models/m:explain", "/v1/models/m", "/v1/models/m/versions/1:predict",
        "/v1/models/m/labels/l:predict", "/v2/models/m/infer", "/v2/models/m/versions/2/generate",
        "/v2/models/m/generate_stream", "/v2/models/m/ready", "/v2/models/m/infer/", "/v1/completions",
        "/openai/v1/chat/completions", "/v1/embeddings", "/v1/files", "/x/v1/embeddings",
        "/v2/repository/models/m/load", "/inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelStreamInfer", "/tensorflow.serving.PredictionService/Predict",
    ],
)  # fmt: skip
def test_an_exact_path_is_an_inference_call_as_for_the_proxy(path: str) -> None:
    assert is_repeatable(s.Match(s.PathMatch("exact", path), "POST")) == is_inference(b"POST", path.encode())


GRPC_WORDS = "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable"


def test_grpc_statuses_are_envoys_words_there_and_back() -> None:
    on = tuple(get_args(r.GRPCRetryOn))
    snapshot = snapshot_of(replace(TO_A, retry=r.Retry(on=("connect-failure", *on), only_idempotent=False)))
    (route,) = routes_of(snapshot)
    assert route.route.retry_policy.retry_on == f"connect-failure,{GRPC_WORDS}"
    assert from_xds(to_xds(snapshot)) == snapshot
    assert read_action(retry_policy={"retry_on": GRPC_WORDS}).retry.on == on


def test_envoy_is_not_asked_to_repeat_by_grpc_status_what_may_not_be_repeated() -> None:
    snapshot = snapshot_of(replace(TO_A, retry=r.Retry(on=("connect-failure", "unavailable"))), match=ANY)
    assert routes_of(snapshot)[0].route.retry_policy.retry_on == "connect-failure"
    assert from_xds(to_xds(snapshot)) == snapshot


def test_a_retry_of_envoy_is_one_of_any_request_with_its_defaults() -> None:
    assert read_action(retry_policy={"retry_on": "5xx, reset,retriable-status-codes"}).retry == r.Retry(
        1, ("5xx", "reset"), only_idempotent=False, retry_after=False, other_endpoint=False, budget=None
    )
    assert read_action(retry_policy={"retry_on": "5xx", "num_retries": 0}).retry is None
    assert read_action(retry_policy={"retriable_status_codes": [503]}).retry is None


def test_the_first_byte_of_one_attempt_is_what_envoy_measures() -> None:
    told = replace(TO_A, first_byte_timeout_s=2.0, backend_timeout_s=9.0)
    (route,) = routes_of(snapshot_of(told))
    assert route.route.retry_policy.per_try_timeout.seconds == 2


# What is hashed


def test_the_routes_tell_envoy_what_their_clusters_pick_by_and_a_split_comes_first() -> None:
    by_user = s.Cluster("a", HOSTS, load_balancing=r.LoadBalancing("maglev", hash_on=r.HashKey("header", "x-user")))
    (route,) = routes_of(snapshot_of(TO_A, by_user))
    assert [policy.header.header_name for policy in route.route.hash_policy] == ["x-user"]
    split = s.Forward(SPLIT, split_by=r.HashKey("cookie", "session"))
    (route,) = routes_of(snapshot_of(split, by_user, s.Cluster("b", HOSTS)))
    assert [policy.cookie.name for policy in route.route.hash_policy] == ["session"]
    assert route.route.weighted_clusters.use_hash_policy.value


def test_a_cluster_of_envoy_picks_by_what_its_routes_say_and_at_random_if_they_say_nothing() -> None:
    policy = {"hash_policy": [{"header": {"header_name": "X-User"}}]}
    told = read(cluster={"lb_policy": "RING_HASH"}, route={"cluster": "a", **policy})
    assert told.clusters[0].load_balancing.hash_on == r.HashKey("header", "x-user")
    told = read(cluster={"lb_policy": "RING_HASH"}, route={"cluster": "a"})
    assert told.clusters[0].load_balancing.policy == "random"


def test_routes_that_say_another_hash_than_the_hint_of_the_cluster_are_right() -> None:
    by_user = s.Cluster("a", HOSTS, load_balancing=r.LoadBalancing("maglev", hash_on=r.HashKey("header", "x-user")))
    resources = to_xds(snapshot_of(TO_A, by_user))
    other = replace(by_user.load_balancing, hash_on=r.HashKey("source_address"))
    resources[ROUTES] = to_xds(snapshot_of(TO_A, replace(by_user, load_balancing=other)))[ROUTES]
    assert from_xds(resources).clusters[0].load_balancing == other


# Clusters


def test_what_a_cluster_of_envoy_does_not_say_is_as_in_envoy() -> None:
    (cluster,) = read(cluster={"outlier_detection": {}, "health_checks": [CHECK]}).clusters
    assert cluster.load_balancing == r.LoadBalancing("round_robin", panic_percent=50.0)
    assert cluster.circuit_breaker == r.CircuitBreaker(r.Limits(1024, 1024, 1024, 3))
    assert cluster.slow_start is None
    assert cluster.outlier_detection == r.OutlierDetection(
        max_ejection_percent=10,
        min_available_percent=None,
        failure_percentage_threshold=85,
        failure_percentage_minimum_hosts=5,
        failure_percentage_request_volume=50,
        enforcing_failure_percentage=0,
        latency=None,
    )
    probe = r.Probe("/", host="localhost")
    assert cluster.health_check == r.HealthCheck((probe,), 1.0, 2.0, unhealthy_threshold=3, healthy_threshold=1)


@pytest.mark.parametrize(
    ("available", "most"), [(50.0, 50), (0.0, 99), (33.4, 66), (100.0, 0), (None, 100)]
)  # fmt: skip
def test_envoy_ejects_no_more_than_leaves_what_must_be_available(available: float | None, most: int) -> None:
    told = s.Cluster("a", HOSTS, outlier_detection=r.OutlierDetection(min_available_percent=available))
    assert cluster_of(told).outlier_detection.max_ejection_percent.value == most


def test_without_a_bound_of_retries_envoy_gets_its_own_budget() -> None:
    (thresholds,) = cluster_of(s.Cluster("a", HOSTS)).circuit_breakers.thresholds
    assert (thresholds.retry_budget.budget_percent.value, thresholds.retry_budget.min_retry_concurrency.value) == (
        20,
        3,
    )
    limited = s.Cluster("a", HOSTS, circuit_breaker=r.CircuitBreaker(r.Limits(max_retries=7)))
    (thresholds,) = cluster_of(limited).circuit_breakers.thresholds
    assert thresholds.max_retries.value == 7
    assert not thresholds.HasField("retry_budget")


def test_a_hint_of_a_cluster_that_is_not_what_the_message_says_does_not_count() -> None:
    resources = to_xds(snapshot_of(TO_A, s.Cluster("a", HOSTS)))
    message = Cluster.FromString(resources[CLUSTER]["a"].body)
    message.circuit_breakers.thresholds[0].max_requests.value = 8
    resources[CLUSTER]["a"] = make_resource(CLUSTER, "a", message.SerializeToString())
    (cluster,) = from_xds(resources).clusters
    assert cluster.circuit_breaker.limits.max_requests == 8
    assert cluster.load_balancing.policy == "least_request"


def test_endpoints_of_one_locality_are_together_for_grpc_and_keep_their_order_for_us() -> None:
    hosts = tuple(
        s.Endpoint("10.0.0.1", port, priority=port % 2, locality="eu/" + "ab"[port % 3 % 2]) for port in range(1, 8)
    )
    snapshot = snapshot_of(TO_A, s.Cluster("a", hosts))
    resources = to_xds(snapshot)
    assert from_xds(resources) == snapshot
    assert check_resource(ENDPOINTS, resources[ENDPOINTS]["a"].body) == ("a", [])


def test_the_texts_of_equal_hints_are_equal() -> None:
    made, default = s.Cluster("a", load_balancing=r.LoadBalancing(), circuit_breaker=r.CircuitBreaker()), s.Cluster("a")
    assert write_hint(made) == write_hint(default) == '{"name":"a"}'
    assert msgspec.json.decode(write_hint(made), type=s.Cluster) == made


# Filters, and what gRPC's own client gets


@pytest.mark.parametrize(
    ("action", "names"),
    [
        (TO_A, ["router"]),
        (replace(TO_A, fault=r.Fault(abort_status=503, abort_per_million=1)), ["fault", "router"]),
        (replace(TO_A, rate_limit=r.RateLimit(1.0, 1)), ["local_ratelimit", "router"]),
        (
            replace(TO_A, rate_limit=r.RateLimit(1.0, 1), fault=r.Fault(1.0, 1)),
            ["local_ratelimit", "fault", "router"],
        ),
    ],
)
def test_a_filter_is_in_the_chain_if_a_route_uses_it(action: s.Forward, names: list[str]) -> None:
    message = Listener.FromString(to_xds(snapshot_of(action))[LISTENER]["l"].body)
    manager = HttpConnectionManager.FromString(message.filter_chains[0].filters[0].typed_config.value)
    assert [found.name.removeprefix("envoy.filters.http.") for found in manager.http_filters] == names


def test_grpc_gets_clusters_that_go_round_and_routes_without_filters() -> None:
    limited = replace(TO_A, rate_limit=r.RateLimit(1.0, 1))
    snapshot = snapshot_of(limited, s.Cluster("a", HOSTS, health_check=r.HealthCheck()), host="h.example")
    (route,) = routes_of(snapshot, "grpc/h.example")
    assert route.route.cluster == "grpc/a"
    assert not route.typed_per_filter_config
    resource = to_xds(snapshot)[CLUSTER]["grpc/a"]
    message = Cluster.FromString(resource.body)
    assert not resource.wildcard
    assert message.lb_policy == Cluster.ROUND_ROBIN
    assert message.eds_cluster_config.service_name == "a"
    assert not message.health_checks


# What another control plane says

CHECK = {
    "interval": "1s", "timeout": "2s", "unhealthy_threshold": 3, "healthy_threshold": 1,
    "http_health_check": {"path": "/"},
}  # fmt: skip


def read_action(**route: Any) -> s.Forward:
    (found,) = read(route={"cluster": "a", **route}).routes()
    assert isinstance(found.action, s.Forward)
    return found.action


def read(*, cluster: dict[str, Any] | None = None, route: dict[str, Any] | None = None) -> s.Snapshot:
    """Of one listener, one route and one cluster."""
    told = {
        LISTENER: written.listener(),
        ROUTES: written.routes({"match": {"prefix": "/"}, "route": route or {"cluster": "a"}}),
        CLUSTER: written.cluster("a", **(cluster or {})),
        ENDPOINTS: written.endpoints("a", 80),
    }
    names = {LISTENER: "main", ROUTES: "main"}
    resources = {}
    for type_url, message in told.items():
        body, name = message.SerializeToString(), names.get(type_url, "a")
        assert check_resource(type_url, body) == (name, [])
        resources[type_url] = {name: make_resource(type_url, name, body)}
    return from_xds(resources)
