"""Turnout as a proxy: `turnout proxy` with one worker, from the documents that an operator would write."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from sidebyside.mutual_tls import Certificates, behind_relay, with_relay
from sidebyside.setup import Launch, Setup
from sidebyside.tools import find_tool
from sidebyside.work import CANARY_PERCENT, REQUEST_TIMEOUT_S, Rule, Table

from turnout.proxy.compiled import SWITCH

_RULES_A_DOCUMENT = 16
"""Gateway API's limit."""
_SPLIT = f"[{{name: stable, weight: {100 - CANARY_PERCENT}}}, {{name: canary, weight: {CANARY_PERCENT}}}]"


_ARMED_PREDICTOR = """  circuitBreaker: {maxRequests: 1000, maxConnections: 1000, consecutiveFailures: {maxFailures: 7}}
  outlierDetection: {}
  healthCheck: {http: {path: /v2/health/ready}, interval: 5s}
  slowStart: {window: 30s}
"""
_ARMED_POLICY = """---
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {name: careful}
spec: {idempotent: true, timeouts: {firstByte: 9s, idle: 60s}}
"""
_ARMED_RULE = """    retry: {attempts: 2, codes: [502, 503], backoff: 25ms}
    filters: [{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: careful}}]
"""
_MIRROR_RULE = "    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow}}}]\n"


def prepare(setup: Setup) -> Launch:
    """Write the rule file; how to run it."""
    return _prepare(setup, rule_file(setup.table, setup.stable, setup.canary))


def prepare_compiled(setup: Setup) -> Launch:
    """The same with the compiled build."""
    return replace(prepare(setup), environment={SWITCH: "1"})


def prepare_compiled_grpc(setup: Setup) -> Launch:
    """As `prepare_grpc`, with the compiled build."""
    return replace(prepare_grpc(setup), environment={SWITCH: "1"})


def prepare_grpc_tls(setup: Setup) -> Launch:
    """As `prepare_grpc`, with mutual TLS towards the client."""
    own, certificates, relay = behind_relay(setup)
    text = rule_file(own.table, own.stable, own.canary, protocol="h2c", parent=_GATEWAY)
    return with_relay(_prepare(own, f"{text}---\n{_tls_listener(own.listen, certificates)}", listens=False), relay)


def prepare_compiled_grpc_tls(setup: Setup) -> Launch:
    """The same with the compiled build."""
    return replace(prepare_grpc_tls(setup), environment={SWITCH: "1"})


def prepare_pair(setup: Setup) -> Launch:
    """The same with two endpoints each: the same server by two addresses."""
    return _prepare(setup, rule_file(setup.table, setup.stable, setup.canary, pair=True))


def prepare_armed(setup: Setup) -> Launch:
    """As a pair, with all that there is for models that fail: retries, limits of time, breakers, outlier detection,
    health checks, slow start."""
    return _prepare(setup, rule_file(setup.table, setup.stable, setup.canary, pair=True, armed=True))


def prepare_mirror(setup: Setup) -> Launch:
    """With a copy of every request to a third Predictor, the canary's server by another name."""
    return _prepare(setup, rule_file(setup.table, setup.stable, setup.canary, mirror=True))


def prepare_compiled_mirror(setup: Setup) -> Launch:
    """The same with the compiled build."""
    return replace(prepare_mirror(setup), environment={SWITCH: "1"})


def prepare_grpc(setup: Setup) -> Launch:
    """With HTTP/2 to the upstream; to clients it is spoken where they begin so."""
    return _prepare(setup, rule_file(setup.table, setup.stable, setup.canary, protocol="h2c"))


