"""What can't be used is refused by the resource's name and the field's, and nothing that is sent makes it raise."""

import re
from pathlib import Path
from typing import Any

import envoy_messages as written
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Resource, make_resource
from turnout.xds.translate.faults import MAX_FAULTS
from turnout.xds.translate.fields import HARMLESS, READ, SUPPORTED, Only, Packed
from turnout.xds.translate.from_envoy import check_resource, from_xds
from turnout.xds.translate.messages import EXTENSION_CLASSES, RESOURCE_CLASSES

DOCS = Path(__file__).parents[2] / "docs" / "xds.md"
TO_A = {"cluster": "a"}
ALL = {"match": {"prefix": "/"}}
STRUCT = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}
ADDRESS = {"socket_address": {"address": "10.0.0.1", "port_value": 80}}


def refused(type_url: str, message: Any) -> dict[str, str]:
    """The faults of a message, by field."""
    name, faults = check_resource(type_url, message.SerializeToString())
    assert all((fault.type_url, fault.name) == (type_url, name) for fault in faults)
    return {fault.field: fault.message for fault in faults}


def configuration(**fields: Any) -> dict[str, str]:
    return refused(ROUTES, ParseDict({"name": "r", **fields}, RouteConfiguration()))


def route(**fields: Any) -> dict[str, str]:
    host = {"name": "v", "domains": ["*"], "routes": [{**ALL, "route": TO_A, **fields}]}
    found = configuration(virtual_hosts=[host])
    return {field.removeprefix("virtual_hosts[0].routes[0]").lstrip("."): text for field, text in found.items()}


def test_what_people_write_is_taken() -> None:
    for type_url, message in (
        (LISTENER, written.listener()),
        (ROUTES, written.routes(written.to("a"))),
        (CLUSTER, written.cluster("a")),
        (CLUSTER, written.static("a", 80)),
        (ENDPOINTS, written.endpoints("a", 80, 81)),
    ):
        assert refused(type_url, message) == {}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"match": {}}, "match"),
        ({"match": {"connect_matcher": {}}}, "match.connect_matcher"),
        ({"match": {"prefix": "/", "grpc": {}}}, "match.grpc"),
        ({"match": {"safe_regex": {"regex": "(+"}}}, "match.safe_regex.regex"),
        ({"match": {"safe_regex": {}}}, "match.safe_regex.regex"),
        ({"match": {"path_separated_prefix": "/a/"}}, "match.path_separated_prefix"),
        ({"match": {"prefix": "/", "headers": [{"name": "a b"}]}}, "match.headers[0].name"),
        ({"match": {"prefix": "/", "headers": [{"name": ":status"}]}}, "match.headers[0].name"),
        ({"match": {"prefix": "/", "headers": [{"name": "a", "string_match": {}}]}}, "match.headers[0].string_match"),
        ({"match": {"prefix": "/", "query_parameters": [{"name": ""}]}}, "match.query_parameters[0].name"),
        ({"match": {"prefix": "/", "runtime_fraction": {"runtime_key": "k"}}}, "match.runtime_fraction"),
        ({"route": {}}, "route"),
        ({"route": {"cluster": ""}}, "route.cluster"),
        ({"route": {"cluster_header": "x"}}, "route.cluster_header"),
        ({"route": {**TO_A, "retry_policy": {"retry_on": "5xx"}}}, "route.retry_policy.retry_on"),
        ({"route": {**TO_A, "timeout": "-1s"}}, "route.timeout"),
        ({"route": {**TO_A, "prefix_rewrite": "/\nx"}}, "route.prefix_rewrite"),
        ({"route": {**TO_A, "regex_rewrite": {"pattern": {"regex": "a"}}}}, "route.regex_rewrite.pattern"),
        ({"route": {**TO_A, "host_rewrite_literal": "a b"}}, "route.host_rewrite_literal"),
        ({"route": {**TO_A, "request_mirror_policies": [{"cluster": "b"}]}}, "route.request_mirror_policies"),
        ({"route": {**TO_A, "cluster_not_found_response_code": "NOT_FOUND"}}, "route.cluster_not_found_response_code"),
        ({"route": {"weighted_clusters": {}}}, "route.weighted_clusters"),
        ({"route": {"weighted_clusters": {"clusters": [{"name": "a"}]}}}, "route.weighted_clusters.clusters[0].weight"),
        (
            {"route": {"weighted_clusters": {"total_weight": 3, "clusters": [{"name": "a", "weight": 1}]}}},
            "route.weighted_clusters.total_weight",
        ),
        ({"typed_per_filter_config": {"f": STRUCT}}, "typed_per_filter_config"),
        (
            {"request_headers_to_add": [{"header": {"key": "a", "value": "%REQ(b)%"}}]},
            "request_headers_to_add[0].header.value",
        ),
        ({"request_headers_to_add": [{"header": {"key": "Host", "value": "b"}}]}, "request_headers_to_add[0].header"),
        (
            {"response_headers_to_add": [{"header": {"key": "a", "value": "b"}, "append_action": "ADD_IF_ABSENT"}]},
            "response_headers_to_add[0].append_action",
        ),
        ({"response_headers_to_remove": ["a\r"]}, "response_headers_to_remove"),
        ({"metadata": {"filter_metadata": {"turnout.dev": {"route": "{}"}}}}, "metadata"),
        ({"metadata": {"filter_metadata": {"turnout.dev": {"route": "[" * 5_000}}}}, "metadata"),
    ],
)  # fmt: skip
def test_a_route_that_cannot_be_used_is_refused_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert place in route(**fields)


