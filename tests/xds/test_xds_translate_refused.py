"""What can't be used is refused by the resource's name and the field's, and nothing that is sent makes it raise."""

from typing import Any

import envoy_messages as written
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from refusals import own_words, refused

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, TYPES, Resource, make_resource
from turnout.xds.translate.faults import MAX_FAULTS
from turnout.xds.translate.from_envoy import check_resource, from_xds
from turnout.xds.translate.names import FAULT, LOCAL_LIMIT

TO_A = {"cluster": "a"}
ALL = {"match": {"prefix": "/"}}
STRUCT = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}
ALWAYS = {"default_value": {"numerator": 100}}
BUCKET = {"max_tokens": 1, "fill_interval": "1s"}
TOKENS = {"token_bucket": BUCKET, "filter_enabled": ALWAYS, "filter_enforced": ALWAYS}


def configuration(**fields: Any) -> dict[str, str]:
    return refused(ROUTES, ParseDict({"name": "r", **fields}, RouteConfiguration()))


def route(**fields: Any) -> dict[str, str]:
    host = {"name": "v", "domains": ["*"], "routes": [{**ALL, "route": TO_A, **fields}]}
    found = configuration(virtual_hosts=[host])
    return {field.removeprefix("virtual_hosts[0].routes[0]").lstrip("."): text for field, text in found.items()}


def retrying(**policy: Any) -> dict[str, Any]:
    return {"route": {**TO_A, "retry_policy": policy}}


def hashing(*policies: dict[str, Any]) -> dict[str, Any]:
    return {"route": {**TO_A, "hash_policy": list(policies)}}


