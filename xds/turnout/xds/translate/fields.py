"""What of Envoy's API is supported, as one table: by message, by field. What is not in it is a fault that names it.

A field is `READ`: it does here what it does in Envoy, and what is in it is looked up in turn; `HARMLESS`: it changes
nothing that a client or a server could see of a proxy of ours; `Only(…)`: it may say what the proxy does anyway, and
nothing else; `Packed(…)`: an extension, of the types that are named. `docs/xds.md` has the same table in words.
"""

from typing import Any, Final, NamedTuple, TypeAlias

from turnout.xds.translate.names import (
    DNS_REFRESH_S,
    DOWNSTREAM_TLS_TYPE,
    FAULT_TYPE,
    HEAD_TIMEOUT_S,
    IDENTITIES_OF_ROUTE_TYPE,
    IDENTITIES_TYPE,
    LOCAL_LIMIT_TYPE,
    LONGEST_RETRY_AFTER_S,
    MANAGER_TYPE,
    MAX_STREAMS,
    NO_LIMIT,
    PREVIOUS_HOSTS_TYPE,
    ROUTER_TYPE,
    STREAM_IDLE_TIMEOUT_S,
    TLS_INSPECTOR_TYPE,
    UPSTREAM_OPTIONS_TYPE,
    UPSTREAM_TLS_TYPE,
)


class Only(NamedTuple):
    """The one value that is the proxy's own; of a duration its seconds, of a wrapped value the value, of an enum its
    name."""

    value: Any


class Packed:
    """An Any, or a map of them, of one of these types."""

    __match_args__ = ("type_urls",)

    def __init__(self, *type_urls: str) -> None:
        self.type_urls = type_urls


READ: Final = "read"
HARMLESS: Final = "harmless"

Rule: TypeAlias = str | Only | Packed
_ONLY_TRUE, _ONLY_FALSE = Only(True), Only(False)


def _fields(read: str = "", harmless: str = "", **others: Rule) -> dict[str, Rule]:
    return {**dict.fromkeys(read.split(), READ), **dict.fromkeys(harmless.split(), HARMLESS), **others}


_TLS = "envoy.extensions.transport_sockets.tls.v3"
_EDITS = "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove "

