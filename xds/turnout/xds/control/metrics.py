"""`/metrics`: the numbers of the control plane in Prometheus' words, read when they are asked for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from turnout.xds.control.api.messages import ProxyInfo
from turnout.xds.resources import TYPES
from turnout.xds.server.counters import BUCKETS_S, Counters, Histogram, short_name

WORST_FIRST = ("ERROR", "STALE", "NOT_SENT", "SYNCED")


class Facts(msgspec.Struct, frozen=True):
    """What the server does not count. `publish_failures` are states that could not be translated."""

    proxies: list[ProxyInfo]
    state_number: int
    pinned: bool
    held: bool
    ready: bool
    file_errors: int
    publish_failures: int


def render_metrics(counters: Counters, facts: Facts) -> bytes:
    """All of it, in the text format."""
    registry = CollectorRegistry()
    registry.register(_Numbers(counters, facts))
    return generate_latest(registry)


class _Numbers(Collector):
    def __init__(self, counters: Counters, facts: Facts) -> None:
        self._counters = counters
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        counters = self._counters
        yield _by_type("pushes", "responses that were sent", counters.pushes)
        yield _by_type("push_bytes", "bytes of these", counters.bytes)
        yield _by_type("acks", "responses that were taken", counters.acks)
        yield _by_type("nacks", "responses that were refused", counters.nacks)
        yield _count("stale_nonces", "requests that answered an older response", counters.stale_nonces)
        yield _count("streams", "streams that were opened", counters.streams)
        yield _count("refused_streams", "streams that were not let in", counters.refused_streams)
        yield _count("publish_failures", "states that could not be translated", self._facts.publish_failures)
        yield _histogram(counters.convergence)
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        facts = self._facts
        proxies = GaugeMetricFamily(
            "turnout_control_proxies", "connected proxies, by the worst status of their types", labels=["status"]
        )
        counts = Counter(worst_status(proxy) for proxy in facts.proxies)
        for status in WORST_FIRST:
            proxies.add_metric([status], counts[status])
        yield proxies
        for name, text, value in (
            ("state_number", "number of the accepted state", facts.state_number),
            ("pinned", "1 while a rollback keeps the files out", facts.pinned),
            ("held", "1 while the files say something that is held", facts.held),
            ("ready", "1 if /ready is 200", facts.ready),
            ("file_errors", "errors in the files as they are now", facts.file_errors),
        ):
            yield GaugeMetricFamily(f"turnout_control_{name}", text, value=float(value))


def worst_status(proxy: ProxyInfo) -> str:
    """Of the types that a proxy has asked for; NOT_SENT if for none."""
    found = {kind.status for kind in proxy.types}
    asked = found - {"NOT_SENT"} or found
    return next((status for status in WORST_FIRST if status in asked), "NOT_SENT")


def _by_type(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    metric = CounterMetricFamily(f"turnout_control_{name}", text, labels=["type"])
    # Also those that are 0: what counts the first refusal must have seen that there was none.
    for kind in sorted({*map(short_name, TYPES), *counts}):
        metric.add_metric([kind], counts.get(kind, 0))
    return metric


def _count(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"turnout_control_{name}", text, value=value)


def _histogram(histogram: Histogram) -> Metric:
    text = "time from a change until every proxy that it concerned had answered"
    buckets = list(zip((*map(str, BUCKETS_S), "+Inf"), _running(histogram.counts), strict=True))
    return HistogramMetricFamily(
        "turnout_control_convergence_seconds", text, buckets=buckets, sum_value=histogram.sum_s
    )


def _running(counts: Iterable[int]) -> list[float]:
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(float(total))
    return sums