def limited(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    kind = f"{written.EXTENSIONS}.http.local_ratelimit.v3.LocalRateLimit"
    return {"typed_per_filter_config": {name: {"@type": kind, **fields}}}


def faulty(**fields: Any) -> dict[str, Any]:
    return {"typed_per_filter_config": {FAULT: {"@type": f"{written.EXTENSIONS}.http.fault.v3.HTTPFault", **fields}}}


def hinted(**action: Any) -> dict[str, Any]:
    told = {"type": "forward", "backends": [{"cluster": "a"}], **action}
    return own_words("route", {"name": "r", "match": {}, "action": told})


def in_chain(kind: str, name: str = FAULT, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{written.EXTENSIONS}.http.{kind}", **fields}}


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
        ({"route": {**TO_A, "idle_timeout": "0s"}}, "route.idle_timeout"),
        (retrying(retry_on="5xx,retriable-headers"), "route.retry_policy.retry_on"),
        (retrying(retriable_headers=[{"name": "a"}]), "route.retry_policy.retriable_headers"),
        (retrying(retriable_status_codes=[99]), "route.retry_policy.retriable_status_codes"),
        (retrying(per_try_idle_timeout="1s"), "route.retry_policy.per_try_idle_timeout"),
        (retrying(retry_back_off={}), "route.retry_policy.retry_back_off.base_interval"),
        (
            retrying(retry_back_off={"base_interval": "1s", "max_interval": "0.5s"}),
            "route.retry_policy.retry_back_off.max_interval",
        ),
        (retrying(retry_host_predicate=[{"name": "p"}]), "route.retry_policy.retry_host_predicate[0]"),
        (
            retrying(retry_host_predicate=[{"name": "p", "typed_config": STRUCT}]),
            "route.retry_policy.retry_host_predicate[0].typed_config",
        ),
        (
            retrying(rate_limited_retry_back_off={"reset_headers": [{"name": "x-ratelimit-reset"}]}),
            "route.retry_policy.rate_limited_retry_back_off.reset_headers",
        ),
        (
            retrying(rate_limited_retry_back_off={"reset_headers": [{"name": "a", "format": "UNIX_TIMESTAMP"}]}),
            "route.retry_policy.rate_limited_retry_back_off.reset_headers[0].format",
        ),
        (hashing({"header": {"header_name": "a b"}}), "route.hash_policy[0]"),
        (hashing({"cookie": {"name": "a", "ttl": "1s"}}), "route.hash_policy[0].cookie.ttl"),
        (hashing({"cookie": {"name": "a"}}, {"cookie": {"name": "b"}}), "route.hash_policy"),
        (hashing({"query_parameter": {"name": "a"}}), "route.hash_policy[0].query_parameter"),
        (hashing({"connection_properties": {}}), "route.hash_policy[0].connection_properties.source_ip"),
        (hashing({}), "route.hash_policy[0]"),
        (
            {"route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 1}], "use_hash_policy": True}}},
            "route.weighted_clusters.use_hash_policy",
        ),
        (limited("a filter", TOKENS), "typed_per_filter_config[a filter]"),
        (limited(LOCAL_LIMIT, {"token_bucket": BUCKET}), f"typed_per_filter_config[{LOCAL_LIMIT}].filter_enabled"),
        (limited(LOCAL_LIMIT, {**TOKENS, "stage": 1}), f"typed_per_filter_config[{LOCAL_LIMIT}].stage"),
        (
            limited(LOCAL_LIMIT, {**TOKENS, "status": {"code": "ServiceUnavailable"}}),
            f"typed_per_filter_config[{LOCAL_LIMIT}].status.code",
        ),
        (
            limited(LOCAL_LIMIT, {**TOKENS, "token_bucket": {"max_tokens": 1}}),
            f"typed_per_filter_config[{LOCAL_LIMIT}].token_bucket",
        ),
        (
            limited(LOCAL_LIMIT, {**TOKENS, "descriptors": [{"entries": [{"key": "a"}], "token_bucket": BUCKET}]}),
            f"typed_per_filter_config[{LOCAL_LIMIT}].descriptors",
        ),
        (
            faulty(abort={"http_status": 99, "percentage": {"numerator": 1}}),
            f"typed_per_filter_config[{FAULT}].abort.http_status",
        ),
        (faulty(delay={"percentage": {"numerator": 1}}), f"typed_per_filter_config[{FAULT}].delay.fixed_delay"),
        (faulty(delay={"header_delay": {}}), f"typed_per_filter_config[{FAULT}].delay.header_delay"),
        (faulty(max_active_faults=1), f"typed_per_filter_config[{FAULT}].max_active_faults"),
        ({**faulty(), "route": None, "direct_response": {"status": 200}}, "typed_per_filter_config"),
        ({"route": {**TO_A, "timeout": "-1s"}}, "route.timeout"),
        ({"route": {**TO_A, "prefix_rewrite": "/\nx"}}, "route.prefix_rewrite"),
        ({"route": {**TO_A, "regex_rewrite": {"pattern": {"regex": "a"}}}}, "route.regex_rewrite.pattern"),
        ({"route": {**TO_A, "host_rewrite_literal": "a b"}}, "route.host_rewrite_literal"),
        ({"route": {**TO_A, "internal_redirect_policy": {}}}, "route.internal_redirect_policy"),
        ({"route": {**TO_A, "cluster_not_found_response_code": "NOT_FOUND"}}, "route.cluster_not_found_response_code"),
        ({"route": {"weighted_clusters": {}}}, "route.weighted_clusters"),
        ({"route": {"weighted_clusters": {"clusters": [{"name": "a"}]}}}, "route.weighted_clusters.clusters[0].weight"),
        (
            {"route": {"weighted_clusters": {"total_weight": 3, "clusters": [{"name": "a", "weight": 1}]}}},
            "route.weighted_clusters.total_weight",
        ),
        ({"typed_per_filter_config": {FAULT: STRUCT}}, f"typed_per_filter_config[{FAULT}]"),
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
        (hinted(first_byte_timeout_s=-1), "metadata"),
        (hinted(queue_timeout_s=-1), "metadata"),
        (hinted(retry={"attempts": -1}), "metadata"),
        (hinted(retry={"codes": [7]}), "metadata"),
        (hinted(split_by={"kind": "header", "name": "a\r"}), "metadata"),
        (hinted(rate_limit={"per_second": 0, "burst": 1}), "metadata"),
        (hinted(rate_limit={"per_second": 1, "burst": 1, "header": "a b"}), "metadata"),
        (hinted(fault={"abort_status": 7, "abort_per_million": 1}), "metadata"),
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
    ("manager", "place"),
    [
        ({"use_remote_address": False}, "use_remote_address"),
        ({"codec_type": "HTTP2"}, "codec_type"),
        ({"codec_type": "HTTP1"}, "codec_type"),
        ({"http2_protocol_options": {"max_concurrent_streams": 7}}, "http2_protocol_options.max_concurrent_streams"),
        ({"http2_protocol_options": {"connection_keepalive": {}}}, "http2_protocol_options.connection_keepalive"),
        ({"http2_protocol_options": {"hpack_table_size": 0}}, "http2_protocol_options.hpack_table_size"),
        ({"stream_idle_timeout": "1s"}, "stream_idle_timeout"),
        ({"common_http_protocol_options": {"idle_timeout": "1s"}}, "common_http_protocol_options.idle_timeout"),
        ({"upgrade_configs": [{"upgrade_type": "CONNECT"}]}, "upgrade_configs[0]"),
        ({"http_filters": []}, "http_filters"),
        ({"http_filters": [{"name": "envoy.filters.http.router"}]}, "http_filters[0]"),
        ({"http_filters": [in_chain("router.v3.Router")] * 2}, "http_filters[0]"),
        ({"http_filters": [in_chain("fault.v3.HTTPFault")]}, "http_filters[0]"),
        (
            {"http_filters": [in_chain("fault.v3.HTTPFault", name="f"), in_chain("router.v3.Router")]},
            "http_filters[0].name",
        ),
        (
            {
                "http_filters": [
                    in_chain("fault.v3.HTTPFault", abort={"http_status": 500}),
                    in_chain("router.v3.Router"),
                ]
            },
            "http_filters[0].typed_config.abort",
        ),
        ({"access_log": [{"name": "x"}]}, "access_log"),
    ],
)
def test_a_connection_manager_is_refused_by_its_field(manager: dict[str, Any], place: str) -> None:
    found = refused(LISTENER, written.listener(**manager))
    assert f"filter_chains[0].filters[0].typed_config.{place}" in found


def test_a_listener_is_refused_by_its_field() -> None:
    slow = [{"transport_socket_connect_timeout": "1s"}]
    tls = ParseDict({"name": "l", "filter_chains": slow}, Listener())
    assert {
        "address.socket_address.address",
        "filter_chains",
        "filter_chains[0].transport_socket_connect_timeout",
    } <= refused(LISTENER, tls).keys()
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


SECRET_MESSAGE = ParseDict({"name": "web", "validation_context": {"trusted_ca": {"inline_string": "x"}}}, Secret())


@given(st.sampled_from(TYPES), st.data())
def test_bytes_from_the_network_never_raise(type_url: str, data: st.DataObject) -> None:
    seeds = {
        LISTENER: written.listener(),
        ROUTES: written.routes(written.to("a", timeout="1s", prefix_rewrite="/b", retry_policy={"retry_on": "5xx"})),
        CLUSTER: written.cluster("a", outlier_detection={"interval": "1s"}, circuit_breakers={"thresholds": [{}]}),
        ENDPOINTS: written.endpoints("a", 80),
        SECRET: SECRET_MESSAGE,
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
