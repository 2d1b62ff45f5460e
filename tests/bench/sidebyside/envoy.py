"""Envoy as a proxy: a virtual host per host, `weighted_clusters`, a header matcher, and a file access log.

Its listener, connection manager and clusters have the values that Turnout documents as the equal of its own
defaults (`use_remote_address`, `normalize_path`). Statistics are on, as they always are in Envoy.
"""

import json
from typing import Any

from sidebyside.mutual_tls import Certificates, behind_relay, with_relay
from sidebyside.setup import Launch, Setup
from sidebyside.tools import find_envoy
from sidebyside.work import (
    CANARY_PERCENT,
    CONNECT_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    KEEP_ALIVE_S,
    REQUEST_TIMEOUT_S,
    Rule,
)

_More = dict[str, Any]
_NOTHING: _More = {}
_TYPE = "type.googleapis.com/envoy.extensions."
LOG = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "status": "%RESPONSE_CODE%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "endpoint": "%UPSTREAM_HOST%",
    "route": "%ROUTE_NAME%",
    "flag": "%RESPONSE_FLAGS%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "user_agent": "%REQ(USER-AGENT)%",
}
"""Field of an access log line → what gives it."""


_ARMED_ROUTE = {
    "retry_policy": {
        "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
        "retriable_status_codes": [502, 503],
        "num_retries": 2,
        "per_try_timeout": "9s",
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_TYPE}retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
    }
}
_ARMED_CLUSTER = {
    "lb_policy": "LEAST_REQUEST",
    "circuit_breakers": {"thresholds": [{"max_requests": 1000, "max_connections": 1000, "retry_budget": {}}]},
    "outlier_detection": {},
    "health_checks": [
        {
            "timeout": "2s",
            "interval": "5s",
            "unhealthy_threshold": 3,
            "healthy_threshold": 2,
            "http_health_check": {"path": "/v2/health/ready"},
        }
    ],
}
"""What stands in Envoy for what `turnout.prepare_armed` arms."""


_HTTP2_CLUSTER = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}
_ONE, _TWO = ("127.0.0.1",), ("127.0.0.1", "127.0.0.2")


def prepare(setup: Setup) -> Launch:
    """Write the configuration; how to run it."""
    return _prepare(setup, _config(setup, _ONE))


def prepare_pair(setup: Setup) -> Launch:
    """The same with two endpoints each: the same server by two addresses."""
    return _prepare(setup, _config(setup, _TWO))


def prepare_armed(setup: Setup) -> Launch:
    """As a pair, with retries, breakers, outlier detection and health checks."""
    return _prepare(setup, _config(setup, _TWO, route=_ARMED_ROUTE, cluster=_ARMED_CLUSTER))


def prepare_mirror(setup: Setup) -> Launch:
    """With a copy of every request to a third cluster, the canary's server by another name."""
    mirror = {"cluster": "shadow", "disable_shadow_host_suffix_append": True}
    document = _config(setup, _ONE, route={"request_mirror_policies": [mirror]})
    document["static_resources"]["clusters"].append(_cluster("shadow", setup.canary, _ONE))
    return _prepare(setup, document)


def prepare_grpc(setup: Setup) -> Launch:
    """With HTTP/2 to the upstream; to clients Envoy always speaks it, to those that begin so."""
    return _prepare(setup, _config(setup, _ONE, cluster=_HTTP2_CLUSTER))


def prepare_grpc_tls(setup: Setup) -> Launch:
    """The same with mutual TLS towards the client, who is named in the log and to the upstream."""
    own, certificates, relay = behind_relay(setup)
    document = _config(own, _ONE, cluster=_HTTP2_CLUSTER, manager=_KNOWS_CLIENTS, log=_CLIENT_IN_LOG)
    (listener,) = document["static_resources"]["listeners"]
    listener["filter_chains"][0]["transport_socket"] = _mutual_tls(certificates)
    return with_relay(_prepare(own, document), relay)


