"""HTTP/2 and gRPC in Envoy's words: what is spoken, how long a call may take, what it gets without a cluster."""

from typing import Any

import envoy_messages as written
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.json_format import MessageToDict
from refusals import refused
from resilience_snapshots import OF_GRPC

from turnout.proxy.http2.session import MAX_STREAMS as STREAMS_OF_A_CONNECTION
from turnout.rules import snapshot as s
from turnout.xds.resources import CLUSTER, LISTENER, ROUTES, make_resource
from turnout.xds.translate.from_envoy import check_resource, from_xds
from turnout.xds.translate.names import MAX_STREAMS, UPSTREAM_OPTIONS
from turnout.xds.translate.to_envoy import to_xds

ANY = s.Match()
GRPC = s.Match(headers=(OF_GRPC,))


def of(route: s.Match, *backends: str, limit_s: float | None = None) -> s.Route:
    return s.Route("r", route, s.Forward(tuple(map(s.Backend, backends)), request_timeout_s=limit_s))


def snapshot(*routes: s.Route, protocol: s.Protocol = "h2c", missing: tuple[str, ...] = ()) -> s.Snapshot:
    cluster = s.Cluster("a", (s.Endpoint("10.0.0.1", 80),), protocol=protocol)
    host = s.VirtualHost("v", ("*",), routes)
    return s.Snapshot((s.Listener("l", (host,), "127.0.0.1", 80),), (cluster,), missing)


def action(route: s.Route, **more: Any) -> dict[str, Any]:
    body = to_xds(snapshot(route, **more))[ROUTES]["l"].body
    told: dict[str, Any] = MessageToDict(RouteConfiguration.FromString(body), preserving_proto_field_name=True)
    return told["virtual_hosts"][0]["routes"][0]["route"]


# What is spoken


@pytest.mark.parametrize(
    ("protocol", "options"), [("http1", "http_protocol_options"), ("h2c", "http2_protocol_options")]
)
def test_the_protocol_of_a_cluster_is_said_and_read(protocol: s.Protocol, options: str) -> None:
    told = snapshot(of(ANY, "a"), protocol=protocol)
    resources = to_xds(told)
    message = Cluster.FromString(resources[CLUSTER]["a"].body)
    spoken = HttpProtocolOptions.FromString(message.typed_extension_protocol_options[UPSTREAM_OPTIONS].value)
    assert spoken.explicit_http_config.WhichOneof("protocol_config") == options
    assert from_xds(resources) == told


def test_a_listener_takes_both_protocols_and_websocket_in_both() -> None:
    resource = to_xds(snapshot(of(ANY, "a")))[LISTENER]["l"]
    packed = Listener.FromString(resource.body).filter_chains[0].filters[0].typed_config
    manager = HttpConnectionManager.FromString(packed.value)
    assert manager.codec_type == HttpConnectionManager.AUTO
    assert manager.http2_protocol_options.allow_connect
    assert manager.http2_protocol_options.max_concurrent_streams.value == STREAMS_OF_A_CONNECTION == MAX_STREAMS
    assert [upgrade.upgrade_type for upgrade in manager.upgrade_configs] == ["websocket"]


@pytest.mark.parametrize(
    "manager",
    [
        {"codec_type": "AUTO"},
        {"http2_protocol_options": {}},
        {"http2_protocol_options": {"initial_stream_window_size": 65_535, "initial_connection_window_size": 1 << 20}},
        {"http2_protocol_options": {"allow_connect": True, "max_concurrent_streams": 1024}},
    ],
)
def test_a_manager_may_say_what_the_proxy_does(manager: dict[str, Any]) -> None:
    assert refused(LISTENER, written.listener(**manager)) == {}


# How long a call may take


