"""HAProxy as a proxy: two `use_backend` lines a rule, `rand()` for the weights.

The access log goes to standard output, which is a file: HAProxy writes no log file itself.
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
    "time": "%tr",
    "method": "%HM",
    "host": "%[capture.req.hdr(0)]",
    "path": "%HU",
    "status": "%ST",
    "bytes_in": "%U",
    "bytes_out": "%B",
    "duration_ms": "%Ta",
    "upstream_ms": "%Tr",
    "cluster": "%b",
    "endpoint": "%si:%sp",
    "route": "%s",
    "flag": "%ts",
    "request_id": "%ID",
    "traceparent": "%[capture.req.hdr(1)]",
    "user_agent": "%[capture.req.hdr(2)]",
}
"""Field of an access log line → what gives it."""


def prepare(setup: Setup) -> Launch:
    """Write the configuration; how to run it."""
    return _prepare(setup, "")


def prepare_grpc(setup: Setup) -> Launch:
    """With HTTP/2 to the upstream; to clients it is spoken where they begin so."""
    return _prepare(setup, " proto h2")


def prepare_grpc_tls(setup: Setup) -> Launch:
    """The same with mutual TLS towards the client, who is named in the log and to the upstream."""
    own, certificates, relay = behind_relay(setup)
    bind = f" ssl crt {certificates.bundle} ca-file {certificates.ca} verify required alpn h2"
    log = LOG | {"peer_identity": "%[ssl_c_s_dn]"}
    launch = _prepare(own, " proto h2", bind, log, "http-request set-header X-Forwarded-Client-Cert %[ssl_c_s_dn]")
    return with_relay(launch, relay)


def _prepare(setup: Setup, server: str, bind: str = "", log: dict[str, str] = LOG, more: str = "") -> Launch:
    config = setup.folder / "haproxy.cfg"
    config.write_text(_config(setup, server, bind, log, more))
    argv = [find_tool("haproxy"), "-f", str(config), "-db"]
    file = setup.folder / "access.log"
    return Launch(argv, [*argv, "-c"], access_log=file, output=file, ready_path="/metrics")


def _config(setup: Setup, server: str, bind: str, fields: dict[str, str], more: str) -> str:
    log = ", ".join(f'"{name}": "{value}"' for name, value in fields.items())
    rules = "\n".join(line for rule in setup.table.rules for line in _lines(rule))
    return f"""global
    nbthread 1
    maxconn 8192
    log stdout len 4096 format raw local0
defaults
    mode http
    log global
    option http-keep-alive
    http-reuse always
    timeout connect {CONNECT_TIMEOUT_S}s
    timeout client {REQUEST_TIMEOUT_S}s
    timeout server {REQUEST_TIMEOUT_S}s
    timeout http-request {HEAD_TIMEOUT_S}s
    timeout http-keep-alive {KEEP_ALIVE_S}s
frontend metrics
    bind 127.0.0.1:{setup.admin}
    no log
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend main
    bind 127.0.0.1:{setup.listen} backlog 4096{bind}
    capture request header Host len 64
    capture request header traceparent len 64
    capture request header User-Agent len 128
    log-format '{{{log}}}'
    option forwardfor
    unique-id-format %[uuid()]
    unique-id-header X-Request-Id
    http-request set-header X-Forwarded-Proto http
    {more}
    acl canary_share rand(100) lt {CANARY_PERCENT}
{rules}
    default_backend nothing
backend stable
    server stable 127.0.0.1:{setup.stable} pool-max-conn -1{server}
backend canary
    server canary 127.0.0.1:{setup.canary} pool-max-conn -1{server}
backend nothing
    http-request deny deny_status 404
"""


def _lines(rule: Rule) -> list[str]:
    host = f"{{ hdr(host) -i {rule.host} }} " if rule.host else ""
    path = f"{{ path_beg {rule.prefix} }}"
    if rule.canary_only:
        return [f"    use_backend canary if {host}{path} {{ hdr(x-canary) true }}"]
    return [f"    use_backend canary if {host}{path} canary_share", f"    use_backend stable if {host}{path}"]
