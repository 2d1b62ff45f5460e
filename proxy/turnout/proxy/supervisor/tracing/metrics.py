"""The numbers of spans as metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from turnout.proxy.supervisor.counters import Counts
from turnout.proxy.supervisor.state import SpanFacts
from turnout.proxy.telemetry.layout import Word

DROP_REASONS = ("export", "queue", "rejected", "shutdown", "worker", "worker_died")


def span_families(counts: Counts, facts: SpanFacts) -> Iterator[Metric]:
    """Every span that was recorded is exported, dropped, or on its way."""
    yield CounterMetricFamily("turnout_spans_exported", "Spans that the collector took", value=facts.exported)
    dropped = CounterMetricFamily("turnout_spans_dropped", "Spans that never came to the collector", labels=["reason"])
    by_reason = {**facts.dropped, "worker": counts.words[Word.SPANS_DROPPED]}
    for reason in DROP_REASONS:
        dropped.add_metric([reason], by_reason.get(reason, 0))
    yield dropped
