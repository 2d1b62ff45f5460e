"""The counters as Prometheus metrics, read and added up when they are asked for.

Names and units follow Prometheus' conventions: base units, `_total` on counters. Series appear with their first
count. Labels: `route` is the rule's name ("" if no route took the request), `predictor` the cluster's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.supervisor.counters import Counts, RecordWords, requests_of
from turnout.proxy.supervisor.mirror_metrics import mirror_families
from turnout.proxy.supervisor.secrets.metrics import tls_families
from turnout.proxy.supervisor.state import Facts
from turnout.proxy.supervisor.states.metrics import state_families
from turnout.proxy.supervisor.tracing.metrics import span_families
from turnout.proxy.telemetry.layout import (
    BOUNDS_S,
    ClusterWord,
    EndpointWord,
    RecordKey,
    RouteWord,
    Word,
)
from turnout.proxy.telemetry.mirrors import MirrorWord
from turnout.rules.source import Discovery

NANOSECOND = 1e-9
ROUTE = ("route", "predictor")
ENDPOINT = ("predictor", "endpoint")

PROCESS_GAUGES = (
    (Word.CONNECTIONS_ACTIVE, "turnout_downstream_connections", "Open connections from clients"),
    (Word.TUNNELS_ACTIVE, "turnout_tunnels", "Upgraded connections being passed through"),
    (Word.OVERLOADED, "turnout_overloaded_workers", "Workers that refuse new requests for want of memory"),
    (Word.RESIDENT_BYTES, "turnout_workers_resident_bytes", "Memory of all workers"),
)
PROCESS_COUNTERS = (
    (Word.CONNECTIONS_TOTAL, "turnout_downstream_connections", "Connections accepted"),
    (Word.MALFORMED_TOTAL, "turnout_malformed_requests", "Requests refused as malformed"),
    (Word.CONNECTIONS_REFUSED, "turnout_downstream_connections_refused", "Connections over the limit, answered 503"),
    (Word.EXCHANGES_CUT, "turnout_exchanges_cut", "Requests ended for want of memory"),
    (Word.HTTP2_CONNECTIONS_TOTAL, "turnout_http2_connections", "Connections accepted that speak HTTP/2"),
    (Word.HTTP2_FLOODS_TOTAL, "turnout_http2_floods", "Connections of HTTP/2 that were ended for a flood"),
    (Word.ACCESS_LOG_DROPPED, "turnout_access_log_dropped", "Access log lines that could not be written"),
    (Word.OBSERVER_FAILURES, "turnout_mirror_observer_failures", "Pairs of answers on which an observer failed"),
)
DOWNSTREAM_BYTES = (
    (RouteWord.BYTES_RECEIVED, "turnout_downstream_received_bytes", "Bytes received from clients"),
    (RouteWord.BYTES_SENT, "turnout_downstream_sent_bytes", "Bytes sent to clients"),
)
ROUTE_HISTOGRAMS = (
    (RouteWord.DOWNSTREAM, "turnout_downstream_seconds", "From a request's head to the end of its answer"),
    (
        RouteWord.UPSTREAM,
        "turnout_upstream_seconds",
        "Waiting for the upstream, to the end of its answer",
    ),
    (RouteWord.PROXY, "turnout_proxy_seconds", "The proxy's own share of a request's time"),
)
ROUTE_COUNTERS = (
    (RouteWord.BYTES_RECEIVED, "turnout_route_received_bytes", "Bytes received from clients, by route"),
    (RouteWord.BYTES_SENT, "turnout_route_sent_bytes", "Bytes sent to clients, by route"),
    (RouteWord.SHARED_USES, "turnout_rate_limit_shared", "Header values for which there was no bucket of their own"),
)
ENDPOINT_GAUGES = (
    (EndpointWord.ACTIVE, "turnout_upstream_active_requests", "Requests in flight to an endpoint"),
    (EndpointWord.CONNECTIONS_ACTIVE, "turnout_upstream_connections", "Open connections to an endpoint"),
)
PREDICTOR_GAUGES = (
    (ClusterWord.ACTIVE, "turnout_predictor_active_requests", "Requests in flight that count for a predictor's limits"),
    (ClusterWord.PENDING, "turnout_predictor_pending_requests", "Requests that wait for a predictor's limit"),
    (ClusterWord.CONNECTIONS, "turnout_predictor_connections", "Open connections that count for a predictor's limits"),
    (ClusterWord.RETRIES_ACTIVE, "turnout_predictor_active_retries", "Retries in flight"),
)
PREDICTOR_COUNTERS = (
    (ClusterWord.OVERFLOWS, "turnout_overflows", "Requests refused for a predictor's limit"),
    (ClusterWord.RETRIES, "turnout_retries", "Attempts after the first"),
    (ClusterWord.RETRIES_REFUSED, "turnout_retries_refused", "Retries that a budget or a limit did not allow"),
    (ClusterWord.NOT_REPLAYABLE, "turnout_retries_not_replayable", "Failed requests with a body too large to be kept"),
)
ENDPOINT_COUNTERS = (
    (EndpointWord.CONNECTIONS_TOTAL, "turnout_upstream_connections", "Connections made to an endpoint"),
    (EndpointWord.CONNECT_FAILURES, "turnout_upstream_connect_failures", "Connections that failed"),
    (EndpointWord.REQUESTS, "turnout_upstream_requests", "Requests sent to an endpoint"),
    (EndpointWord.FAILURES, "turnout_upstream_failures", "Requests that an endpoint failed"),
    (EndpointWord.ANSWERS_5XX, "turnout_upstream_answers_5xx", "Answers of 5xx of an endpoint"),
    (EndpointWord.GATEWAY_FAILURES, "turnout_upstream_gateway_failures", "Answers of 502, 503 and 504 of an endpoint"),
    (EndpointWord.LOCAL_FAILURES, "turnout_upstream_local_failures", "Requests that an endpoint did not answer"),
)


class ProxyCollector(Collector):
    """All metrics of a proxy at one moment, in a registry's form."""

    def __init__(self, counts: Counts, records: Sequence[tuple[RecordKey, int]], facts: Facts) -> None:
        self._counts = counts
        self._routes = _written(counts, records, "route")
        self._endpoints = _written(counts, records, "endpoint")
        self._predictors = [([first], words) for (first, _), words in _written(counts, records, "cluster")]
        self._mirrors = _written(counts, records, "mirror")
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        yield self._calls()
        for word, name, text in ROUTE_HISTOGRAMS:
            yield self._histogram(name, text, word)
        yield from _families(CounterMetricFamily, self._routes, ROUTE, ROUTE_COUNTERS)
        # A gauge and a counter may share a name here: the counter's gets `_total`.
        yield from _families(GaugeMetricFamily, self._endpoints, ENDPOINT, ENDPOINT_GAUGES)
        yield from _families(CounterMetricFamily, self._endpoints, ENDPOINT, ENDPOINT_COUNTERS)
        yield from _families(GaugeMetricFamily, self._predictors, ("predictor",), PREDICTOR_GAUGES)
        yield from _families(CounterMetricFamily, self._predictors, ("predictor",), PREDICTOR_COUNTERS)
        yield from mirror_families(self._mirrors)
        yield from state_families(self._facts.states)
        for place, name, text in PROCESS_GAUGES:
            yield GaugeMetricFamily(name, text, value=self._counts.words[place])
        for place, name, text in PROCESS_COUNTERS:
            yield CounterMetricFamily(name, text, value=self._counts.words[place])
        # Every request is with one endpoint and ends in one route record, so these need no words of their own. A copy
        # is with an endpoint, too, and no request. (Records are not read at one moment.)
        active = sum(words[EndpointWord.ACTIVE] for _, words in self._endpoints)
        active -= sum(words[MirrorWord.ACTIVE] for _, words in self._mirrors)
        yield GaugeMetricFamily("turnout_active_requests", "Requests being answered", value=max(0, active))
        for word, name, text in DOWNSTREAM_BYTES:
            yield CounterMetricFamily(name, text, value=sum(words[word] for _, words in self._routes))
        yield from tls_families(self._counts, self._facts.certificates)
        yield from span_families(self._counts, self._facts.spans)
        yield from _supervisor_families(self._facts)
        if self._facts.discovery is not None:
            yield from _discovery_families(self._facts.discovery)

    def _requests(self) -> Metric:
        family = CounterMetricFamily("turnout_requests", "Requests that ended", labels=[*ROUTE, "code_class", "flag"])
        for labels, words in self._routes:
            for code, flag, value in requests_of(words):
                family.add_metric([*labels, code, flag], value)
        return family

    def _calls(self) -> Metric:
        family = CounterMetricFamily(
            "turnout_grpc_requests", "Calls of gRPC that ended", labels=[*ROUTE, "grpc_status"]
        )
        for labels, words in self._routes:
            for status in GrpcStatus:
                if words[RouteWord.GRPC + status]:
                    family.add_metric([*labels, status.name], words[RouteWord.GRPC + status])
        return family

    def _histogram(self, name: str, text: str, word: int) -> Metric:
        family = HistogramMetricFamily(name, text, labels=ROUTE)
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        for labels, words in self._routes:
            buckets = words[word : word + len(bounds)]
            if any(buckets):
                total = words[word + len(bounds)] * NANOSECOND
                family.add_metric(labels, list(zip(bounds, accumulate(buckets), strict=True)), total)
        return family