@pytest.mark.parametrize(
    ("action", "place"),
    [
        ({"redirect": {"port_redirect": 70_000}}, "redirect.port_redirect"),
        ({"redirect": {"path_redirect": "/a\r\nb"}}, "redirect.path_redirect"),
        ({"redirect": {"host_redirect": "a/b"}}, "redirect.host_redirect"),
        ({"redirect": {"scheme_redirect": "a:"}}, "redirect.scheme_redirect"),
        ({"direct_response": {"status": 600}}, "direct_response.status"),
        ({"direct_response": {"status": 200, "body": {"filename": "a"}}}, "direct_response.body.filename"),
        ({"direct_response": {"status": 200, "body": {"inline_string": "a" * 4_097}}}, "direct_response.body"),
        ({"direct_response": {"status": 200, "body": {"inline_bytes": "/w=="}}}, "direct_response.body"),
        ({"non_forwarding_action": {}}, "non_forwarding_action"),
        ({}, ""),
    ],
)
def test_an_action_that_cannot_be_done_is_refused_by_its_field(action: dict[str, Any], place: str) -> None:
    host = {"name": "v", "domains": ["*"], "routes": [{**ALL, **action}]}
    assert f"virtual_hosts[0].routes[0].{place}".rstrip(".") in configuration(virtual_hosts=[host])


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": ""}, "name"),
        ({"vhds": {"config_source": {"ads": {}}}}, "vhds"),
        ({"validate_clusters": True}, "validate_clusters"),
        ({"virtual_hosts": [{"name": "v", "domains": []}]}, "virtual_hosts[0].domains"),
        ({"virtual_hosts": [{"name": "v", "domains": ["a.example:80"]}]}, "virtual_hosts[0].domains[0]"),
        ({"virtual_hosts": [{"name": "v", "domains": ["a.*.b"]}]}, "virtual_hosts[0].domains[0]"),
        ({"virtual_hosts": [{"name": "v", "domains": ["a", "A"]}]}, "virtual_hosts[0].domains[1]"),
        ({"virtual_hosts": [{"name": "v", "domains": [d]} for d in "ab"]}, "virtual_hosts[1].name"),
        ({"virtual_hosts": [{"name": "v", "domains": ["a"], "require_tls": "ALL"}]}, "virtual_hosts[0].require_tls"),
    ],
)
def test_a_route_configuration_is_refused_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert place in configuration(**fields)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"type": "LOGICAL_DNS"}, "type"),
        ({"type": "EDS"}, "eds_cluster_config.eds_config"),
        ({"type": "EDS", "eds_cluster_config": {"eds_config": {"path": "/x"}}}, "eds_cluster_config.eds_config.path"),
        ({"lb_policy": "MAGLEV"}, "lb_policy"),
        ({"connect_timeout": "0s"}, "connect_timeout"),
        ({"outlier_detection": {}}, "outlier_detection"),
        ({"transport_socket": {"name": "tls"}}, "transport_socket"),
        ({"circuit_breakers": {"thresholds": [{"max_requests": 9}]}}, "circuit_breakers.thresholds[0].max_requests"),
        ({"common_lb_config": {"healthy_panic_threshold": {"value": 50}}}, "common_lb_config.healthy_panic_threshold"),
    ],
)
def test_a_cluster_is_refused_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert place in refused(CLUSTER, ParseDict({"name": "c", **fields}, Cluster()))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"health_status": "DEGRADED"}, "health_status"),
        ({"load_balancing_weight": 0}, "load_balancing_weight"),
    ],
)  # fmt: skip
def test_an_endpoint_is_refused_by_its_field(fields: dict[str, Any], place: str) -> None:
    assert place in endpoint(endpoint={"address": ADDRESS}, **fields)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ({"pipe": {"path": "/x"}}, "pipe"),
        ({"socket_address": {"address": "a.b", "port_value": 1}}, "socket_address.address"),
        ({"socket_address": {"address": "::1"}}, "socket_address.port_value"),
        ({"socket_address": {"address": "::1", "port_value": 1, "protocol": "UDP"}}, "socket_address.protocol"),
    ],
)
def test_an_address_is_refused_by_its_field(address: dict[str, Any], place: str) -> None:
    assert f"endpoint.address.{place}" in endpoint(endpoint={"address": address})


