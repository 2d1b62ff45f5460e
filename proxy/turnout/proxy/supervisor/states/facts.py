"""What metrics show of endpoint states: plain numbers, taken at one moment."""

import msgspec

from turnout.proxy.supervisor.states.states import States


class EndpointFact(msgspec.Struct, frozen=True):
    """An endpoint and the name of its `State`."""

    predictor: str
    endpoint: str
    state: str


class StateFacts(msgspec.Struct, frozen=True):
    """`checks` counts by (predictor, outcome), `events` by (what, why, predictor)."""

    endpoints: tuple[EndpointFact, ...] = ()
    checks: dict[tuple[str, str], int] = {}
    events: dict[tuple[str, str, str], int] = {}


def state_facts(states: States) -> StateFacts:
    """As they are now."""
    endpoints = tuple(
        EndpointFact(cluster.config.name, key, known.state.name.lower())
        for cluster in states.clusters()
        for key, known in cluster.endpoints.items()
        if known.state is not None
    )
    return StateFacts(endpoints, dict(states.checks), dict(states.events.counts))