_KNOWS_CLIENTS = {
    "forward_client_cert_details": "SANITIZE_SET",
    "set_current_client_cert_details": {"uri": True},
}
_CLIENT_IN_LOG = {"peer_identity": "%DOWNSTREAM_PEER_URI_SAN%"}


def _mutual_tls(certificates: Certificates) -> dict[str, Any]:
    shown = {"filename": str(certificates.certificate)}
    common = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [{"certificate_chain": shown, "private_key": {"filename": str(certificates.key)}}],
        "validation_context": {"trusted_ca": {"filename": str(certificates.ca)}},
    }
    kind = f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext"
    return _typed(
        "transport_sockets.tls", {"@type": kind, "common_tls_context": common, "require_client_certificate": True}
    )


def _prepare(setup: Setup, document: dict[str, Any]) -> Launch:
    config = setup.folder / "envoy.json"
    config.write_text(json.dumps(document))
    argv = [find_envoy(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    argv += ["--file-flush-interval-msec", "1000"]  # as the others; the default is 10 s
    return Launch(
        argv=argv,
        check_argv=[*argv, "--mode", "validate"],
        access_log=setup.folder / "access.log",
        output=setup.folder / "output.log",
        ready_path="/ready",
    )


def _config(
    setup: Setup, addresses: tuple[str, ...], *, route: _More = _NOTHING, cluster: _More = _NOTHING,
    manager: _More = _NOTHING, log: _More = _NOTHING,
) -> _More:  # fmt: skip
    """`route` and `cluster` are added to each of these, `manager` to the connection manager, `log` to its fields."""
    listener = {
        "name": "main",
        "address": _address(setup.listen),
        "filter_chains": [
            {"filters": [_typed("filters.network.http_connection_manager", _manager(setup, route, log) | manager)]}
        ],
    }
    ports = {"stable": setup.stable, "canary": setup.canary}
    clusters = [_cluster(name, port, addresses) | cluster for name, port in ports.items()]
    return {
        "admin": {"address": _address(setup.admin)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _manager(setup: Setup, route: _More, fields: _More) -> dict[str, Any]:
    log = {"path": str(setup.folder / "access.log"), "log_format": {"json_format": LOG | fields}}
    return {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "main",
        "use_remote_address": True,
        "normalize_path": True,
        "request_headers_timeout": f"{HEAD_TIMEOUT_S}s",
        "common_http_protocol_options": {"idle_timeout": f"{KEEP_ALIVE_S}s"},
        "access_log": [_typed("access_loggers.file", {"@type": f"{_TYPE}access_loggers.file.v3.FileAccessLog", **log})],
        "route_config": {"name": "table", "virtual_hosts": _virtual_hosts(setup, route)},
        "http_filters": [
            _typed("filters.http.router", {"@type": f"{_TYPE}filters.http.router.v3.Router"}),
        ],
    }


def _virtual_hosts(setup: Setup, more: _More) -> list[dict[str, Any]]:
    return [
        {
            "name": host or "any",
            "domains": [host or "*"],
            "routes": [_route(rule, f"{host}/{i}", more) for i, rule in enumerate(rules)],
        }
        for host, rules in setup.table.by_host().items()
    ]


def _route(rule: Rule, name: str, more: _More) -> dict[str, Any]:
    match: dict[str, Any] = {"path_separated_prefix": rule.prefix}
    action: dict[str, Any] = {"timeout": f"{REQUEST_TIMEOUT_S}s"}
    if rule.canary_only:
        match["headers"] = [{"name": "x-canary", "string_match": {"exact": "true"}}]
        action["cluster"] = "canary"
    else:
        weights = {"stable": 100 - CANARY_PERCENT, "canary": CANARY_PERCENT}
        action["weighted_clusters"] = {"clusters": [{"name": n, "weight": w} for n, w in weights.items()]}
    return {"name": name, "match": match, "route": action | more}


def _cluster(name: str, port: int, addresses: tuple[str, ...]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(port, host)}} for host in addresses]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _typed(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.{name}", "typed_config": config}


def _address(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