SPANS: dict[str, dict[str, str]] = {
    "off": {"OTEL_TRACES_EXPORTER": "none"},
    "not sampled": {"OTEL_TRACES_SAMPLER": "always_off"},
    "1 %": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "100 %": {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_MAX_QUEUE_SIZE": "65536"},
}
"""How many requests have spans → what is said of it in the environment."""


def prepare_spans(share: str, compiled: bool) -> Callable[[Setup], Launch]:
    """The same with spans of that share of all requests. The upstream stands in for a collector: it reads all, and
    answers 200."""

    def prepare_share(setup: Setup) -> Launch:
        launch = prepare_compiled(setup) if compiled else prepare(setup)
        collector = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{setup.stable}/v2/traces"}
        return replace(launch, environment={**launch.environment, **collector, **SPANS[share]})

    return prepare_share


def _prepare(setup: Setup, text: str, *, listens: bool = True) -> Launch:
    """`listens`: on its port, and not where the rules say."""
    rules = setup.folder / "rules.yaml"
    rules.write_text(text)
    log = setup.folder / "access.log"
    turnout = find_tool("turnout")
    argv = [turnout, "proxy", "--rules", str(rules), "--workers", "1", "--access-log", str(log)]
    argv += ["--admin", f"127.0.0.1:{setup.admin}"]
    argv += ["--listen", f"127.0.0.1:{setup.listen}"] if listens else []
    return Launch(
        argv=argv,
        check_argv=[turnout, "validate", str(rules)],
        access_log=log,
        output=setup.folder / "output.log",
        ready_path="/ready",
        environment={SWITCH: "0"},
    )


def rule_file(
    table: Table, stable: int, canary: int, *, pair: bool = False, armed: bool = False, mirror: bool = False,
    protocol: str = "http1", parent: str = "",
) -> str:  # fmt: skip
    """The table as Gateway API documents and two Predictors, or three with a mirror. `parent` is the Gateway of the
    routes, if there is one."""
    addresses = ("127.0.0.1", "127.0.0.2") if pair else ("127.0.0.1",)
    more = f"  protocol: {protocol}\n" + (_ARMED_PREDICTOR if armed else "")
    ports = {"stable": stable, "canary": canary, **({"shadow": canary} if mirror else {})}
    documents = [_predictor(name, port, addresses, more) for name, port in ports.items()]
    rule = (_ARMED_RULE if armed else "") + (_MIRROR_RULE if mirror else "")
    for host, rules in table.by_host().items():
        for start in range(0, len(rules), _RULES_A_DOCUMENT):
            name = f"{host or 'any'}-{start // _RULES_A_DOCUMENT:04d}"
            documents.append(_route(name, host, rules[start : start + _RULES_A_DOCUMENT], rule, parent))
    return "---\n".join(documents) + (_ARMED_POLICY if armed else "")


_GATEWAY = "mesh"


def _tls_listener(port: int, certificates: Certificates) -> str:
    files = f"certificateFile: {certificates.certificate}, keyFile: {certificates.key}, caFile: {certificates.ca}"
    return f"""apiVersion: turnout.dev/v1alpha1
kind: Certificate
metadata: {{name: proxy}}
spec: {{{files}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {_GATEWAY}}}
spec:
  gatewayClassName: turnout
  listeners: [{{name: calls, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: proxy}}]}}}}]
  tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{{name: proxy}}]}}}}}}}}
"""


def _predictor(name: str, port: int, addresses: tuple[str, ...], more: str) -> str:
    endpoints = ", ".join(f"{{address: {address}, port: {port}}}" for address in addresses)
    return f"""apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec:
  endpoints: [{endpoints}]
{more}"""


def _route(name: str, host: str | None, rules: list[Rule], more: str, parent: str) -> str:
    hostnames = f"  hostnames: [{host}]\n" if host else ""
    parents = f"  parentRefs: [{{name: {parent}}}]\n" if parent else ""
    lines = "".join(line for rule in rules for line in (*_lines(rule), more))
    return f"""apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
{parents}{hostnames}  rules:
{lines}"""


def _lines(rule: Rule) -> Iterator[str]:
    header = ', headers: [{name: x-canary, value: "true"}]' if rule.canary_only else ""
    yield f"  - matches: [{{path: {{type: PathPrefix, value: {rule.prefix}}}{header}}}]\n"
    yield f"    backendRefs: {'[{name: canary}]' if rule.canary_only else _SPLIT}\n"
    yield f"    timeouts: {{request: {REQUEST_TIMEOUT_S}s}}\n"
