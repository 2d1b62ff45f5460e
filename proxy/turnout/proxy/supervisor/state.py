"""What the supervisor knows of itself: the configuration that is served, how reloads went, and whether it drains.

Written by the supervisor, read by the admin and the metrics.
"""

import time

import msgspec

from turnout.proxy.supervisor.secrets.store import CertificateFact
from turnout.proxy.supervisor.states.facts import StateFacts
from turnout.rules.diagnostics import Diagnostic
from turnout.rules.source import Discovery, Loaded


class Served(msgspec.Struct, frozen=True):
    """A configuration that all workers serve, its number among all that were tried, and since when."""

    loaded: Loaded
    version: str
    number: int
    since: float


class ConfigError(msgspec.Struct, frozen=True):
    """Why the last change was not taken. `errors` are those of the documents, empty if the fault is elsewhere."""

    time: float
    message: str
    errors: tuple[Diagnostic, ...] = ()


class SpanFacts(msgspec.Struct, frozen=True):
    """Spans that the collector took, and those that were dropped here, by reason."""

    exported: int = 0
    dropped: dict[str, int] = {}


class Facts(msgspec.Struct, frozen=True):
    """What the supervisor adds to the counters of its workers. `discovery` is None without a control plane."""

    version: str
    reload_successes: int
    reload_failures: int
    last_reload_successful: bool
    loaded_at: float
    workers_serving: int
    worker_restarts: int
    dns_failures: int
    started_at: float
    discovery: Discovery | None = None
    states: StateFacts = StateFacts()
    certificates: tuple[CertificateFact, ...] = ()
    spans: SpanFacts = SpanFacts()


class State:
    """The supervisor's own numbers. Times are seconds since the epoch."""

    __slots__ = ("draining", "last_error", "reload_failures", "reload_successes", "served", "started_at")

    def __init__(self) -> None:
        self.started_at = time.time()
        self.served: Served | None = None
        self.last_error: ConfigError | None = None
        self.reload_successes = 0
        self.reload_failures = 0
        self.draining = False

    def accepted(self, loaded: Loaded, version: str, number: int) -> None:
        """Every worker serves this now."""
        self.served = Served(loaded, version, number, time.time())
        self.last_error = None
        self.reload_successes += 1

    def refused(self, message: str, errors: tuple[Diagnostic, ...] = ()) -> None:
        """A change was not taken; what was served is served still."""
        self.last_error = ConfigError(time.time(), message, errors)
        self.reload_failures += 1

    def why_not_ready(self, slots_not_serving: list[int]) -> str:
        """The reason that this proxy should get no requests now; empty if it should."""
        if self.draining:
            return "draining"
        if self.served is None:
            return "no configuration is served yet"
        if slots_not_serving:
            return f"workers not serving yet: {', '.join(map(str, slots_not_serving))}"
        return ""
