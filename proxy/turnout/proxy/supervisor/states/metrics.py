"""The metrics of endpoint states: states, ejections, active checks, breakers.

`turnout_endpoint_state` has a series for each state of an endpoint, of which one is 1 (OpenMetrics' StateSet).
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.states.facts import StateFacts

STATES = tuple(state.name.lower() for state in State)
BY_KIND = (
    ("ejected", "turnout_ejections", "Endpoints ejected by outlier detection"),
    ("ejection_forbidden", "turnout_ejections_forbidden", "Ejections that the bounds of outlier detection forbade"),
)
BY_PREDICTOR = (
    ("breaker_open", "turnout_breaker_opens", "Breakers of endpoints that opened"),
    ("breaker_closed", "turnout_breaker_closes", "Breakers of endpoints that closed"),
)


def state_families(facts: StateFacts) -> Iterator[Metric]:
    """All of them."""
    gauge = GaugeMetricFamily(
        "turnout_endpoint_state", "Whether an endpoint is in a state", labels=["predictor", "endpoint", "state"]
    )
    for endpoint in facts.endpoints:
        for state in STATES:
            gauge.add_metric([endpoint.predictor, endpoint.endpoint, state], state == endpoint.state)
    yield gauge
    checks = CounterMetricFamily("turnout_health_checks", "Active checks", labels=["predictor", "outcome"])
    for (predictor, outcome), count in facts.checks.items():
        checks.add_metric([predictor, outcome], count)
    yield checks
    for wanted, name, text in BY_KIND:
        family = CounterMetricFamily(name, text, labels=["predictor", "kind"])
        for (what, why, predictor), count in facts.events.items():
            if what == wanted:
                family.add_metric([predictor, why], count)
        yield family
    for wanted, name, text in BY_PREDICTOR:
        family = CounterMetricFamily(name, text, labels=["predictor"])
        for (what, _, predictor), count in facts.events.items():
            if what == wanted:
                family.add_metric([predictor], count)
        yield family
