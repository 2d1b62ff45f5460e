"""The metrics of TLS: handshakes that went well and that did not, and when certificates end."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from turnout.proxy.supervisor.counters import Counts
from turnout.proxy.supervisor.secrets.store import CertificateFact
from turnout.proxy.telemetry.layout import Word
from turnout.proxy.telemetry.tls import SIDES, TlsFailure, failure_offset

_CONNECTIONS = {"downstream": Word.TLS_DOWNSTREAM_TOTAL, "upstream": Word.TLS_UPSTREAM_TOTAL}


def tls_families(counts: Counts, certificates: Sequence[CertificateFact]) -> Iterator[Metric]:
    """All of them; a reason has a series once it was seen."""
    made = CounterMetricFamily("turnout_tls_connections", "TLS handshakes that went well", labels=["side"])
    failed = CounterMetricFamily(
        "turnout_tls_handshake_failures", "TLS handshakes that failed", labels=["side", "reason"]
    )
    for side in SIDES:
        made.add_metric([side], counts.words[_CONNECTIONS[side]])
        for failure in TlsFailure:
            count = counts.words[Word.TLS_FAILURES + failure_offset(side, failure)]
            if count:
                failed.add_metric([side, str(failure)], count)
    yield made
    yield failed
    ends = GaugeMetricFamily(
        "turnout_certificate_expiry_seconds",
        "When a certificate that serves ends, as Unix time",
        labels=["certificate", "part"],
    )
    for fact in certificates:
        ends.add_metric([fact.name, fact.part], fact.not_after)
    yield ends