def endpoint(**fields: Any) -> dict[str, str]:
    told = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [fields]}]}
    found = refused(ENDPOINTS, ParseDict(told, ClusterLoadAssignment()))
    return {field.removeprefix("endpoints[0].lb_endpoints[0]."): text for field, text in found.items()}


def test_an_endpoint_that_is_there_twice_is_refused() -> None:
    assert list(refused(ENDPOINTS, written.endpoints("c", 80, 81, 80))) == ["endpoints[0].lb_endpoints[2]"]


@pytest.mark.parametrize(
    ("manager", "place"),
    [
        ({"use_remote_address": False}, "use_remote_address"),
        ({"codec_type": "HTTP2"}, "codec_type"),
        ({"stream_idle_timeout": "1s"}, "stream_idle_timeout"),
        ({"common_http_protocol_options": {"idle_timeout": "1s"}}, "common_http_protocol_options.idle_timeout"),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT"}]}, "upgrade_configs[0]"),
        ({"http_filters": []}, "http_filters"),
        ({"http_filters": [{"name": "envoy.filters.http.router"}]}, "http_filters[0]"),
        ({"access_log": [{"name": "x"}]}, "access_log"),
    ],
)
def test_a_connection_manager_is_refused_by_its_field(manager: dict[str, Any], place: str) -> None:
    found = refused(LISTENER, written.listener(**manager))
    assert f"filter_chains[0].filters[0].typed_config.{place}" in found


def test_a_listener_is_refused_by_its_field() -> None:
    tls = ParseDict({"name": "l", "filter_chains": [{"transport_socket": {"name": "tls"}}]}, Listener())
    assert {"address.socket_address.address", "filter_chains", "filter_chains[0].transport_socket"} <= refused(
        LISTENER, tls
    ).keys()
    api = ParseDict({"name": "l", "api_listener": {}}, Listener())
    assert refused(LISTENER, api) == {"api_listener": "is not supported"}


