"""Names that both directions agree on."""

METADATA = "turnout.dev"
"""The key of our own words in `metadata.filter_metadata`, which Envoy ignores."""
HINT = "route"
"""In a route's metadata: the Snapshot's route that it and those behind it were made of, as JSON (see `lower`)."""
CLUSTER_HINT = "cluster"
"""In a cluster's metadata: the Snapshot's cluster that it was made of, without endpoints (see `lower_cluster`)."""
ORDER = "order"
"""In an endpoint's metadata: its place among the others, where localities and priorities do not follow each other."""
MISSING = "missing"
"""In a route configuration's metadata: clusters that are missing and of which not all routes of Envoy's tell that (a
backend without weight, one that redirects, those of gRPC's routes)."""
DEFAULT_ADDRESS, DEFAULT_PORT = "default_address", "default_port"
"""In a listener's metadata, true if `--listen` is to say it."""
SENT_ADDRESS, SENT_PORT = "127.0.0.1", 8080
"""What is sent then: the default of `--listen`."""

WHOLE_PATH = "^/.*$"
"""The expression of a `regex_rewrite` that replaces the path, whatever it is."""

WEBSOCKET = "websocket"
MAX_STREAMS = 1024
"""Streams that the proxy takes at a time on one connection of a client; Envoy's default, too."""
HEAD_TIMEOUT_S = 15.0
STREAM_IDLE_TIMEOUT_S = 300.0
DOWNSTREAM_IDLE_TIMEOUT_S = 3600.0
"""The proxy's own defaults, written out for Envoy (two of them are Envoy's, too)."""
DNS_REFRESH_S = 5.0
NO_LIMIT = 2**32 - 1

TYPE_PREFIX = "type.googleapis.com/"
EXTENSIONS = f"{TYPE_PREFIX}envoy.extensions."
MANAGER_TYPE = f"{EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER_TYPE = f"{EXTENSIONS}filters.http.router.v3.Router"
LOCAL_LIMIT_TYPE = f"{EXTENSIONS}filters.http.local_ratelimit.v3.LocalRateLimit"
FAULT_TYPE = f"{EXTENSIONS}filters.http.fault.v3.HTTPFault"
IDENTITIES_TYPE = f"{EXTENSIONS}filters.http.rbac.v3.RBAC"
IDENTITIES_OF_ROUTE_TYPE = f"{EXTENSIONS}filters.http.rbac.v3.RBACPerRoute"
PREVIOUS_HOSTS_TYPE = f"{EXTENSIONS}retry.host.previous_hosts.v3.PreviousHostsPredicate"
UPSTREAM_OPTIONS_TYPE = f"{EXTENSIONS}upstreams.http.v3.HttpProtocolOptions"
UPSTREAM_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""The key of the same in a cluster's `typed_extension_protocol_options`."""

DOWNSTREAM_TLS_TYPE = f"{EXTENSIONS}transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM_TLS_TYPE = f"{EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext"
TLS_INSPECTOR_TYPE = f"{EXTENSIONS}filters.listener.tls_inspector.v3.TlsInspector"
TLS_SOCKET = "envoy.transport_sockets.tls"
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
"""Where the system's CAs are, in Envoy's images as in Debian: it does not know `system_root_certs`."""
ALPN = ("h2", "http/1.1")
"""What is agreed on with who speaks TLS, the best first."""

IDENTITIES = "envoy.filters.http.rbac"
LOCAL_LIMIT = "envoy.filters.http.local_ratelimit"
FAULT = "envoy.filters.http.fault"
"""The names of these filters in the chain, by which a route configures them."""
SHADOW_HEADER = "x-turnout-shadow"
"""On a copy of a request."""
MODEL_HEADER = "x-gateway-model-name"
"""Where a request's model stands, to Envoy."""
RETRIABLE_CODES = "retriable-status-codes"
RETRY_AFTER = "retry-after"
LONGEST_RETRY_AFTER_S = 300.0
"""Envoy's `rate_limited_retry_back_off.max_interval` default."""
