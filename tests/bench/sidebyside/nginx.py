"""nginx as a proxy: a location a rule, `split_clients` for the weights, `map` for the header.

Request bodies are streamed and answers stay in memory, as in the other proxies; upstream connections are kept.
"""

from sidebyside.mutual_tls import behind_relay, with_relay
from sidebyside.setup import Launch, Setup
from sidebyside.tools import find_tool
from sidebyside.work import (
    CANARY_PERCENT,
    CONNECT_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    KEEP_ALIVE_S,
    REQUEST_TIMEOUT_S,
    Rule,
)

LOG = {
    "time": "$time_iso8601",
    "method": "$request_method",
    "host": "$host",
    "path": "$request_uri",
    "status": "$status",
    "bytes_in": "$request_length",
    "bytes_out": "$bytes_sent",
    "duration_ms": "$request_time",
    "upstream_ms": "$upstream_response_time",
    "cluster": "$proxy_host",
    "endpoint": "$upstream_addr",
    "route": "$route",
    "flag": "$request_completion",
    "request_id": "$request_id",
    "traceparent": "$http_traceparent",
    "user_agent": "$http_user_agent",
}
"""Field of an access log line → what gives it."""


def prepare(setup: Setup) -> Launch:
    """Write the configuration; how to run it."""
    return _prepare(setup, _config(setup, "", "proxy", _PROXY))


def prepare_grpc(setup: Setup) -> Launch:
    """With HTTP/2 on both sides. To the upstream that is a connection for each call under way: `grpc_pass` puts one
    stream at a time on each."""
    return _prepare(setup, _config(setup, " http2", "grpc", _GRPC))


def prepare_grpc_tls(setup: Setup) -> Launch:
    """The same with mutual TLS towards the client, who is named in the log and to the upstream."""
    own, certificates, relay = behind_relay(setup)
    tls = f"""
    ssl_certificate {certificates.certificate};
    ssl_certificate_key {certificates.key};
    ssl_client_certificate {certificates.ca};
    ssl_verify_client on;
    ssl_protocols TLSv1.2 TLSv1.3;
    grpc_set_header X-Forwarded-Client-Cert $ssl_client_s_dn;
"""
    log = LOG | {"peer_identity": "$ssl_client_s_dn"}
    return with_relay(_prepare(own, _config(own, " ssl http2", "grpc", _GRPC + tls, log)), relay)


def _prepare(setup: Setup, text: str) -> Launch:
    config = setup.folder / "nginx.conf"
    config.write_text(text)
    argv = [find_tool("nginx"), "-c", str(config), "-p", str(setup.folder), "-e", "stderr"]
    return Launch(
        argv=argv,
        check_argv=[*argv, "-t"],
        access_log=setup.folder / "access.log",
        output=setup.folder / "output.log",
        ready_path="/stats",
    )


_PROXY = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_request_buffering off;
    proxy_buffers 8 32k;
    proxy_busy_buffers_size 64k;
    proxy_max_temp_file_size 0;
"""
_GRPC = "    http2_max_concurrent_streams 1024;"


def _config(setup: Setup, listen: str, kind: str, own: str, fields: dict[str, str] = LOG) -> str:
    """`kind` is the module that passes requests on, and the start of its directives' names; `own` are its own."""
    log = ", ".join(f'"{name}": "{value}"' for name, value in fields.items())
    servers = "\n".join(
        _server(f"{setup.listen}{listen}", kind, host, rules) for host, rules in setup.table.by_host().items()
    )
    return f"""daemon off;
worker_processes 1;
error_log stderr;
pid {setup.folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    log_format json escape=json '{{{log}}}';
    access_log {setup.folder}/access.log json buffer=64k flush=1s;
    server_names_hash_max_size 4096;
    client_body_temp_path {setup.folder}/body;
    proxy_temp_path {setup.folder}/temp;
    client_body_buffer_size 256k;
    client_max_body_size 0;
    client_header_timeout {HEAD_TIMEOUT_S}s;
    keepalive_requests 1000000000;
    keepalive_timeout {KEEP_ALIVE_S}s;
    tcp_nodelay on;
    upstream stable {{ server 127.0.0.1:{setup.stable}; {_KEPT} }}
    upstream canary {{ server 127.0.0.1:{setup.canary}; {_KEPT} }}
    split_clients $request_id $split {{ {CANARY_PERCENT}% canary; * stable; }}
    map $http_x_canary $by_header {{ "true" canary; default $split; }}
    {kind}_set_header Host $host;
    {kind}_set_header X-Request-Id $request_id;
    {kind}_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    {kind}_set_header X-Forwarded-Proto $scheme;
    {kind}_connect_timeout {CONNECT_TIMEOUT_S}s;
    {kind}_read_timeout {REQUEST_TIMEOUT_S}s;
    {kind}_send_timeout {REQUEST_TIMEOUT_S}s;
    {kind}_buffer_size 16k;
{own}
    server {{
        listen 127.0.0.1:{setup.admin};
        access_log off;
        location = /stats {{ stub_status; }}
    }}
{servers}
}}
"""


_KEPT = f"keepalive 256; keepalive_requests 1000000000; keepalive_timeout {KEEP_ALIVE_S}s;"


def _server(port: str, kind: str, host: str | None, rules: list[Rule]) -> str:
    scheme = "http" if kind == "proxy" else kind
    by_header = {rule.prefix for rule in rules if rule.canary_only}
    listen = f"listen 127.0.0.1:{port}{' default_server' if host is None else ''} backlog=4096;"
    if host is not None:
        listen = f"listen 127.0.0.1:{port}; server_name {host};"
    locations = "\n".join(
        f"        location {rule.prefix} {{ set $route {rule.prefix}; "
        f"{kind}_pass {scheme}://{'$by_header' if rule.prefix in by_header else '$split'}; }}"
        for rule in rules
        if not rule.canary_only
    )
    return f"""    server {{
        {listen}
{locations}
        location / {{ return 404; }}
    }}"""