def test_a_field_that_is_newer_than_we_are_is_refused_by_its_number() -> None:
    body = written.routes().SerializeToString() + b"\xf2\x7f\x01x"
    assert [str(fault) for fault in check_resource(ROUTES, body)[1]] == [
        "RDS main: field number 2046 is unknown: it is newer than this proxy"
    ]


def test_bytes_that_are_no_message_and_types_that_are_none_are_refused() -> None:
    for type_url in TYPES:
        assert check_resource(type_url, b"\xff")[0] == ""
        assert len(check_resource(type_url, b"\xff")[1]) == 1
    assert str(check_resource("x", b"")[1][0]) == "x (no name): this type of resource is not supported"


def test_a_message_full_of_faults_tells_the_first_ones() -> None:
    host = {"name": "v", "domains": ["*"], "routes": [{} for _ in range(1_000)]}
    assert len(configuration(virtual_hosts=[host])) == MAX_FAULTS


@given(st.sampled_from(TYPES), st.data())
def test_bytes_from_the_network_never_raise(type_url: str, data: st.DataObject) -> None:
    seeds = {
        LISTENER: written.listener(),
        ROUTES: written.routes(written.to("a", timeout="1s", prefix_rewrite="/b")),
        CLUSTER: written.cluster("a"),
        ENDPOINTS: written.endpoints("a", 80),
    }
    body = bytearray(seeds[type_url].SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    check_resource(type_url, bytes(body[: data.draw(st.integers(0, len(body)))]))


def test_a_hint_that_is_not_what_the_routes_say_does_not_count() -> None:
    hint = '{"name":"r","match":{"path":{"kind":"exact","value":"/secret"}},"action":{"type":"respond","status":200}}'
    told = {**ALL, "name": "r", "route": TO_A, "metadata": {"filter_metadata": {"turnout.dev": {"route": hint}}}}
    resources = {LISTENER: {"main": written.listener()}, ROUTES: {"main": written.routes(told)}}
    made = {t: {n: resource(t, n, m) for n, m in of_type.items()} for t, of_type in resources.items()}
    (route,) = from_xds(made).routes()
    assert route.match.path.value == "/"


def resource(type_url: str, name: str, message: Any) -> Resource:
    body = message.SerializeToString()
    assert check_resource(type_url, body) == (name, [])
    return make_resource(type_url, name, body)


# The table of what is supported


def described() -> list[str]:
    """The table as the documentation has it."""
    words = {READ: "yes", HARMLESS: "taken, without effect"}
    lines = []
    for message, rules in SUPPORTED.items():
        for field, rule in rules.items():
            match rule:
                case Only(value):
                    word = f"only `{str(value).lower() if isinstance(value, bool) else value}`"
                case Packed(type_url):
                    word = f"only `{type_url.rpartition('.')[2]}`"
                case _:
                    word = words[str(rule)]
            lines.append(f"| `{re.sub(r'^.*v3[.]', '', message)}.{field}` | {word} |")
    return lines


def test_the_documentation_has_the_table_of_what_is_supported() -> None:
    text = DOCS.read_text()
    assert [line for line in described() if line not in text] == []
    assert len(described()) == len(re.findall(r"^\| `[A-Z]\w+(?:\.\w+)+` \|", text, re.MULTILINE))


def test_every_field_of_the_table_is_one_of_envoys() -> None:
    seen = set()
    waiting = [cls.DESCRIPTOR for cls in (*RESOURCE_CLASSES.values(), *EXTENSION_CLASSES.values())]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in seen or descriptor.full_name.startswith("google.protobuf."):
            continue
        seen.add(descriptor.full_name)
        for name, rule in SUPPORTED[descriptor.full_name].items():
            field = descriptor.fields_by_name[name]
            inner = field.message_type
            if rule == READ and inner is not None and not inner.GetOptions().map_entry:
                waiting.append(inner)
    assert seen == SUPPORTED.keys()