@pytest.mark.parametrize(
    ("match", "limit_s", "said"),
    [
        (ANY, None, {"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}}),
        (GRPC, None, {"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}}),
        (ANY, 2.0, {"timeout": "2s"}),
        (
            GRPC,
            2.0,
            {"timeout": "0s", "max_stream_duration": {"max_stream_duration": "2s", "grpc_timeout_header_max": "2s"}},
        ),
    ],
)
def test_a_grpc_timeout_is_kept_to_where_envoy_can(match: s.Match, limit_s: float | None, said: dict[str, Any]) -> None:
    told = snapshot(of(match, "a", limit_s=limit_s))
    assert action(of(match, "a", limit_s=limit_s)) == {"cluster": "a", **said}
    assert from_xds(to_xds(told)) == told


@pytest.mark.parametrize(
    ("told", "limit_s"),
    [
        ({}, 15.0),
        ({"timeout": "3s"}, 3.0),
        ({"timeout": "3s", "max_stream_duration": {}}, None),
        ({"timeout": "3s", "max_stream_duration": {"max_stream_duration": "4s"}}, 4.0),
        ({"max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}}, None),
        ({"max_stream_duration": {"max_stream_duration": "4s", "grpc_timeout_header_max": "4s"}}, 4.0),
    ],
)
def test_a_max_stream_duration_takes_the_place_of_the_timeout(told: dict[str, Any], limit_s: float | None) -> None:
    messages = {LISTENER: written.listener(), ROUTES: written.routes(written.to("a", **told))}
    for type_url, message in messages.items():
        assert check_resource(type_url, message.SerializeToString()) == ("main", [])
    made = {t: {"main": make_resource(t, "main", m.SerializeToString())} for t, m in messages.items()}
    (route,) = from_xds(made).routes()
    assert isinstance(route.action, s.Forward)
    assert route.action.request_timeout_s == limit_s


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ({"grpc_timeout_header_max": "1s"}, "grpc_timeout_header_max"),
        ({"max_stream_duration": "1s", "grpc_timeout_header_max": "0s"}, "grpc_timeout_header_max"),
        ({"max_stream_duration": "1s", "grpc_timeout_header_max": "2s"}, "grpc_timeout_header_max"),
        ({"grpc_timeout_header_offset": "1s"}, "grpc_timeout_header_offset"),
        ({"max_stream_duration": "-1s"}, "max_stream_duration"),
    ],
)
def test_a_bound_for_grpc_alone_is_refused(told: dict[str, Any], place: str) -> None:
    found = refused(ROUTES, written.routes(written.to("a", max_stream_duration=told)))
    assert f"virtual_hosts[0].routes[0].route.max_stream_duration.{place}" in found


@pytest.mark.parametrize("field", ["max_grpc_timeout", "grpc_timeout_offset"])
def test_the_former_words_for_it_are_refused(field: str) -> None:
    found = refused(ROUTES, written.routes(written.to("a", **{field: "1s"})))
    assert f"virtual_hosts[0].routes[0].route.{field}" in found


# Without a cluster


def test_a_call_for_what_nobody_defines_is_unavailable_and_a_request_a_500() -> None:
    gone = {"missing": ("nobody",)}
    assert "cluster_not_found_response_code" not in action(of(GRPC, "a", "nobody"), **gone)
    assert action(of(ANY, "nobody"), **gone)["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"


@pytest.mark.parametrize("matches", [(GRPC,), (ANY,), (GRPC, ANY)])
def test_what_is_missing_is_so_for_the_reader_too(matches: tuple[s.Match, ...]) -> None:
    told = snapshot(*(of(match, "nobody") for match in matches), missing=("nobody",))
    assert from_xds(to_xds(told)) == told


def test_a_cluster_that_only_calls_name_is_cold_if_nobody_says_that_it_is_missing() -> None:
    calls = [{"match": {"prefix": "/", "headers": [IS_GRPC]}, "route": {"cluster": "a"}}]
    messages = {LISTENER: written.listener(), ROUTES: written.routes(*calls)}
    made = {t: {"main": make_resource(t, "main", m.SerializeToString())} for t, m in messages.items()}
    assert (from_xds(made).missing, from_xds(made).cold) == ((), ("a",))


IS_GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
