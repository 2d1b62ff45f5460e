"""The control plane's numbers, in Prometheus' text format."""

from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from turnout.xds.control.api.messages import ProxyInfo, TypeInfo
from turnout.xds.control.metrics import Facts, render_metrics, worst_status
from turnout.xds.resources import CLUSTER, ROUTES
from turnout.xds.server.counters import Counters

Status = Literal["SYNCED", "NOT_SENT", "STALE", "ERROR"]


def proxy(*statuses: Status) -> ProxyInfo:
    types = [TypeInfo(type="CDS", status=s, version_sent="", version_acked="", since="", resources=0) for s in statuses]
    return ProxyInfo(
        node="n", cluster="", user_agent="", metadata={}, peer="", variant="delta", connected_since="", types=types
    )


def test_every_number_is_told() -> None:
    counters = Counters()
    counters.on_push(CLUSTER, 100)
    counters.on_push(CLUSTER, 50)
    counters.on_push(ROUTES, 7)
    counters.on_nack(ROUTES)
    counters.streams = 3
    for seconds in (0.004, 0.03, 99.0):
        counters.convergence.observe(seconds)
    facts = Facts([proxy("SYNCED"), proxy("SYNCED", "ERROR")], 7, True, False, True, 2, 1)
    samples = {
        (sample.name.removeprefix("turnout_control_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(render_metrics(counters, facts).decode())
        for sample in family.samples
    }
    assert samples["pushes_total", "CDS"] == 2
    assert samples["push_bytes_total", "CDS"] == 150
    assert samples["nacks_total", "RDS"] == 1
    assert samples["nacks_total", "CDS"] == samples["acks_total", "RDS"] == 0
    assert samples["streams_total",] == 3
    assert samples["convergence_seconds_bucket", "0.005"] == 1
    assert samples["convergence_seconds_bucket", "0.05"] == 2
    assert samples["convergence_seconds_count",] == 3
    assert samples["proxies", "ERROR"] == samples["proxies", "SYNCED"] == 1
    assert (samples["state_number",], samples["pinned",], samples["held",], samples["ready",]) == (7, 1, 0, 1)
    assert (samples["file_errors",], samples["publish_failures_total",]) == (2, 1)


def test_a_proxy_counts_by_its_worst_type_of_those_that_it_asked_for() -> None:
    assert worst_status(proxy("SYNCED", "NOT_SENT", "STALE")) == "STALE"
    assert worst_status(proxy("SYNCED", "NOT_SENT")) == "SYNCED"
    assert worst_status(proxy("NOT_SENT")) == worst_status(proxy()) == "NOT_SENT"