def render_metrics(counts: Counts, records: Sequence[tuple[RecordKey, int]], facts: Facts) -> bytes:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProxyCollector(counts, records, facts))
    return generate_latest(registry)


Row = tuple[list[str], RecordWords]


def _written(counts: Counts, records: Iterable[tuple[RecordKey, int]], kind: str) -> list[Row]:
    return [
        ([key[1], key[2]], words)
        for key, offset in records
        if key[0] == kind and (words := counts.records.get(offset)) is not None
    ]


def _families(
    family_type: Callable[..., GaugeMetricFamily | CounterMetricFamily],
    rows: Sequence[Row],
    labels: Sequence[str],
    table: Sequence[tuple[int, str, str]],
) -> Iterator[Metric]:
    for word, name, text in table:
        family = family_type(name, text, labels=labels)
        for values, words in rows:
            family.add_metric(values, words[word])
        yield family


def _supervisor_families(facts: Facts) -> Iterator[Metric]:
    reloads = CounterMetricFamily("turnout_config_reloads", "Configurations that came", labels=["result"])
    reloads.add_metric(["success"], facts.reload_successes)
    reloads.add_metric(["failure"], facts.reload_failures)
    yield reloads
    yield GaugeMetricFamily(
        "turnout_config_last_reload_successful",
        "Whether the last configuration that came serves",
        value=facts.last_reload_successful,
    )
    yield GaugeMetricFamily(
        "turnout_config_last_reload_success_timestamp_seconds",
        "Since when the configuration serves",
        value=facts.loaded_at,
    )
    info = GaugeMetricFamily("turnout_config_version_info", "The version that serves", labels=["version"])
    if facts.version:
        info.add_metric([facts.version], 1)
    yield info
    yield GaugeMetricFamily("turnout_workers_serving", "Workers that serve", value=facts.workers_serving)
    yield CounterMetricFamily("turnout_worker_restarts", "Workers replaced", value=facts.worker_restarts)
    yield CounterMetricFamily("turnout_dns_failures", "Names not resolved", value=facts.dns_failures)
    yield GaugeMetricFamily("turnout_start_time_seconds", "When the supervisor started", value=facts.started_at)


def _discovery_families(discovery: Discovery) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "turnout_xds_connected", "Whether the control plane is there and answers", value=discovery.connected
    )
    for name, text, counts in (
        ("turnout_xds_acks", "Responses of the control plane that were taken", discovery.acks),
        ("turnout_xds_nacks", "Responses of the control plane that were refused, in whole or in part", discovery.nacks),
    ):
        family = CounterMetricFamily(name, text, labels=["type"])
        for kind, count in counts.items():
            family.add_metric([kind], count)
        yield family
    updated = GaugeMetricFamily("turnout_xds_last_update_timestamp_seconds", "When a response was last taken")
    if discovery.updated_at:
        updated.add_metric([], discovery.updated_at)
    yield updated
