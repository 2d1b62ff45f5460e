"""What is spoken with a cluster's endpoints, as HttpProtocolOptions; and what our HTTP/2 is to clients."""

from typing import Any

from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from turnout.rules.snapshot import Cluster
from turnout.xds.translate.emit.values import make_duration
from turnout.xds.translate.names import MAX_STREAMS


def make_upstream_options(cluster: Cluster) -> Any:
    """One of `explicit_http_config` and `auto_config`, which is by ALPN; and how long an idle connection is kept."""
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=make_duration(cluster.pool_idle_timeout_s)
        )
    )
    if cluster.protocol == "http1":
        options.explicit_http_config.http_protocol_options.SetInParent()
    elif cluster.protocol == "auto":
        options.auto_config.http_protocol_options.SetInParent()
        options.auto_config.http2_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    return options


def add_downstream_http2(manager: Any) -> None:
    """To a connection manager, which finds out by itself what is spoken: as many streams as our proxy takes on one
    connection, and WebSocket by extended CONNECT (RFC 8441), without which Envoy lets it through for HTTP/1 only."""
    manager.http2_protocol_options.max_concurrent_streams.value = MAX_STREAMS
    manager.http2_protocol_options.allow_connect = True