SUPPORTED: Final[dict[str, dict[str, Rule]]] = {
    # Listeners
    "envoy.config.listener.v3.Listener": _fields(
        "name address filter_chains listener_filters metadata", "stat_prefix traffic_direction enable_reuse_port",
        bind_to_port=_ONLY_TRUE,
    ),
    "envoy.config.listener.v3.ListenerFilter": _fields(harmless="name", typed_config=Packed(TLS_INSPECTOR_TYPE)),
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": {},
    "envoy.config.listener.v3.FilterChain": _fields("filters filter_chain_match transport_socket", "name metadata"),
    "envoy.config.listener.v3.FilterChainMatch": _fields("server_names", transport_protocol=Only("tls")),
    "envoy.config.listener.v3.Filter": _fields(harmless="name", typed_config=Packed(MANAGER_TYPE)),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": _fields(
        "rds route_config http_filters upgrade_configs common_http_protocol_options http2_protocol_options "
        "set_current_client_cert_details",
        "stat_prefix",
        forward_client_cert_details=Only("SANITIZE_SET"),
        codec_type=Only("AUTO"),
        use_remote_address=_ONLY_TRUE,
        normalize_path=_ONLY_TRUE,
        path_with_escaped_slashes_action=Only("KEEP_UNCHANGED"),
        server_header_transformation=Only("PASS_THROUGH"),
        generate_request_id=_ONLY_TRUE,
        preserve_external_request_id=_ONLY_TRUE,
        add_user_agent=_ONLY_FALSE,
        strip_trailing_host_dot=_ONLY_TRUE,
        request_headers_timeout=Only(HEAD_TIMEOUT_S),
        stream_idle_timeout=Only(STREAM_IDLE_TIMEOUT_S),
    ),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig": _fields(
        "upgrade_type", enabled=_ONLY_TRUE
    ),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails": {
        "uri": _ONLY_TRUE
    },
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds": _fields("config_source route_config_name"),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": _fields(
        harmless="name", typed_config=Packed(ROUTER_TYPE, IDENTITIES_TYPE, LOCAL_LIMIT_TYPE, FAULT_TYPE)
    ),
    "envoy.extensions.filters.http.router.v3.Router": _fields(
        harmless="dynamic_stats", suppress_envoy_headers=_ONLY_TRUE
    ),
    # Routes
    "envoy.config.route.v3.RouteConfiguration": _fields(
        "name virtual_hosts most_specific_header_mutations_wins max_direct_response_body_size_bytes metadata "
        "request_mirror_policies " + _EDITS,
        ignore_port_in_host_matching=_ONLY_TRUE,
        validate_clusters=_ONLY_FALSE,
    ),
    "envoy.config.route.v3.VirtualHost": _fields(
        "name domains routes request_mirror_policies " + _EDITS, "metadata include_request_attempt_count",
        typed_per_filter_config=Packed(IDENTITIES_OF_ROUTE_TYPE),
    ),
    "envoy.config.route.v3.Route": _fields(
        "name match route redirect direct_response metadata per_request_buffer_limit_bytes request_body_buffer_limit "
        + _EDITS,
        "decorator stat_prefix",
        typed_per_filter_config=Packed(IDENTITIES_OF_ROUTE_TYPE, LOCAL_LIMIT_TYPE, FAULT_TYPE),
    ),
    "envoy.config.route.v3.RouteMatch": _fields(
        "prefix path path_separated_prefix safe_regex case_sensitive runtime_fraction headers query_parameters"
    ),
    "envoy.config.route.v3.HeaderMatcher": _fields(
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match "
        "string_match invert_match treat_missing_header_as_empty"
    ),
    "envoy.config.route.v3.QueryParameterMatcher": _fields("name string_match present_match"),
    "envoy.config.route.v3.RouteAction": _fields(
        "cluster weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite host_rewrite_literal "
        "timeout max_stream_duration idle_timeout retry_policy hash_policy request_mirror_policies"
    ),
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": _fields(
        "cluster runtime_fraction request_headers_mutations", disable_shadow_host_suffix_append=_ONLY_TRUE
    ),
    "envoy.config.common.mutation_rules.v3.HeaderMutation": _fields("append"),
    "envoy.config.route.v3.RouteAction.MaxStreamDuration": _fields("max_stream_duration grpc_timeout_header_max"),
    "envoy.config.route.v3.RouteAction.HashPolicy": _fields("header cookie connection_properties", "terminal"),
    "envoy.config.route.v3.RouteAction.HashPolicy.Header": _fields("header_name"),
    "envoy.config.route.v3.RouteAction.HashPolicy.Cookie": _fields("name", "path attributes"),
    "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties": _fields(source_ip=_ONLY_TRUE),
    "envoy.config.route.v3.RetryPolicy": _fields(
        "retry_on num_retries per_try_timeout retry_host_predicate retriable_status_codes retry_back_off "
        "rate_limited_retry_back_off",
        "host_selection_retry_max_attempts",
    ),
    "envoy.config.route.v3.RetryPolicy.RetryHostPredicate": _fields(
        harmless="name", typed_config=Packed(PREVIOUS_HOSTS_TYPE)
    ),
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": {},
    "envoy.config.route.v3.RetryPolicy.RetryBackOff": _fields("base_interval max_interval"),
    "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff": _fields(
        "reset_headers", max_interval=Only(LONGEST_RETRY_AFTER_S)
    ),
    "envoy.config.route.v3.RetryPolicy.ResetHeader": _fields("name", format=Only("SECONDS")),
    "envoy.config.route.v3.WeightedCluster": _fields("clusters total_weight use_hash_policy"),
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": _fields("name weight host_rewrite_literal " + _EDITS),
    "envoy.config.route.v3.RedirectAction": _fields(
        "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite "
        "response_code strip_query"
    ),
    "envoy.config.route.v3.DirectResponseAction": _fields("status body"),
    # Filters of routes
    "envoy.extensions.filters.http.rbac.v3.RBAC": _fields("rules", "rules_stat_prefix track_per_rule_stats"),
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": _fields("rbac"),
    "envoy.config.rbac.v3.RBAC": _fields("policies", action=Only("ALLOW")),
    "envoy.config.rbac.v3.Policy": _fields("permissions principals"),
    "envoy.config.rbac.v3.Permission": _fields(any=_ONLY_TRUE),
    "envoy.config.rbac.v3.Principal": _fields("authenticated and_ids or_ids"),
    "envoy.config.rbac.v3.Principal.Set": _fields("ids"),
    "envoy.config.rbac.v3.Principal.Authenticated": _fields("principal_name"),
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": _fields(
        "status token_bucket filter_enabled filter_enforced descriptors rate_limits",
        "stat_prefix max_dynamic_descriptors",
        always_consume_default_token_bucket=_ONLY_FALSE,
        rate_limited_as_resource_exhausted=_ONLY_TRUE,
    ),
    "envoy.type.v3.HttpStatus": _fields(code=Only("TooManyRequests")),
    "envoy.type.v3.TokenBucket": _fields("max_tokens tokens_per_fill fill_interval"),
    "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor": _fields("entries token_bucket"),
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry": _fields("key"),
    "envoy.config.route.v3.RateLimit": _fields("actions"),
    "envoy.config.route.v3.RateLimit.Action": _fields("request_headers"),
    "envoy.config.route.v3.RateLimit.Action.RequestHeaders": _fields("header_name descriptor_key"),
    "envoy.extensions.filters.http.fault.v3.HTTPFault": _fields("delay abort"),
    "envoy.extensions.filters.common.fault.v3.FaultDelay": _fields("fixed_delay percentage"),
    "envoy.extensions.filters.http.fault.v3.FaultAbort": _fields("http_status percentage"),
    # Clusters and endpoints
    "envoy.config.cluster.v3.Cluster": _fields(
        "name type eds_cluster_config connect_timeout load_assignment lb_policy least_request_lb_config "
        "round_robin_lb_config ring_hash_lb_config maglev_lb_config common_lb_config circuit_breakers "
        "outlier_detection health_checks transport_socket metadata",
        "alt_stat_name wait_for_warm_on_init",
        dns_lookup_family=Only("V4_PREFERRED"),
        dns_refresh_rate=Only(DNS_REFRESH_S),
        typed_extension_protocol_options=Packed(UPSTREAM_OPTIONS_TYPE),
    ),
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig": _fields("eds_config service_name"),
    "envoy.config.cluster.v3.Cluster.CommonLbConfig": _fields(
        "healthy_panic_threshold locality_weighted_lb_config consistent_hashing_lb_config"
    ),
    "envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig": {},
    "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig": _fields(
        "hash_balance_factor", use_hostname_for_hashing=_ONLY_FALSE
    ),
    "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig": _fields(
        "choice_count active_request_bias slow_start_config"
    ),
    "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig": _fields("slow_start_config"),
    "envoy.config.cluster.v3.Cluster.RingHashLbConfig": _fields("minimum_ring_size", "hash_function maximum_ring_size"),
    "envoy.config.cluster.v3.Cluster.MaglevLbConfig": _fields("table_size"),
    "envoy.config.cluster.v3.Cluster.SlowStartConfig": _fields("slow_start_window aggression min_weight_percent"),
    "envoy.config.cluster.v3.CircuitBreakers": _fields("thresholds per_host_thresholds"),
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds": _fields(
        "priority max_connections max_pending_requests max_requests max_retries retry_budget",
        "track_remaining",
        max_connection_pools=Only(NO_LIMIT),
    ),
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": _fields("budget_percent min_retry_concurrency"),
    "envoy.config.cluster.v3.OutlierDetection": _fields(
        "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx "
        "enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor "
        "consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors "
        "consecutive_local_origin_failure enforcing_consecutive_local_origin_failure "
        "enforcing_local_origin_success_rate failure_percentage_threshold enforcing_failure_percentage "
        "enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts "
        "failure_percentage_request_volume max_ejection_time max_ejection_time_jitter "
        "successful_active_health_check_uneject_host always_eject_one_host"
    ),
    "envoy.config.core.v3.HealthCheck": _fields(
        "timeout interval interval_jitter unhealthy_threshold healthy_threshold http_health_check tcp_health_check "
        "grpc_health_check",
        "initial_jitter reuse_connection no_traffic_interval no_traffic_healthy_interval event_log_path event_logger "
        "always_log_health_check_failures always_log_health_check_success",
    ),
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck": _fields(
        "host path method send request_headers_to_add expected_statuses codec_client_type"
    ),
    "envoy.config.core.v3.HealthCheck.GrpcHealthCheck": _fields("service_name authority initial_metadata"),
    "envoy.config.core.v3.HealthCheck.Payload": _fields("text binary"),
    "envoy.config.core.v3.HealthCheck.TcpHealthCheck": {},
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _fields(
        "common_http_protocol_options explicit_http_config auto_config"
    ),
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig": _fields(
        "http_protocol_options http2_protocol_options"
    ),
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig": _fields(
        "http_protocol_options http2_protocol_options"
    ),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": _fields("cluster_name endpoints policy"),
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": _fields(overprovisioning_factor=Only(140)),
    "envoy.config.endpoint.v3.LocalityLbEndpoints": _fields(
        "lb_endpoints priority locality load_balancing_weight", "metadata proximity"
    ),
    "envoy.config.endpoint.v3.LbEndpoint": _fields("endpoint health_status load_balancing_weight metadata"),
    "envoy.config.endpoint.v3.Endpoint": _fields("address", "hostname health_check_config"),
    # TLS
    "envoy.config.core.v3.TransportSocket": _fields(
        harmless="name", typed_config=Packed(DOWNSTREAM_TLS_TYPE, UPSTREAM_TLS_TYPE)
    ),
    f"{_TLS}.DownstreamTlsContext": _fields("common_tls_context require_client_certificate"),
    f"{_TLS}.UpstreamTlsContext": _fields("common_tls_context sni"),
    f"{_TLS}.CommonTlsContext": _fields(
        "alpn_protocols tls_certificate_sds_secret_configs validation_context combined_validation_context "
        "validation_context_sds_secret_config"
    ),
    f"{_TLS}.CommonTlsContext.CombinedCertificateValidationContext": _fields(
        "default_validation_context validation_context_sds_secret_config"
    ),
    f"{_TLS}.CertificateValidationContext": _fields("trusted_ca match_typed_subject_alt_names system_root_certs"),
    f"{_TLS}.CertificateValidationContext.SystemRootCerts": {},
    f"{_TLS}.SubjectAltNameMatcher": _fields("san_type matcher"),
    f"{_TLS}.SdsSecretConfig": _fields("name sds_config"),
    f"{_TLS}.Secret": _fields("name tls_certificate validation_context"),
    f"{_TLS}.TlsCertificate": _fields("certificate_chain private_key"),
    # What is used in several places
    "envoy.config.core.v3.Address": _fields("socket_address"),
    "envoy.config.core.v3.SocketAddress": _fields("address port_value"),
    "envoy.config.core.v3.ConfigSource": _fields("ads self", "initial_fetch_timeout", resource_api_version=Only("V3")),
    "envoy.config.core.v3.AggregatedConfigSource": {},
    "envoy.config.core.v3.SelfConfigSource": _fields(transport_api_version=Only("V3")),
    "envoy.config.core.v3.DataSource": _fields("inline_string inline_bytes filename"),
    "envoy.config.core.v3.HeaderValueOption": _fields("header append append_action keep_empty_value"),
    "envoy.config.core.v3.HeaderValue": _fields("key value"),
    "envoy.config.core.v3.HttpProtocolOptions": _fields("idle_timeout"),
    "envoy.config.core.v3.Http1ProtocolOptions": {},
    "envoy.config.core.v3.Http2ProtocolOptions": _fields(
        harmless="initial_stream_window_size initial_connection_window_size",
        max_concurrent_streams=Only(MAX_STREAMS),
        allow_connect=_ONLY_TRUE,
    ),
    "envoy.config.core.v3.Locality": _fields("region zone sub_zone"),
    "envoy.config.core.v3.RuntimeDouble": _fields("default_value", "runtime_key"),
    "envoy.config.core.v3.Metadata": _fields("filter_metadata", "typed_filter_metadata"),
    "envoy.config.core.v3.RuntimeFractionalPercent": _fields("default_value", "runtime_key"),
    "envoy.type.v3.Percent": _fields("value"),
    "envoy.type.v3.FractionalPercent": _fields("numerator denominator"),
    "envoy.type.v3.Int64Range": _fields("start end"),
    "envoy.type.matcher.v3.StringMatcher": _fields("exact prefix suffix contains safe_regex ignore_case"),
    "envoy.type.matcher.v3.RegexMatcher": _fields("regex", "google_re2"),
    "envoy.type.matcher.v3.RegexMatchAndSubstitute": _fields("pattern substitution"),
}  # fmt: skip
